"""One object from the source into archive blocks: parallel ranges under the memory budget.

The first range comes with the answer that opens the object; up to `max_ranges` workers pull
the rest in order. Each has one buffer of one block, so that memory is bounded by
`max_ranges` blocks and the sockets' small buffers, whatever the size of the object.
A cut range goes on where it stopped, and an object where an earlier worker stopped. A source
that ignores ranges is read as one stream, always from its start.
"""

import asyncio
import mmap
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from worker import resuming
from worker.errors import RetryableError, SourceAnswerError, TruncatedError
from worker.limits import MemoryBudget
from worker.model import BlockDigest, SourceFacts
from worker.ports import BlockWriter, Clock, OpenedObject, Source
from worker.retry import DOWNLOAD, SYSTEM_RANDOM

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """How an object is cut. `range_bytes` is a multiple of the writer's block."""

    range_bytes: int
    max_ranges: int

    def __post_init__(self) -> None:
        if self.range_bytes < 1 or self.max_ranges < 1:
            raise ValueError("a transfer needs at least one range of one byte")


@dataclass(slots=True, kw_only=True)
class TransferStats:
    """What transfers have done so far; `bytes`, `ranges` and `retries` add up over several.

    `object_bytes` and `object_size` are of the object in hand; the size is None until it is
    announced. `on_bytes` hears of every change of `object_bytes` after it was made; of a
    negative one when a stream starts again.
    """

    bytes: int = 0
    ranges: int = 0
    retries: int = 0
    object_bytes: int = 0
    object_size: int | None = None
    on_bytes: Callable[[int], None] | None = None

    def began(self) -> None:
        self.object_bytes, self.object_size = 0, None

    def moved(self, count: int) -> None:
        self.bytes += count
        self.found(count)

    def found(self, count: int) -> None:
        """So many bytes of the object need not be moved."""
        self.object_bytes += count
        if self.on_bytes is not None and count:
            self.on_bytes(count)

    def retried(self, _: BaseException) -> None:
        self.retries += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What arrived, block by block, by offset; all of it is with the writer, uncommitted."""

    size_bytes: int
    blocks: tuple[BlockDigest, ...]
    facts: SourceFacts
    size_announced: bool


async def fetch(  # noqa: PLR0913 - each is a seam of its own; a class would only carry them
    source: Source,
    writer: BlockWriter,
    location: str,
    *,
    resource: str | None,
    limits: TransferLimits,
    memory: MemoryBudget,
    clock: Clock,
    stats: TransferStats,
    random: Random = SYSTEM_RANDOM,
) -> Fetched:
    """Bring the whole object to `writer`, without committing it.

    Raises the WorkerError of whichever range failed for good, after the others stopped.
    ValueError if a range is no multiple of a block, or a block exceeds the memory budget.
    """
    if limits.range_bytes % writer.block_bytes:
        raise ValueError("range_bytes must be a multiple of the writer's block_bytes")
    memory.require(writer.block_bytes)
    stats.began()
    transfer = _Transfer(
        source=source,
        writer=writer,
        location=location,
        resource=resource,
        limits=limits,
        memory=memory,
        clock=clock,
        stats=stats,
        random=random,
    )
    try:
        return await transfer.run()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


@dataclass(slots=True, kw_only=True)
class _Transfer:
    source: Source
    writer: BlockWriter
    location: str = field(repr=False)
    resource: str | None
    limits: TransferLimits
    memory: MemoryBudget
    clock: Clock
    stats: TransferStats
    random: Random
    blocks: list[BlockDigest] = field(default_factory=list)
    came: int = 0

    async def run(self) -> Fetched:
        async with AsyncExitStack() as room:
            # Memory before connection, as everywhere (worker/limits.py). It is for the
            # range that comes with the opening, and goes with the worker that brings it.
            hold = self.memory.hold(self.writer.block_bytes)
            await room.enter_async_context(hold)
            block = _Block(self.writer.block_bytes)
            opened, held = await self._retrying(lambda: self._begin(block))
            async with held:
                if opened.facts.ranged:
                    await self._fetch_ranges(opened, block, room=room)
        return Fetched(
            size_bytes=self.came,
            blocks=tuple(sorted(self.blocks, key=lambda digest: digest.offset)),
            facts=opened.facts,
            size_announced=opened.facts.size_bytes is not None,
        )

    async def _retrying(self, call: Callable[[], Awaitable[T]]) -> T:
        use = DOWNLOAD.retrying(
            clock=self.clock, random=self.random, on_retry=self.stats.retried
        )

        async def attempt() -> T:
            return await call()

        return await use(attempt)

    async def _begin(self, block: "_Block") -> tuple[OpenedObject, AsyncExitStack]:
        """Open the object; if it can't be read by ranges, stream all of it here."""
        async with AsyncExitStack() as stack:
            opened = await stack.enter_async_context(
                self.source.open(
                    self.location,
                    resource=self.resource,
                    first_bytes=self.limits.range_bytes,
                )
            )
            self.stats.object_size = opened.facts.size_bytes
            if not opened.facts.ranged:
                await self._stream(opened, block)
            return opened, stack.pop_all()

    async def _stream(self, opened: OpenedObject, block: "_Block") -> None:
        """Read the one body from its start, forgetting what an earlier try brought."""
        self._moved(-self.came)
        self.blocks.clear()
        block.start(0)
        await self._take(opened.first(), block)
        if self.came == 0:
            raise SourceAnswerError(f"{opened.facts.host} sent 0 bytes")
        await self._flush(block)
        self.stats.ranges += 1

    async def _fetch_ranges(
        self, opened: OpenedObject, block: "_Block", *, room: AsyncExitStack
    ) -> None:
        missing = await self._missing(opened.facts)
        todo = iter(missing)
        first = self._work_from_first(
            opened, todo, block, room=room, is_held=0 not in missing
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(first, name="transfer-0")
            for worker in range(1, min(self.limits.max_ranges, len(missing))):
                group.create_task(self._work(opened, todo), name=f"transfer-{worker}")

    async def _missing(self, facts: SourceFacts) -> Sequence[int]:
        """Where the ranges begin that no earlier worker has brought as a whole."""
        size, block_bytes = facts.size_bytes or 0, self.writer.block_bytes
        origin = resuming.origin_of(self.location, facts)
        found: Sequence[BlockDigest] = ()
        if origin is not None and size > block_bytes:
            found = await self.writer.held(origin)
        rest = resuming.rest_of(
            size,
            found,
            range_bytes=self.limits.range_bytes,
            block_bytes=block_bytes,
        )
        count = sum(block.length for block in rest.held)
        self.blocks += rest.held
        self.came += count
        self.stats.found(count)
        return rest.missing

    async def _work_from_first(
        self,
        opened: OpenedObject,
        todo: Iterator[int],
        block: "_Block",
        *,
        room: AsyncExitStack,
        is_held: bool,
    ) -> None:
        """Bring the range that opening asked for, unless it is held, then further ones."""
        # Kept any longer, this memory could be what the other workers wait for.
        async with room:
            if is_held:
                await _let_go(opened.first())
            else:
                await self._fetch_range(opened, next(todo), block, body=opened.first())
            for offset in todo:
                await self._fetch_range(opened, offset, block)

    async def _work(self, opened: OpenedObject, todo: Iterator[int]) -> None:
        """Pull ranges until none is left; let go of the memory whenever others wait."""
        offset = next(todo, None)
        while offset is not None:
            async with self.memory.hold(self.writer.block_bytes):
                offset = await self._work_while_free(opened, todo, offset)

    async def _work_while_free(
        self, opened: OpenedObject, todo: Iterator[int], offset: int
    ) -> int | None:
        """Bring ranges from `offset` on; return the next one, still to be brought."""
        block = _Block(self.writer.block_bytes)
        await self._fetch_range(opened, offset, block)
        while not self.memory.contended and (further := next(todo, None)) is not None:
            await self._fetch_range(opened, further, block)
        return next(todo, None)

    async def _fetch_range(
        self,
        opened: OpenedObject,
        offset: int,
        block: "_Block",
        *,
        body: AsyncGenerator[bytes, None] | None = None,
    ) -> None:
        """Bring one range; `body` is the first try at it, where it has already begun."""
        end = min(offset + self.limits.range_bytes, opened.facts.size_bytes or 0)
        bodies = iter((body,))
        block.start(offset)
        await self._retrying(
            lambda: self._read_on(opened, block, end=end, body=next(bodies, None))
        )
        self.stats.ranges += 1

    async def _read_on(
        self,
        opened: OpenedObject,
        block: "_Block",
        *,
        end: int,
        body: AsyncGenerator[bytes, None] | None,
    ) -> None:
        """Go on where the range stopped: nothing that came is asked for again."""
        if block.position < end:
            wanted = end - block.position
            await self._take(body or opened.read(block.position, wanted), block)
        if block.position != end:
            raise TruncatedError(f"{opened.facts.host}: a range ended early")
        await self._flush(block)

    async def _take(self, body: AsyncGenerator[bytes, None], block: "_Block") -> None:
        async with aclosing(body) as pieces:
            async for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    if block.is_full:
                        await self._flush(block)
                    # Counted as it is taken: a flush that fails may come next, and what
                    # the block holds then is not asked for again.
                    taken = block.add(rest)
                    self._moved(taken)
                    rest = rest[taken:]

    async def _flush(self, block: "_Block") -> None:
        """Hand over what the buffer holds; if that fails, it still holds it."""
        sha256 = await self.writer.write(block.offset, block.view())
        self.blocks.append(
            BlockDigest(offset=block.offset, length=block.filled, sha256=sha256)
        )
        block.start(block.position)

    def _moved(self, count: int) -> None:
        self.came += count
        self.stats.moved(count)


async def _let_go(body: AsyncGenerator[bytes, None]) -> None:
    """Leave the rest of a body unread. One that never began would keep its connection."""
    async with aclosing(body) as pieces:
        with suppress(RetryableError):
            await anext(pieces, None)


class _Block:
    """One worker's buffer: the block that is being filled, and where it belongs."""

    def __init__(self, size_bytes: int) -> None:
        # Pages of its own: they go back to the system with the block, before the object is
        # read back. A heap would keep them, the more of them the longer a transfer takes.
        self._buffer = memoryview(mmap.mmap(-1, size_bytes))
        self.offset = 0
        self.filled = 0

    @property
    def position(self) -> int:
        """Offset in the object of the next byte."""
        return self.offset + self.filled

    @property
    def is_full(self) -> bool:
        return self.filled == len(self._buffer)

    def start(self, offset: int) -> None:
        self.offset, self.filled = offset, 0

    def add(self, piece: memoryview) -> int:
        """Copy as much as there is room for; returns how much."""
        count = min(len(piece), len(self._buffer) - self.filled)
        self._buffer[self.filled : self.filled + count] = piece[:count]
        self.filled += count
        return count

    def view(self) -> memoryview:
        return self._buffer[: self.filled]
