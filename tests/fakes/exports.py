"""The user's own containers in memory; the contract suite holds them to byos.Exports."""

import asyncio
import hashlib
import itertools
from urllib.parse import urlsplit

from tests.fakes.archive import block_digest
from worker.errors import HostNotAllowedError, SourceChangedError
from worker.model import ReadBack, Stored
from worker.ports import Clock


class MemoryExports:
    """One container may be read, the one at `url`. `failing` is raised while it is set."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._numbers = itertools.count()
        self._blobs: dict[str, tuple[Stored, bytes]] = {}
        self.failing: Exception | None = None
        self.calls: list[tuple[str, str]] = []

    def put(self, name: str, data: bytes) -> None:
        """Have a blob, or another one where there was one."""
        stored = Stored(
            name=name,
            size_bytes=len(data),
            etag=f"etag-{next(self._numbers)}",
            version=None,
            last_modified=self._clock.now(),
        )
        self._blobs[name] = (stored, data)

    def remove(self, name: str) -> None:
        del self._blobs[name]

    def name_of(self, location: str) -> str:
        parts = urlsplit(location)
        name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        if not name.startswith(f"{self._url}/") or "/../" in name:
            raise HostNotAllowedError(f"{parts.hostname} is not listed")
        return name

    async def stat(self, name: str) -> Stored | None:
        await self._called("stat", name)
        found = self._blobs.get(name)
        return found[0] if found else None

    async def read_range(
        self, name: str, offset: int, length: int, *, etag: str | None
    ) -> bytes:
        await self._called("read_range", name)
        return self._version(name, etag)[offset : offset + length]

    async def read_back(self, stored: Stored, *, block_bytes: int) -> ReadBack:
        await self._called("read_back", stored.name)
        data = self._version(stored.name, stored.etag)
        blocks = tuple(
            block_digest(offset, data[offset : offset + block_bytes])
            for offset in range(0, len(data), block_bytes)
        )
        whole = hashlib.sha256(data).hexdigest()
        return ReadBack(size_bytes=len(data), sha256=whole, blocks=blocks)

    def _version(self, name: str, etag: str | None) -> bytes:
        stored, data = self._blobs[name]
        if stored.etag != etag:
            raise SourceChangedError(f"{name!r} was changed meanwhile")
        return data

    async def _called(self, call: str, name: str) -> None:
        self.name_of(name)
        self.calls.append((call, name))
        await asyncio.sleep(0)
        if self.failing is not None:
            raise self.failing
