"""The engine on fakes: workers that share a source, an archive, a queue and a clock.

Every call of an archive, a source or a queue is a *step*, noted in order. A worker can be
killed at any of them. A delete without its proof is noted at once, in whatever test.
"""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

from tests import media
from tests.factories import RETENTION, a_chunk, a_delivery, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from tests.fakes.source import ScriptedSource
from worker import names
from worker.attempt import AttemptLog
from worker.breaker import Breaker
from worker.byos import NO_EXPORTS, Exports
from worker.closing import Closer, DeletePolicy
from worker.consumer import Consumer
from worker.limits import MemoryBudget
from worker.model import Chunk, ChunkState, DeleteAnswer, Lease, QueuedChunk, Stored
from worker.notices import Notices
from worker.pipeline import Pipeline
from worker.proving import Prover, Verify
from worker.runner import Runner
from worker.stored import Manifest, Receipt, decode
from worker.transfer import TransferLimits

T = TypeVar("T")
BLOCK = 1024
CONTENT_BYTES = 2 * BLOCK
"""Of media; with the headers a content is three blocks long."""


class Dead(BaseException):
    """The worker was killed: nothing of it runs any more, not even its firewall."""


class Steps:
    """Counts the calls that leave the worker; at the chosen one `on_reached` is called."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self._left: int | None = None
        self._on_reached: Callable[[], None] = lambda: None

    def at(self, step: int, on_reached: Callable[[], None]) -> None:
        """Call `on_reached` before the step with this number from now, and all later."""
        self._left, self._on_reached = step, on_reached

    def forget(self) -> None:
        self._left = None

    def take(self, label: str) -> None:
        self.journal.append(label)
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self._on_reached()

    def index(self, label: str) -> int:
        return self.journal.index(label)


class SteppedArchive(MemoryArchive):
    """Steps before each call, and after each that stored something."""

    steps: Steps

    async def pass_faults(self, operation: str, name: str) -> None:
        self.steps.take(f"{operation} {name}")
        await super().pass_faults(operation, name)

    def store(self, name: str, data: bytes) -> Stored:
        stored = super().store(name, data)
        self.steps.take(f"stored {name}")
        return stored


class SteppedSource(ScriptedSource):
    """Steps before each request and after each delete; watches over the first invariant."""

    steps: Steps
    archive: MemoryArchive
    unproven: list[str]

    async def _ask(
        self, method: str, location: str, *, offset: int = 0, length: int = 0
    ) -> Any:
        self.steps.take(f"{method} {location}")
        return await super()._ask(method, location, offset=offset, length=length)

    async def delete(self, location: str, *, proof: Receipt) -> DeleteAnswer:
        if not self._is_proven(proof):
            self.unproven.append(location)
        answer = await super().delete(location, proof=proof)
        self.steps.take(f"deleted {location}")
        return answer

    def _is_proven(self, proof: Receipt) -> bool:
        """Whether the archive holds this very receipt, unflagged, and both its objects."""
        held = self.archive.objects
        data = held.get(names.receipt_name(proof.key))
        if data is None or decode(Receipt, data) != proof or proof.flags:
            return False
        return all(
            proven is not None and proven.name in held
            for proven in (proof.content, proof.metadata)
        )


class SteppedQueue(MemoryQueue):
    """Steps before each call."""

    steps: Steps

    def _check(self) -> None:
        if "steps" in self.__dict__:
            self.steps.take("queue")
        super()._check()


@dataclass(slots=True)
class Watching:
    """An observer that remembers."""

    stages: list[str] = field(default_factory=list)
    moves: list[tuple[int, int | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def stage(self, chunk: Chunk, stage: str) -> None:
        self.stages.append(f"{chunk.index} {stage}")

    def moved(self, chunk: Chunk, done_bytes: int, total_bytes: int | None) -> None:
        assert chunk.index >= 0
        self.moves.append((done_bytes, total_bytes))

    def explain(self, chunk: Chunk, note: str) -> None:
        assert chunk.index >= 0
        self.notes.append(note)


class Rig:
    """A world with one worker; `another()` is a second worker in the same world."""

    def __init__(
        self,
        *,
        policy: DeletePolicy = "after-recording",
        verify: Verify = "read-back",
        keeps_waiting: bool = True,
    ) -> None:
        self.steps = Steps()
        self.clock = ManualClock()
        self.archive = SteppedArchive(clock=self.clock, block_bytes=BLOCK)
        self.archive.steps = self.steps
        self.source = SteppedSource(clock=self.clock)
        self.source.steps, self.source.archive = self.steps, self.archive
        self.source.unproven = []
        self.queue = SteppedQueue(clock=self.clock, keeps_waiting=keeps_waiting)
        self.queue.steps = self.steps
        self.policy, self.verify = policy, verify
        self.contents: dict[str, bytes] = {}
        self.notices: Notices | None = None
        self.exports: Exports = NO_EXPORTS
        self.restart()

    def restart(self) -> None:
        """Start the worker anew: what it kept in memory is gone."""
        self.steps.forget()
        self.watching = Watching()
        self.breaker = Breaker(self.clock.now)
        self.memory = MemoryBudget(4 * BLOCK)
        self.pipeline = self._pipeline()
        self.runner = Runner(
            queue=self.queue,
            pipeline=self.pipeline,
            clock=self.clock,
            breaker=self.breaker,
            observer=self.watching,
            random=Random(0),  # noqa: S311 - jitter
            lease_seconds=60,
            notices=self.notices,
        )

    def another(self) -> Runner:
        """A second worker, which shares nothing but the world."""
        mine = self.watching, self.breaker, self.memory, self.pipeline, self.runner
        self.restart()
        theirs = self.runner
        self.watching, self.breaker, self.memory, self.pipeline, self.runner = mine
        return theirs

    def _pipeline(self) -> Pipeline:
        return Pipeline(
            source=self.source,
            archive=self.archive,
            clock=self.clock,
            prover=Prover(
                source=self.source,
                archive=self.archive,
                clock=self.clock,
                memory=self.memory,
                limits=TransferLimits(range_bytes=BLOCK, max_ranges=2),
                verify=self.verify,
            ),
            closer=Closer(
                source=self.source,
                archive=self.archive,
                queue=self.queue,
                clock=self.clock,
                policy=self.policy,
                instance="rig",
                exports=self.exports,
                notices=self.notices,
            ),
            observer=self.watching,
            retention=RETENTION,
            instance="rig",
            exports=self.exports,
        )

    def consumer(
        self, *, slots: int = 2, nudge: asyncio.Event, cut: asyncio.Event
    ) -> Consumer:
        return Consumer(
            queue=self.queue,
            runner=self.runner,
            clock=self.clock,
            breaker=self.breaker,
            slots=slots,
            drain_seconds=25,
            nudge=nudge,
            cut=cut,
        )

    def offer(self, *chunks: Chunk) -> None:
        """Have the chunks at the source."""
        for chunk in chunks:
            objects = f"/objects/{chunk.document_id}"
            media_bytes = random.Random(chunk.key).randbytes(CONTENT_BYTES)  # noqa: S311
            self.contents[chunk.key] = media.mp4(media=media_bytes)
            self.source.put(chunk.content_location, self.contents[chunk.key])
            if chunk.metadata_location is not None:
                self.source.put(chunk.metadata_location, metadata_of(chunk))
            if chunk.delete_location is not None and objects in chunk.delete_location:
                self.source.put(chunk.delete_location, b"")

    async def put(self, *chunks: Chunk) -> None:
        """Have the chunks at the source, and announced."""
        self.offer(*chunks)
        await self.announce(*chunks)

    async def announce(self, *chunks: Chunk) -> None:
        await self.queue.put(a_delivery(*chunks))

    async def one(self) -> Chunk:
        """A recording of one chunk, offered and announced."""
        chunk = a_chunk()
        await self.put(chunk)
        return chunk

    async def several(self, count: int) -> tuple[Chunk, ...]:
        """A recording of several chunks, offered and announced together."""
        chunks = some_chunks(count)
        await self.put(*chunks)
        return chunks

    async def lease(self) -> Lease:
        (lease,) = await self.queue.lease(1)
        return lease

    def record(self, lease: Lease) -> AttemptLog:
        return AttemptLog(clock=self.clock, expires_at=lease.chunk.expires_at)

    async def attempt(self) -> QueuedChunk:
        """Run one attempt at what is due first; returns what became of it."""
        lease = await self.lease()
        await self.drive(self.runner.run(lease))
        return await self.queued(lease.chunk)

    async def drive(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end; time passes whenever everything waits for it, and only then."""
        task = asyncio.ensure_future(work)
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        while not task.done():
            await asyncio.sleep(0)
            if not ready and not task.done():
                self.clock.advance(self._until_next_wake())
        return task.result()

    def _until_next_wake(self) -> float:
        waiting = [due for due, _, woken in self.clock._sleepers if not woken.done()]
        assert waiting, "nothing moves, and nothing waits for the clock"
        return max(min(waiting) - self.clock.monotonic(), 0)

    async def work_off(
        self, *, until: datetime = START + timedelta(days=30), at_once: int = 1
    ) -> None:
        """Run whatever is due, attempt by attempt, until nothing is due before `until`."""
        for _ in range(500):
            due = await self.queue.next_due()
            if due is None or due > until:
                return
            self.advance_to(due)
            leases = await self.queue.lease(at_once)
            await self.drive(self._run_all(leases))
        raise AssertionError("the work has no end")

    async def _run_all(self, leases: Sequence[Lease]) -> None:
        await asyncio.gather(*(self.runner.run(lease) for lease in leases))

    def advance_to(self, moment: datetime) -> None:
        self.clock.advance(max((moment - self.clock.now()).total_seconds(), 0))

    async def queued(self, chunk: Chunk) -> QueuedChunk:
        found = await self.queue.announced(chunk.recording)
        return next(entry for entry in found if entry.chunk.key == chunk.key)

    def receipt(self, chunk: Chunk) -> Receipt | None:
        data = self.archive.objects.get(names.receipt_name(chunk.key))
        return None if data is None else decode(Receipt, data)

    def manifests(self, chunk: Chunk) -> list[Manifest]:
        folder = names.recording_folder(chunk.announcement, chunk.recording)
        found = sorted(
            name
            for name in self.archive.objects
            if name.startswith(f"{folder}manifest.") and name.endswith(".json")
        )
        return [decode(Manifest, self.archive.objects[name]) for name in found]

    def asked(self, location: str | None, *, method: str = "GET") -> int:
        """How often the source was asked for this from its beginning."""
        return sum(
            asked.location == location and asked.method == method and not asked.offset
            for asked in self.source.requests
        )

    async def assert_home_alone(self, chunk: Chunk) -> None:
        """The chunk, a recording of its own among others, is archived and deleted."""
        assert self.source.unproven == []
        assert (await self.queued(chunk)).state is ChunkState.DELETED
        self._assert_archived(chunk)
        assert self.source.deleted.count(chunk.delete_location or "") == 1
        assert [manifest.complete for manifest in self.manifests(chunk)] == [True]

    async def assert_home(self, *chunks: Chunk, state: ChunkState) -> None:
        """All is archived once, whole, in one manifest, and settled; no delete unproven."""
        assert self.source.unproven == []
        expected = set()
        folder = names.recording_folder(chunks[0].announcement, chunks[0].recording)
        # One that left the queue to its siblings is told apart by the archive alone.
        left = set() if self.queue.keeps_waiting else {ChunkState.ARCHIVED}
        for chunk in chunks:
            entry = await self.queued(chunk)
            assert entry.state in {state} | left, entry
            self._assert_archived(chunk)
            expected |= {names.content_name(chunk), names.metadata_name(chunk)}
        expected |= {f"{folder}manifest.0001.{kind}" for kind in ("json", "sha256")}
        held = {name for name in self.archive.objects if name.startswith(folder)}
        assert held == expected
        (manifest,) = self.manifests(chunks[0])
        assert manifest.complete
        assert [chunk.key for chunk in manifest.chunks] == [c.key for c in chunks]
        self._assert_deleted(*chunks, is_deleted=state is ChunkState.DELETED)

    def _assert_archived(self, chunk: Chunk) -> None:
        receipt = self.receipt(chunk)
        assert receipt is not None
        assert receipt.flags == ()
        objects = self.archive.objects
        assert objects[receipt.content.name] == self.contents[chunk.key]
        assert receipt.metadata is not None
        assert objects[receipt.metadata.name] == metadata_of(chunk)

    def _assert_deleted(self, *chunks: Chunk, is_deleted: bool) -> None:
        deleted = [chunk.delete_location for chunk in chunks if is_deleted]
        assert sorted(self.source.deleted) == sorted(filter(None, deleted))
        for chunk in chunks:
            record = names.source_deleted_name(chunk.key)
            assert (record in self.archive.objects) == is_deleted


def die() -> None:
    raise Dead


async def killed_at(rig: Rig, step: int) -> bool:
    """Run one attempt that dies before its `step`-th call; whether it came to that."""
    lease = await rig.lease()
    rig.steps.at(step, die)
    try:
        await rig.drive(rig.runner.run(lease))
    except Dead:
        return True
    finally:
        rig.restart()
    return False


def metadata_of(chunk: Chunk, *, document_id: str | None = None) -> bytes:
    """The acsmetadata of a chunk of four seconds that ended as it was announced."""
    return json.dumps(
        {
            "chunkDocumentId": document_id or chunk.document_id,
            "chunkIndex": chunk.index,
            "chunkStartTime": (START - timedelta(seconds=4)).isoformat(),
            "chunkDuration": 4000.0,
        }
    ).encode()


def flat(*chunks: Chunk) -> tuple[Chunk, ...]:
    """The same chunks, each as if announced by an event of its own."""
    alone = []
    for chunk in chunks:
        own = tuple(each for each in chunk.announced if each.key == chunk.key)
        alone.append(replace(chunk, announced=own))
    return tuple(alone)
