"""A lease in hand: renewed in time, cut when it is lost, settled with its newest token."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from worker.errors import LeaseLostError, QueueUnavailableError
from worker.held import HeldLease
from worker.model import ChunkState, Lease, LeaseToken
from worker.settlement import (
    Complete,
    DeadLetter,
    Nothing,
    Release,
    Reschedule,
    Settlement,
)

LEASE_S = 60.0
LATER = START + timedelta(minutes=5)


class RotatingQueue(MemoryQueue):
    """Changes the token with every extension, as Storage Queues do."""

    async def extend(self, lease: Lease) -> Lease:
        extended = await super().extend(lease)
        rotated = replace(extended, token=LeaseToken(f"{lease.token}+"))
        self._entries[lease.row].lease = rotated
        return rotated


class Bench:
    """One leased chunk."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.queue: RotatingQueue = RotatingQueue(
            clock=self.clock, lease_seconds=LEASE_S
        )

    async def held(self) -> HeldLease:
        await self.queue.put(a_delivery(a_chunk()))
        (lease,) = await self.queue.lease(1)
        return HeldLease(lease, queue=self.queue, clock=self.clock)

    async def pass_time(self, seconds: float) -> None:
        """Let everyone run, second by second."""
        for _ in range(int(seconds)):
            await turns()
            self.clock.advance(1)
        await turns()

    async def be_overtaken(self) -> None:
        """Have another worker lease the chunk."""
        (entry,) = self.queue._entries.values()
        assert entry.lease is not None
        entry.lease = replace(entry.lease, token=LeaseToken("another"))


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def waiting(held: HeldLease, started: asyncio.Event) -> None:
    """Work that never ends by itself."""
    async with held.extended(LEASE_S):
        started.set()
        await asyncio.get_running_loop().create_future()


async def start(held: HeldLease) -> asyncio.Task[None]:
    started = asyncio.Event()
    task = asyncio.ensure_future(waiting(held, started))
    await asyncio.wait_for(started.wait(), timeout=10)
    return task


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=10)


async def test_lease_is_renewed_at_a_third_of_its_time() -> None:
    """Two renewals may fail before the lease lapses."""
    bench = Bench()
    held = await bench.held()
    first = held.lease
    task = await start(held)

    await bench.pass_time(19)
    assert held.lease is first
    await bench.pass_time(1)
    assert held.lease.leased_until == START + timedelta(seconds=20 + LEASE_S)
    await bench.pass_time(20)

    assert held.lease.leased_until == START + timedelta(seconds=40 + LEASE_S)
    assert held.lease.token == f"{first.token}++"
    await stop(task)


async def test_renewing_ends_with_the_work() -> None:
    """Whatever way the work ends, nothing goes on renewing."""
    bench = Bench()
    held = await bench.held()
    others = asyncio.all_tasks()

    async with held.extended(LEASE_S):
        await bench.pass_time(25)
    renewed = held.lease
    with pytest.raises(ZeroDivisionError):
        async with held.extended(LEASE_S):
            raise ZeroDivisionError

    assert asyncio.all_tasks() == others
    await bench.pass_time(60)
    assert held.lease is renewed


