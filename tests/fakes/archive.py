"""An archive in memory that can be told to fail; the contract suite holds it to the port."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from tests.fakes.clock import ManualClock
from worker.archives.object_names import segments
from worker.errors import AlreadyExistsError, ArchiveForbiddenError, IntegrityError
from worker.model import BlockDigest, Kept, ReadBack, Stored
from worker.ports import Clock


@dataclass(kw_only=True)
class Fault:
    """One failure to come: the next call of `on` for a name that contains `matching`."""

    error: Exception
    on: str | None
    matching: str
    times: int
    late: bool

    def hits(self, operation: str, name: str, *, late: bool) -> bool:
        right_call = self.on in {None, operation} and self.matching in name
        return right_call and self.late == late and self.times > 0


class MemoryArchive:
    """Satisfies ports.Archive. `objects` and `calls` are there for tests to look at.

    Operations, as `fail_next(on=...)` and `calls` name them: writer, write, commit, create,
    read, read_range, read_back, stat, list, ready, seal, held, hold, kept, erase.
    """

    def __init__(
        self, *, clock: Clock | None = None, block_bytes: int = 64 * 1024
    ) -> None:
        self._clock = clock or ManualClock()
        self._block_bytes = block_bytes
        self._stored: dict[str, Stored] = {}
        self._faults: list[Fault] = []
        self._to_corrupt: set[str] = set()
        self.left: dict[tuple[str, str], dict[int, bytes]] = {}
        """Blocks that nobody committed, by name and origin."""
        self.wants: tuple[str, ...] = ()
        """Protections that are asked for; an object here has none."""
        self.sealed: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self.knows_holds = True
        self.held: frozenset[str] = frozenset()
        self.locked: dict[str, datetime] = {}
        """Until when a policy keeps an object."""
        self.has_soft_delete = False
        self.versions: dict[str, bytes] = {}
        """What soft delete keeps."""

    def fail_next(
        self,
        error: Exception,
        *,
        on: str | None = None,
        matching: str = "",
        times: int = 1,
        late: bool = False,
    ) -> None:
        """Make the next `times` fitting calls raise `error`.

        `late`: after the effect, as when the answer to a commit is lost.
        """
        fault = Fault(error=error, on=on, matching=matching, times=times, late=late)
        self._faults.append(fault)

    def corrupt(self, name: str) -> None:
        """Flip a bit of the object, or of the next one stored under this name."""
        if name not in self.objects:
            self._to_corrupt.add(name)
            return
        data = self.objects[name]
        self.objects[name] = bytes([data[0] ^ 1]) + data[1:]

    def lose(self, name: str) -> None:
        """Forget an object, as no archive should."""
        del self.objects[name], self._stored[name]

    @asynccontextmanager
    async def writer(self, name: str) -> AsyncIterator["MemoryWriter"]:
        segments(name)
        await self.pass_faults("writer", name)
        yield MemoryWriter(self, name, self._block_bytes)

    async def create(self, name: str, data: bytes) -> Stored:
        segments(name)
        await self.pass_faults("create", name)
        stored = self.store(name, bytes(data))
        self.raise_fault("create", name, late=True)
        return stored

    async def read(self, name: str) -> bytes | None:
        segments(name)
        await self.pass_faults("read", name)
        return self.objects.get(name)

    async def read_range(self, name: str, offset: int, length: int) -> bytes:
        segments(name)
        await self.pass_faults("read_range", name)
        return self._present(name)[offset : offset + length]

    async def read_back(self, name: str, *, block_bytes: int) -> ReadBack:
        segments(name)
        await self.pass_faults("read_back", name)
        data = self._present(name)
        blocks = tuple(
            block_digest(offset, data[offset : offset + block_bytes])
            for offset in range(0, len(data), block_bytes)
        )
        whole = hashlib.sha256(data).hexdigest()
        return ReadBack(size_bytes=len(data), sha256=whole, blocks=blocks)

    async def stat(self, name: str) -> Stored | None:
        segments(name)
        await self.pass_faults("stat", name)
        return self._stored.get(name)

    async def list(self, prefix: str) -> AsyncIterator[str]:
        await self.pass_faults("list", prefix)
        for name in sorted(self.objects):
            if name.startswith(prefix):
                yield name

    async def ready(self) -> None:
        await self.pass_faults("ready", "")

    def unmet(self, protection: Mapping[str, str]) -> Sequence[str]:
        return tuple(wanted for wanted in self.wants if wanted not in protection)

    async def seal(self, name: str) -> None:
        await self.pass_faults("seal", name)
        self.sealed.append(name)

    async def hold(self, name: str, *, held: bool) -> bool | None:
        segments(name)
        await self.pass_faults("hold", name)
        self._present(name)
        if not self.knows_holds:
            return None
        self.held = self.held | {name} if held else self.held - {name}
        return name in self.held

    async def kept(self, prefix: str) -> AsyncIterator[Kept]:
        await self.pass_faults("kept", prefix)
        for name in sorted({*self.objects, *self.versions}):
            if not name.startswith(prefix):
                continue
            for is_current in (True, False):
                if name in (self.objects if is_current else self.versions):
                    yield self._kept(name, is_current=is_current)

    def _kept(self, name: str, *, is_current: bool) -> Kept:
        return Kept(
            name=name,
            size_bytes=len(self.objects[name] if is_current else self.versions[name]),
            is_current=is_current,
            is_held=name in self.held,
            locked_until=self.locked.get(name),
            goes_in_days=None if is_current else 7,
        )

    async def erase(self, name: str) -> None:
        segments(name)
        await self.pass_faults("erase", name)
        if name in self.held or name in self.locked:
            raise ArchiveForbiddenError(f"a hold or a policy keeps {name!r}")
        data = self.objects.pop(name, None)
        self._stored.pop(name, None)
        if data is not None and self.has_soft_delete:
            self.versions[name] = data
        self.raise_fault("erase", name, late=True)

    async def pass_faults(self, operation: str, name: str) -> None:
        """Note the call, let other tasks run, and fail if so told."""
        self.calls.append((operation, name))
        await asyncio.sleep(0)
        self.raise_fault(operation, name, late=False)

    def raise_fault(self, operation: str, name: str, *, late: bool) -> None:
        for fault in self._faults:
            if fault.hits(operation, name, late=late):
                fault.times -= 1
                raise fault.error

    def store(self, name: str, data: bytes) -> Stored:
        """Create-only; there is no await between the look and the write."""
        if name in self.objects:
            raise AlreadyExistsError(f"{name!r} exists")
        self.objects[name] = data
        self._stored[name] = Stored(
            name=name,
            size_bytes=len(data),
            etag=f"etag-{len(self._stored)}",
            version=None,
            last_modified=self._clock.now(),
        )
        if name in self._to_corrupt:
            self._to_corrupt.remove(name)
            self.corrupt(name)
        return self._stored[name]

    def _present(self, name: str) -> bytes:
        if name not in self.objects:
            raise IntegrityError(f"{name!r} is not in the archive")
        return self.objects[name]


class MemoryWriter:
    """Satisfies ports.BlockWriter."""

    def __init__(self, archive: MemoryArchive, name: str, block_bytes: int) -> None:
        self._archive = archive
        self._name = name
        self._block_bytes = block_bytes
        self._blocks: dict[int, bytes] = {}

    @property
    def block_bytes(self) -> int:
        return self._block_bytes

    async def held(self, origin: str) -> Sequence[BlockDigest]:
        await self._archive.pass_faults("held", self._name)
        self._blocks = self._archive.left.setdefault((self._name, origin), self._blocks)
        return [block_digest(at, self._blocks[at]) for at in sorted(self._blocks)]

    async def write(self, offset: int, block: bytearray | memoryview | bytes) -> str:
        if offset % self._block_bytes or not 0 < len(block) <= self._block_bytes:
            raise ValueError(f"not a block: {len(block)} bytes at {offset}")
        await self._archive.pass_faults("write", self._name)
        self._blocks[offset] = bytes(block)
        return hashlib.sha256(self._blocks[offset]).hexdigest()

    async def commit(self, *, size: int) -> Stored:
        await self._archive.pass_faults("commit", self._name)
        end = 0
        for offset in sorted(self._blocks):
            if offset != end:
                break
            end += len(self._blocks[offset])
        total = sum(len(block) for block in self._blocks.values())
        if not end == total == size:
            raise IntegrityError(f"{total} bytes in blocks where {size} were announced")
        data = b"".join(self._blocks[offset] for offset in sorted(self._blocks))
        stored = self._archive.store(self._name, data)
        self._archive.raise_fault("commit", self._name, late=True)
        return stored


def block_digest(offset: int, block: bytes) -> BlockDigest:
    digest = hashlib.sha256(block).hexdigest()
    return BlockDigest(offset=offset, length=len(block), sha256=digest)
