"""Where a world's archive and queue lie: on this machine's disk, or in Azurite."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient

from tests.azurite import Azurite

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

    async def messages(self) -> int | None:
        """How many messages wait or are worked on; None: there are none to be counted."""
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
        return sorted(name for name in _files(self.archive) if name.startswith(prefix))

    async def read(self, name: str) -> bytes | None:
        path = self.archive / name
        return path.read_bytes() if path.is_file() else None

    async def objects(self, prefix: str = "") -> dict[str, Stamped]:
        found = files_in(self.archive)
        return {name: at for name, at in found.items() if name.startswith(prefix)}

    async def messages(self) -> int | None:
        return None


def _files(folder: Path) -> list[str]:
    paths = folder.rglob("*") if folder.exists() else ()
    return [str(path.relative_to(folder)) for path in paths if path.is_file()]


def files_in(folder: Path) -> dict[str, Stamped]:
    """Bytes and time of everything below a folder, by name."""
    return {
        name: ((folder / name).read_bytes(), str((folder / name).stat().st_mtime_ns))
        for name in _files(folder)
    }


class AzuriteStores:
    """A container and a queue of its own in Azurite; an async context manager."""

    def __init__(self, azurite: Azurite, unique_name: Callable[[str], str]) -> None:
        name = unique_name("world")
        self.settings = {
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
            "WORKER_ARCHIVE": azurite.container(name, "archive"),
            "WORKER_QUEUE": azurite.queue(name),
        }
        text = azurite.connection_string
        self._container = ContainerClient.from_connection_string(text, name)
        self._queues = {
            suffix: QueueClient.from_connection_string(text, name + suffix)
            for suffix in ("", "-urgent", "-poison")
        }
        self._clients = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for client in (self._container, *self._queues.values()):
            await self._clients.enter_async_context(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._clients.aclose()

    async def names(self, prefix: str = "") -> list[str]:
        listed = self._container.list_blob_names(name_starts_with=f"archive/{prefix}")
        try:
            return [name.removeprefix("archive/") async for name in listed]
        except ResourceNotFoundError:
            return []  # no worker has made the container yet

    async def read(self, name: str) -> bytes | None:
        try:
            blob = await self._container.download_blob(f"archive/{name}")
        except ResourceNotFoundError:
            return None
        return await blob.readall()

    async def objects(self, prefix: str = "") -> dict[str, Stamped]:
        found = {}
        for name in await self.names(prefix):
            blob = await self._container.download_blob(f"archive/{name}")
            found[name] = (await blob.readall(), str(blob.properties.etag))
        return found

    async def messages(self) -> int | None:
        return await self._count("") + await self._count("-urgent")

    async def poisoned(self) -> int:
        """How many messages a human has to look at."""
        return await self._count("-poison")

    async def _count(self, suffix: str) -> int:
        properties = await self._queues[suffix].get_queue_properties()
        return properties.approximate_message_count or 0