class SlowQueue(RotatingQueue):
    """The service has renewed already; its answer takes until `answer`."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock, lease_seconds=LEASE_S)
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def extend(self, lease: Lease) -> Lease:
        extended = await super().extend(lease)
        self.asked.set()
        await self.answer.wait()
        return extended


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_renewal_under_way_is_let_end(*, is_cancelled: bool) -> None:
    """The work ends in the middle of a renewal: its token is the one that settles."""
    bench = Bench()
    bench.queue = queue = SlowQueue(bench.clock)
    held = await bench.held()
    ended, started = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with held.extended(LEASE_S):
            started.set()
            await ended.wait()

    task = asyncio.ensure_future(work())
    await asyncio.wait_for(started.wait(), timeout=10)
    await turns()
    bench.clock.advance(20)
    await asyncio.wait_for(queue.asked.wait(), timeout=10)

    if is_cancelled:
        task.cancel()
    else:
        ended.set()
    await turns()
    assert not task.done()
    queue.answer.set()
    await asyncio.wait({task}, timeout=10)

    assert task.cancelled() is is_cancelled
    await held.settle(Complete(state=ChunkState.DELETED, note=""))
    (entry,) = await queue.list()
    assert entry.state is ChunkState.DELETED


async def test_trouble_of_the_queue_is_waited_out() -> None:
    """A renewal that fails is tried again; the work goes on."""
    bench = Bench()
    held = await bench.held()
    task = await start(held)
    bench.queue.trouble = "disk I/O error"
    await bench.pass_time(40)
    bench.queue.trouble = None
    assert not task.done()

    await bench.pass_time(20)

    assert held.lease.leased_until == START + timedelta(seconds=60 + LEASE_S)
    await stop(task)


async def test_lost_lease_cuts_the_work() -> None:
    """The work is cut with LeaseLostError, once, and its task is not cancelled."""
    bench = Bench()
    held = await bench.held()
    task = await start(held)
    await bench.be_overtaken()

    await bench.pass_time(20)

    assert task.done()
    assert not task.cancelled()
    assert isinstance(task.exception(), LeaseLostError)
    assert task.cancelling() == 0


async def test_cancellation_stays_a_cancellation() -> None:
    """A drain is not taken for a lost lease."""
    bench = Bench()
    task = await start(await bench.held())

    await stop(task)

    assert task.cancelled()


async def test_cancellation_outranks_a_lost_lease() -> None:
    """Cut and cancelled in the same moment: the cancellation passes."""
    bench = Bench()
    task = await start(await bench.held())
    await bench.be_overtaken()
    await turns()
    bench.clock.advance(20)
    for _ in range(10):
        if not task.cancelling():
            await asyncio.sleep(0)
    assert task.cancelling() == 1

    await stop(task)

    assert task.cancelled()


async def test_work_may_end_as_the_lease_is_lost() -> None:
    """Work that is done when the lease is found lost is not cut any more."""
    bench = Bench()
    held = await bench.held()
    await bench.be_overtaken()

    async with held.extended(LEASE_S):
        await turns()
        bench.clock.advance(20)

    with pytest.raises(LeaseLostError):
        await held.settle(Release())


async def test_lease_is_held_by_a_task() -> None:
    """Outside a task there would be nothing to cut."""
    held = await Bench().held()
    extended = held.extended(LEASE_S)
    outcome: list[BaseException] = []

    def enter() -> None:
        try:
            extended.__aenter__().send(None)
        except RuntimeError as error:
            outcome.append(error)

    asyncio.get_running_loop().call_soon(enter)
    await turns()

    assert str(outcome[0]) == "a lease is held by a task"


def settled(
    state: ChunkState,
    *,
    not_before: object = START,
    reason: str | None = None,
    attempts: int = 1,
) -> tuple[ChunkState, object, str | None, int]:
    return state, not_before, reason, attempts


SETTLEMENTS: list[tuple[Settlement, object]] = [
    (
        Complete(state=ChunkState.ARCHIVED, note="kept"),
        settled(ChunkState.ARCHIVED),
    ),
    (Complete(state=ChunkState.DELETED, note="gone"), settled(ChunkState.DELETED)),
    (
        Reschedule(not_before=LATER, reason="throttled", error="busy"),
        settled(ChunkState.PENDING, not_before=LATER, reason="throttled"),
    ),
    (
        Reschedule(not_before=LATER, reason="waits", error="", archived=True),
        settled(ChunkState.ARCHIVED, not_before=LATER, reason="waits"),
    ),
    (
        DeadLetter(reason="source-expired", error="404"),
        settled(ChunkState.DEAD, reason="source-expired"),
    ),
    (
        Release(not_before=LATER),
        settled(ChunkState.PENDING, not_before=LATER, attempts=0),
    ),
    (Release(), settled(ChunkState.PENDING, attempts=0)),
    (
        Release(reason="archive-full", error="no room"),
        settled(ChunkState.PENDING, attempts=0, reason="archive-full"),
    ),
    (Nothing(), settled(ChunkState.LEASED)),
]


@pytest.mark.parametrize(
    ("settlement", "expected"), SETTLEMENTS, ids=lambda each: type(each).__name__
)
async def test_settlement_reaches_the_queue(
    settlement: Settlement, expected: object
) -> None:
    """Each way to end a lease is one call of the queue, with all that it says."""
    bench = Bench()
    held = await bench.held()

    await held.settle(settlement)

    (entry,) = await bench.queue.list()
    assert (entry.state, entry.not_before, entry.reason, entry.attempts) == expected


async def test_lease_is_settled_with_its_newest_token() -> None:
    """After extensions the first token is stale; the settlement knows the last."""
    bench = Bench()
    held = await bench.held()
    async with held.extended(LEASE_S):
        await bench.pass_time(45)

    await held.settle(Complete(state=ChunkState.DELETED, note=""))

    (entry,) = await bench.queue.list()
    assert entry.state is ChunkState.DELETED


@pytest.mark.parametrize("error", [LeaseLostError, QueueUnavailableError])
async def test_settlement_that_fails_says_so(error: type[Exception]) -> None:
    """Whoever settles learns that it did not come to that."""
    bench = Bench()
    held = await bench.held()
    causes: dict[type[Exception], Callable[[], None]] = {
        LeaseLostError: bench.queue._entries.clear,
        QueueUnavailableError: lambda: setattr(bench.queue, "trouble", "away"),
    }
    causes[error]()

    with pytest.raises(error):
        await held.settle(Release())


async def test_settlement_that_nobody_knows_is_a_bug() -> None:
    """A new way to end an attempt can't be forgotten here in silence."""
    held = await Bench().held()

    with pytest.raises(AssertionError):
        await held.settle(cast("Settlement", object()))
