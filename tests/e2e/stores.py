"""Where a world's archive and queue lie: on this machine's disk, or in Azurite."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import quote

import aiohttp
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient
from yarl import URL

from tests.azurite import Azurite

PREFIX = "archive"
Stamped = tuple[bytes, str]
"""An object's bytes, and what would change if it were written again."""


class Stores(Protocol):
    """What a world needs to know of them; `settings` lead a worker there."""

    @property
    def settings(self) -> dict[str, str]: ...

    async def names(self, prefix: str = "") -> list[str]:
        """Names of the archive's objects."""
        ...

    async def read(self, name: str) -> bytes | None:
        """One object, past all code of ours."""
        ...

    async def objects(self, prefix: str = "") -> dict[str, Stamped]:
        """All objects below a prefix."""
        ...

    async def messages(self) -> int:
        """How many messages wait or are worked on; a file has none."""
        ...

    async def poisoned(self) -> int:
        """How many messages a human has to look at; a file has none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStores:
    """The embedded defaults: `data/archive` and `data/queue.db` in the worker's folder."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def archive(self) -> Path:
        return self.folder / "data/archive"

    async def names(self, prefix: str = "") -> list[str]:
        hidden = ".staging/"  # a worker's own: its files come and go
        return sorted(
            name
            for name in _files(self.archive)
            if name.startswith(prefix) and not name.startswith(hidden)
        )

    async def read(self, name: str) -> bytes | None:
        path = self.archive / name
        return path.read_bytes() if path.is_file() else None

    async def objects(self, prefix: str = "") -> dict[str, Stamped]:
        return {
            name: _stamped(self.archive / name) for name in await self.names(prefix)
        }

    async def messages(self) -> int:
        return 0

    async def poisoned(self) -> int:
        return 0


def _files(folder: Path) -> list[str]:
    paths = folder.rglob("*") if folder.exists() else ()
    return [str(path.relative_to(folder)) for path in paths if path.is_file()]


def files_in(folder: Path) -> dict[str, Stamped]:
    """Bytes and time of everything below a folder, by name."""
    return {name: _stamped(folder / name) for name in _files(folder)}


def _stamped(path: Path) -> Stamped:
    return path.read_bytes(), str(path.stat().st_mtime_ns)


class AzuriteStores:
    """A container and a queue in an account of Azurite; an async context manager.

    Objects are read by plain requests: an end looks at thousands of them.
    """

    def __init__(self, azurite: Azurite) -> None:
        name = "world"
        self.settings = {
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
            "WORKER_ARCHIVE": azurite.container(name, PREFIX),
            "WORKER_QUEUE": azurite.queue(name),
        }
        text = azurite.connection_string
        self._base = azurite.container(name, PREFIX)
        self._signature = azurite.signature()
        self._container = ContainerClient.from_connection_string(text, name)
        self._queues = {
            suffix: QueueClient.from_connection_string(text, name + suffix)
            for suffix in ("", "-urgent", "-poison")
        }
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._opened.enter_async_context(self._container)
        for queue in self._queues.values():
            await self._opened.enter_async_context(queue)
        self._session = await self._opened.enter_async_context(aiohttp.ClientSession())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def names(self, prefix: str = "") -> list[str]:
        start = f"{PREFIX}/"
        listed = self._container.list_blob_names(name_starts_with=start + prefix)
        try:
            return [name.removeprefix(start) async for name in listed]
        except ResourceNotFoundError:
            return []  # no worker has made the container yet

    async def read(self, name: str) -> bytes | None:
        stamped = await self._stamped(name)
        return stamped[0] if stamped else None

    async def objects(self, prefix: str = "") -> dict[str, Stamped]:
        found = {name: await self._stamped(name) for name in await self.names(prefix)}
        return {name: stamped for name, stamped in found.items() if stamped}

    async def _stamped(self, name: str) -> Stamped | None:
        url = URL(f"{self._base}/{quote(name)}?{self._signature}", encoded=True)
        async with self._session.get(url) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            answer.raise_for_status()
            return await answer.read(), answer.headers["ETag"]

    async def messages(self) -> int:
        return await self._count("") + await self._count("-urgent")

    async def poisoned(self) -> int:
        return await self._count("-poison")

    async def _count(self, suffix: str) -> int:
        properties = await self._queues[suffix].get_queue_properties()
        return properties.approximate_message_count or 0
