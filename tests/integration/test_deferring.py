"""Deliveries that come faster than they are sorted: durable at once, and queued later."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from handlers import deferring
from handlers.deferring import (
    CALM_SECONDS,
    CROWD,
    LONG_BYTES,
    LONGEST_REST_SECONDS,
    MOST_BEHIND,
    MOST_CRASHES,
    PAGE,
    PAGE_BYTES,
    PATIENCE,
    SIDE_BY_SIDE,
    Backlog,
)
from handlers.receiver import DeliveryQueue, Received, ReceivedKind, Receiver
from tests.factories import RETENTION, a_deferred
from tests.fakes.clock import START, ManualClock
from tests.unit.handlers.bodies import (
    DELETED_TYPE,
    SmallQuarantine,
    a_body,
    a_cloud_event,
    a_grid_event,
    a_validation,
    an_entry,
    recording_data,
)
from tests.unit.worker.measured import measured
from worker import names
from worker.errors import ArchiveUnavailableError, QueueUnavailableError
from worker.model import Delivery, PutResult
from worker.queues.sqlite import SqliteQueue
from worker.telemetry.instruments import DELIVERIES, DELIVERY_DURATION

HIDE_SECONDS = 60.0
PATIENCE_SECONDS = 10


def a_queue(path: Path, clock: ManualClock) -> SqliteQueue:
    return SqliteQueue(
        path,
        clock=clock,
        worker="w1",
        random=Random(1),  # noqa: S311 - jitter
    )


def announcing(document: str) -> bytes:
    """A delivery of one event with one chunk."""
    return a_body(a_grid_event(recording_data(an_entry(document)), id=document))


class Desk:
    """A backlog on a real file, with everything behind it."""

    def __init__(self, queue: SqliteQueue, clock: ManualClock) -> None:
        self.clock = clock
        self.queue = queue
        self.quarantine = SmallQuarantine()
        self.stopping = asyncio.Event()
        self.at_work = 0
        self.receiver = Receiver(queue, self.quarantine, clock, retention=RETENTION)
        self.backlog = self.another()

    def another(self, receiver: object = None) -> Backlog:
        """The backlog of another process, on the same file."""
        return Backlog(
            receiver or self.receiver,  # type: ignore[arg-type]  # what a test needs
            self.queue,
            self.clock,
            hide_seconds=HIDE_SECONDS,
            is_busy=lambda: self.at_work > 0,
        )

    def sorting_into(self, queue: DeliveryQueue) -> Backlog:
        """A backlog that puts what it sorts there."""
        return self.another(
            Receiver(queue, self.quarantine, self.clock, retention=RETENTION)
        )

    async def defer(self, *documents: str) -> None:
        for document in documents:
            received = await self.backlog.receive(
                announcing(document), origin="webhook", delivery_count=2
            )
            assert received.kind is ReceivedKind.DEFERRED

    async def queued(self) -> list[str]:
        return [entry.chunk.document_id for entry in await self.queue.list()]

    async def left(self) -> int:
        counts = await self.queue.counts(at_risk_within=timedelta(0))
        return counts.deferred

    def wants(self, body: bytes, *, at_work: int = 1, header: str = "") -> bool:
        return self.backlog.wants(body, event_header=header, at_work=at_work)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(auto=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
async def desk(path: Path, clock: ManualClock) -> AsyncIterator[Desk]:
    async with a_queue(path, clock) as queue:
        yield Desk(queue, clock)


@asynccontextmanager
async def at_work(backlog: Backlog, stopping: asyncio.Event) -> AsyncIterator[None]:
    """It runs beside, until the test has seen enough."""
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(backlog.run(stopping))
        yield
        stopping.set()


async def until(is_so: Callable[[], Any]) -> None:
    """Look again and again; each look is a turn of the loop and of the file's thread."""
    while not await is_so():  # noqa: ASYNC110 - no sleep passes any time here
        await asyncio.sleep(0)


def test_delivery_that_comes_alone_is_sorted_at_once(desk: Desk) -> None:
    """Its chunk is on its way when it is answered."""
    assert not desk.wants(announcing("d1"), at_work=CROWD)


def test_delivery_in_a_crowd_is_deferred_until_the_crowd_is_gone(desk: Desk) -> None:
    """What comes right behind a crowd would make one of those that follow."""
    body = announcing("d1")

    assert desk.wants(body, at_work=CROWD + 1)
    desk.clock.advance(CALM_SECONDS - 0.1)
    assert desk.wants(body)
    desk.clock.advance(0.1)
    assert not desk.wants(body)


def test_long_delivery_is_deferred(desk: Desk) -> None:
    """It would hold up all that come while it is sorted."""
    body = announcing("d1")

    assert not desk.wants(body.ljust(LONG_BYTES))
    assert desk.wants(body.ljust(LONG_BYTES + 1))


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (a_body(a_validation()), "SubscriptionValidation"),
        (a_body(a_validation()), ""),
        (a_body(a_validation()).replace(b"Microsoft.E", b"microsoft.e"), ""),
        (a_body(a_grid_event(type=DELETED_TYPE, eventType=DELETED_TYPE)), ""),
        (json.dumps(a_cloud_event({}, type=DELETED_TYPE)).encode(), "Notification"),
        (announcing("d1"), "SubscriptionDeletion"),
    ],
)
def test_what_is_said_of_a_subscription_is_never_deferred(
    desk: Desk, body: bytes, header: str
) -> None:
    """A handshake is answered with its code, and an end is told at once."""
    assert not desk.wants(body.ljust(LONG_BYTES + 1), at_work=CROWD + 1, header=header)


async def test_what_is_deferred_is_durable_as_it_came(
    desk: Desk, path: Path, clock: ManualClock
) -> None:
    """Another process finds all that the sender said, and when."""
    with capture_logs() as logs:
        received = await desk.backlog.receive(
            b"{any bytes",
            origin="webhook",
            delivery_count=3,
            traceparent="00-1-2-01",
        )

    async with a_queue(path, clock) as queue:
        taken = await queue.take_deferred(most=9, most_bytes=9, hide_seconds=9)
    [found] = taken.deliveries
    assert received.kind is ReceivedKind.DEFERRED
    assert (found.body, found.received_at) == (b"{any bytes", START)
    assert (found.origin, found.delivery_count) == ("webhook", 3)
    assert (found.traceparent, found.times) == ("00-1-2-01", 1)
    assert [line["event"] for line in logs] == ["delivery.deferred"]


async def test_sender_hears_of_a_queue_that_keeps_nothing(desk: Desk) -> None:
    """Nothing is acknowledged that is not durable."""
    await desk.queue.__aexit__(None, None, None)

    with capture_logs() as logs:
        received = await desk.backlog.receive(announcing("d1"), origin="webhook")

    assert received.kind is ReceivedKind.UNAVAILABLE
    assert received.reason == QueueUnavailableError.reason
    assert [line["event"] for line in logs] == ["delivery.rejected"]


async def test_deferred_deliveries_are_sorted_as_if_just_received(desk: Desk) -> None:
    """They count as received when they came; then nothing is left of them."""
    await desk.defer("d1", "d2")
    desk.clock.advance(5)

    with capture_logs() as logs:
        assert await desk.backlog.empty(desk.stopping)

    entries = await desk.queue.list()
    assert {entry.chunk.document_id for entry in entries} == {"d1", "d2"}
    assert {entry.chunk.received_at for entry in entries} == {START}
    assert await desk.left() == 0
    told = [(line["event"], line["deferred_s"]) for line in logs]
    assert told == [("delivery.accepted", 5.0)] * 2
    assert {line["delivery_count"] for line in logs} == {2}


async def test_bad_event_goes_to_quarantine_when_it_is_sorted(desk: Desk) -> None:
    """It was answered before anybody could know."""
    await desk.backlog.receive(b"{any bytes", origin="webhook")

    assert await desk.backlog.empty(desk.stopping)

    assert desk.quarantine.bodies == [b"{any bytes"]
    assert await desk.left() == 0


async def test_delivery_counts_as_deferred_and_once_more_when_it_is_sorted(
    desk: Desk,
) -> None:
    """How long its sender waited counts once; a try that comes to nothing, never."""
    trouble = Trouble(desk.queue, QueueUnavailableError("full"))
    backlog = desk.sorting_into(trouble)
    with measured() as numbers:
        await desk.defer("bad")
        assert not await backlog.empty(desk.stopping)
        desk.clock.advance(HIDE_SECONDS)
        assert await desk.backlog.empty(desk.stopping)

    outcomes = {
        (name, dict(told)["outcome"]): number
        for (name, told), number in numbers.sums.items()
        if name in {DELIVERIES.name, DELIVERY_DURATION.name}
    }
    assert outcomes == {
        (DELIVERIES.name, "deferred"): 1,
        (DELIVERIES.name, "accepted"): 1,
        (DELIVERY_DURATION.name, "deferred"): 1,
    }


async def test_what_arrives_is_sorted_soon(desk: Desk) -> None:
    """Nobody waits for the next look."""
    async with at_work(desk.backlog, desk.stopping):
        await desk.defer("d1")
        await until(desk.queued)

    assert await desk.queued() == ["d1"]


class Stuck:
    """A receiver that never comes to an end."""

    def __init__(self) -> None:
        self.began = asyncio.Event()

    async def receive(self, _body: bytes, **_told: object) -> Received:
        self.began.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody let it go")


async def test_stop_cuts_the_sorting_short_and_loses_nothing(desk: Desk) -> None:
    """What is left is durable: the next process sorts it."""
    stuck = Stuck()
    await desk.defer("d1")
    async with at_work(desk.another(stuck), desk.stopping):
        await stuck.began.wait()

    desk.stopping.clear()
    assert await desk.backlog.empty(desk.stopping)
    assert await desk.queued() == ["d1"]


async def test_stopped_often_it_is_no_bug_that_was_met(desk: Desk) -> None:
    """What a stop gives back counts as never taken up."""
    await desk.defer("d1", "d2")
    for _ in range(MOST_CRASHES + 2):
        stuck = Stuck()
        async with at_work(desk.another(stuck), desk.stopping):
            await stuck.began.wait()
        desk.stopping.clear()

    taken = await desk.queue.take_deferred(most=9, most_bytes=9999, hide_seconds=1)
    assert [each.times for each in taken.deliveries] == [1, 1]


async def test_taking_that_is_cancelled_gives_back(desk: Desk) -> None:
    """Nobody has them then."""
    await desk.defer("d1")
    taking = asyncio.create_task(
        desk.queue.take_deferred(most=9, most_bytes=9, hide_seconds=HIDE_SECONDS)
    )
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking

    taken = await desk.queue.take_deferred(most=9, most_bytes=9, hide_seconds=1)
    assert [each.times for each in taken.deliveries] == [1]


async def test_what_may_have_killed_its_worker_is_taken_alone(desk: Desk) -> None:
    """It takes no other delivery along, and stands in no other's way."""
    await desk.defer("d1", "d2", "d3")
    sizes = []
    for _ in range(5):
        taken = await desk.queue.take_deferred(
            most=9, most_bytes=9999, hide_seconds=HIDE_SECONDS
        )
        sizes.append(len(taken.deliveries))
        if len(sizes) < 3:
            desk.clock.advance(HIDE_SECONDS)

    assert sizes == [3, 3, 1, 1, 1]


async def test_clock_that_was_wrong_hides_nothing_for_long(desk: Desk) -> None:
    """Set right, it shows what is hidden for longer than anybody may have it."""
    await desk.defer("d1")
    desk.clock.advance(86400)
    await desk.queue.take_deferred(most=1, most_bytes=1, hide_seconds=HIDE_SECONDS)
    desk.clock.advance(-86400)

    assert await desk.backlog.empty(desk.stopping)
    assert await desk.queued() == ["d1"]


async def test_storage_that_hangs_holds_up_no_other_delivery(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the time that a delivery has; then it comes back, and that is told."""
    monkeypatch.setattr(deferring, "BUDGET_SECONDS", 0.01)

    class Hanging:
        async def receive(self, body: bytes, **told: Any) -> Received:
            if body == announcing("bad"):
                await asyncio.Event().wait()
            return await desk.receiver.receive(body, **told)

    await desk.defer("bad", "good")
    with capture_logs() as logs:
        assert not await desk.another(Hanging()).empty(desk.stopping)

    assert (await desk.queued(), await desk.left()) == (["good"], 1)
    assert "deferred.unavailable" in [line["event"] for line in logs]


async def test_emptying_leaves_what_comes_meanwhile(desk: Desk) -> None:
    """In a flood it would never come to the chunks."""

    class Flooded:
        async def receive(self, body: bytes, **told: Any) -> Received:
            await desk.defer(f"d{await desk.left()}")
            return await desk.receiver.receive(body, **told)

    await desk.defer("d1")

    assert await desk.another(Flooded()).empty(desk.stopping)
    assert await desk.left() == 1


async def test_emptying_tells_of_a_queue_that_fails(desk: Desk) -> None:
    """And is no end of the process: there may be chunks to bring home."""
    await desk.defer("d1")
    await desk.queue.__aexit__(None, None, None)

    with capture_logs() as logs:
        assert not await desk.backlog.empty(desk.stopping)

    assert [line["event"] for line in logs] == ["deferred.unavailable"]


async def test_emptying_ends_when_it_is_stopped(desk: Desk) -> None:
    """And says that it did not see the end."""
    await desk.defer("d1")
    desk.stopping.set()

    assert not await desk.backlog.empty(desk.stopping)


async def test_each_turn_of_a_long_backlog_is_told(desk: Desk) -> None:
    """Whoever watches for a standstill sees that it goes on."""
    await desk.defer(*(f"d{number}" for number in range(PAGE + 1)))
    turns: list[None] = []

    assert await desk.backlog.empty(desk.stopping, turned=lambda: turns.append(None))

    assert len(turns) == 3
    assert len(await desk.queued()) == PAGE + 1


async def test_delivery_that_another_process_sorts_is_left_to_it(desk: Desk) -> None:
    """Until it had its time: then it is dead, and another sorts it."""
    await desk.defer("d1")
    await desk.queue.take_deferred(most=1, most_bytes=1, hide_seconds=HIDE_SECONDS)

    desk.clock.advance(HIDE_SECONDS - 1)
    assert not await desk.backlog.empty(desk.stopping)
    assert await desk.queued() == []

    desk.clock.advance(1)
    assert await desk.backlog.empty(desk.stopping)
    assert await desk.queued() == ["d1"]


async def test_page_holds_few_bytes_or_one_delivery(desk: Desk) -> None:
    """Memory stays flat, however long they are."""
    for size_bytes in (PAGE_BYTES + 1, PAGE_BYTES // 2, PAGE_BYTES // 2, 1):
        await desk.backlog.receive(bytes(size_bytes), origin="webhook")

    pages = [
        await desk.queue.take_deferred(
            most=PAGE, most_bytes=PAGE_BYTES, hide_seconds=HIDE_SECONDS
        )
        for _ in range(4)
    ]

    assert [len(page.deliveries) for page in pages] == [1, 2, 1, 0]


async def test_id_of_a_sorted_delivery_is_never_given_again(desk: Desk) -> None:
    """Whoever was slow would drop another one, unread."""
    await desk.defer("d1")
    taken = await desk.queue.take_deferred(most=1, most_bytes=1, hide_seconds=1)
    ids = [each.id for each in taken.deliveries]
    await desk.queue.drop_deferred(ids)

    await desk.defer("d2")
    await desk.queue.drop_deferred(ids)

    assert await desk.left() == 1


async def test_sorted_delivery_leaves_no_byte_in_the_file(
    desk: Desk, path: Path
) -> None:
    """What it says may be erased from everywhere else, and nobody would look here."""
    await desk.backlog.receive(b"a-secret-name" * 1000, origin="webhook")

    assert await desk.backlog.empty(desk.stopping)

    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"a-secret-name" not in path.read_bytes()  # noqa: ASYNC240 - a look may block


class Trouble:
    """A queue that keeps what is deferred, and can't put what is in it."""

    def __init__(self, queue: SqliteQueue, error: BaseException | None = None) -> None:
        self.error = error
        self._queue = queue

    async def put(self, delivery: Delivery) -> PutResult:
        documents = [chunk.document_id for chunk in delivery.chunks]
        if self.error is not None and documents == ["bad"]:
            raise self.error
        return await self._queue.put(delivery)


async def test_delivery_that_can_not_be_put_stays(desk: Desk) -> None:
    """However long that lasts; and the others are not held up by it."""
    trouble = Trouble(desk.queue, QueueUnavailableError("full"))
    backlog = desk.sorting_into(trouble)
    await desk.defer("bad", "good")

    assert not await backlog.empty(desk.stopping)
    assert (await desk.queued(), await desk.left()) == (["good"], 1)

    for _ in range(2 * MOST_CRASHES):
        desk.clock.advance(HIDE_SECONDS)
        assert not await backlog.empty(desk.stopping)
    trouble.error = None
    desk.clock.advance(HIDE_SECONDS)
    assert await backlog.empty(desk.stopping)
    assert sorted(await desk.queued()) == ["bad", "good"]
    assert desk.quarantine.bodies == []


async def test_delivery_that_meets_a_bug_ends_in_quarantine(desk: Desk) -> None:
    """Tried often first, for a newer worker may have no such bug."""
    trouble = Trouble(desk.queue, LookupError("a bug"))
    backlog = desk.sorting_into(trouble)
    await desk.defer("bad", "good")

    with capture_logs() as logs:
        for _ in range(MOST_CRASHES):
            assert not await backlog.empty(desk.stopping)
            desk.clock.advance(HIDE_SECONDS)
        assert desk.quarantine.bodies == []
        assert await backlog.empty(desk.stopping)

    assert desk.quarantine.bodies == [announcing("bad")]
    assert (await desk.queued(), await desk.left()) == (["good"], 0)
    crashes = [line for line in logs if line["event"] == "deferred.crashed"]
    assert [line["deliveries"] for line in crashes] == list(range(1, MOST_CRASHES + 1))


async def test_quarantine_that_fails_keeps_what_meets_a_bug(desk: Desk) -> None:
    """It is in one place or the other."""
    desk.quarantine.fails_with = ArchiveUnavailableError("full")
    trouble = Trouble(desk.queue, LookupError("a bug"))
    backlog = desk.sorting_into(trouble)
    await desk.defer("bad")

    with capture_logs():
        for _ in range(MOST_CRASHES + 2):
            assert not await backlog.empty(desk.stopping)
            desk.clock.advance(HIDE_SECONDS)
    assert await desk.left() == 1

    desk.quarantine.fails_with = None
    assert await backlog.empty(desk.stopping)
    assert desk.quarantine.bodies == [announcing("bad")]


async def test_backlog_survives_a_queue_that_fails(desk: Desk) -> None:
    """It tells so, and goes on when the queue does."""

    class Failing:
        failures = 1

        def __getattr__(self, name: str) -> Any:
            return getattr(desk.queue, name)

        async def take_deferred(self, **told: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise QueueUnavailableError("full")
            return await desk.queue.take_deferred(**told)

    backlog = Backlog(
        desk.receiver,
        Failing(),
        desk.clock,
        hide_seconds=HIDE_SECONDS,
    )
    await desk.defer("d1")

    with capture_logs() as logs:
        async with at_work(backlog, desk.stopping):
            await until(desk.queued)

    assert logs[0]["event"] == "deferred.unavailable"
    assert await desk.queued() == ["d1"]


class Slow:
    """A receiver that takes its time, and knows how many it had at once."""

    took_s = 0.1

    def __init__(self, clock: ManualClock) -> None:
        self.running = self.most = 0
        self.clock = clock

    async def receive(self, _body: bytes, **_told: object) -> Received:
        self.running += 1
        self.most = max(self.most, self.running)
        self.clock.advance(self.took_s)
        await asyncio.sleep(0)
        self.running -= 1
        return Received(kind=ReceivedKind.ACCEPTED)


async def test_whoever_sorts_in_a_flood_rests_most_of_the_time(desk: Desk) -> None:
    """One after the other, for deliveries wait for the same loop."""
    desk.at_work = 1
    slow = Slow(desk.clock)
    await desk.defer("d1", "d2", "d3")
    assert await desk.another(slow).empty(desk.stopping)

    assert slow.most == 1
    assert desk.clock.sleeps == pytest.approx([4 * slow.took_s] * 3)

    desk.at_work = 0
    desk.clock.sleeps.clear()
    await desk.defer("d4", "d5", "d6")
    desk.clock.advance(2 * CALM_SECONDS)
    assert await desk.another(slow).empty(desk.stopping)

    assert slow.most == 3
    assert desk.clock.sleeps == []


async def test_flood_in_another_process_is_one(desk: Desk) -> None:
    """It waits for the same file: how young the newest is tells of it."""
    slow = Slow(desk.clock)
    await desk.defer("d1", "d2")
    assert await desk.another(slow).empty(desk.stopping)

    assert slow.most == 1
    assert desk.clock.sleeps


async def test_whoever_is_late_sorts_more_in_a_flood(desk: Desk) -> None:
    """A flood that lasts must not hold back what came first until it expires."""
    desk.at_work = 1
    slow = Slow(desk.clock)
    await desk.defer(*(f"d{number}" for number in range(2 * SIDE_BY_SIDE)))
    desk.clock.advance(PATIENCE.total_seconds() + 1)
    assert await desk.another(slow).empty(desk.stopping)

    assert slow.most == SIDE_BY_SIDE
    assert desk.clock.sleeps == pytest.approx([SIDE_BY_SIDE * slow.took_s] * 2)


async def test_rest_is_never_long(desk: Desk) -> None:
    """However long one took, the next comes to its turn."""
    desk.at_work = 1
    slow = Slow(desk.clock)
    slow.took_s = HIDE_SECONDS / 2
    await desk.defer("d1")
    assert await desk.another(slow).empty(desk.stopping)

    assert desk.clock.sleeps == [LONGEST_REST_SECONDS]


async def test_emptying_tries_each_delivery_once(desk: Desk) -> None:
    """However long that takes: what can't be sorted now comes back meanwhile."""
    tried: list[bytes] = []

    class Refusing:
        async def receive(self, body: bytes, **_told: object) -> Received:
            tried.append(body)
            desk.clock.advance(HIDE_SECONDS)
            return Received(kind=ReceivedKind.UNAVAILABLE)

    documents = [f"d{number}" for number in range(PAGE + 1)]
    await desk.defer(*documents)

    assert not await desk.another(Refusing()).empty(desk.stopping)
    assert sorted(tried) == sorted(map(announcing, documents))


async def test_delivery_that_can_not_be_put_does_not_stop_those_behind(
    desk: Desk,
) -> None:
    """The next page follows at once."""
    trouble = Trouble(desk.queue, QueueUnavailableError("full"))
    backlog = desk.sorting_into(trouble)
    await desk.defer("bad", *(f"d{number}" for number in range(PAGE)))
    desk.clock.advance(2 * CALM_SECONDS)

    async def all_put() -> bool:
        return len(await desk.queued()) == PAGE

    async with at_work(backlog, desk.stopping):
        await until(all_put)

    assert desk.clock.sleeps == []


async def test_queue_that_fails_while_it_is_told_is_no_bug_that_was_met(
    desk: Desk,
) -> None:
    """However often: what was good is sorted when the queue is well again."""

    class Failing:
        fails = True

        def __getattr__(self, name: str) -> Any:
            if self.fails and name in {"give_back_deferred", "drop_deferred"}:
                raise QueueUnavailableError("full")
            return getattr(desk.queue, name)

    queue = Failing()
    backlog = Backlog(desk.receiver, queue, desk.clock, hide_seconds=HIDE_SECONDS)
    await desk.defer("d1")
    for _ in range(MOST_CRASHES + 2):
        assert not await backlog.empty(desk.stopping)
        desk.clock.advance(HIDE_SECONDS)

    queue.fails = False
    assert await backlog.empty(desk.stopping)
    assert (await desk.queued(), desk.quarantine.bodies) == (["d1"], [])


async def test_clock_that_was_fast_makes_no_long_flood(desk: Desk) -> None:
    """Set right, it finds a delivery that has yet to come."""
    slow = Slow(ManualClock(auto=True))
    desk.clock.advance(86400)
    await desk.defer(*(f"d{number}" for number in range(2 * SIDE_BY_SIDE)))
    backlog = Backlog(
        slow,  # type: ignore[arg-type]  # what a test needs
        desk.queue,
        slow.clock,
        hide_seconds=HIDE_SECONDS,
    )

    assert await backlog.empty(desk.stopping)
    assert slow.most == SIDE_BY_SIDE


@pytest.mark.parametrize("earlier", [0, 1])
async def test_what_one_has_is_taken_by_no_other_that_hides_for_less(
    desk: Desk, earlier: int
) -> None:
    """Nor by one that asked before, and waited for the lock."""
    await desk.defer("d1")
    await desk.queue.take_deferred(most=1, most_bytes=1, hide_seconds=HIDE_SECONDS)
    desk.clock.advance(-earlier)

    taken = await desk.queue.take_deferred(
        most=1, most_bytes=1, hide_seconds=HIDE_SECONDS - (not earlier)
    )
    assert taken.deliveries == ()


async def test_page_that_another_has_counts_as_behind(desk: Desk) -> None:
    """Who finds nothing to take learns how old the oldest is."""
    await desk.defer("d1")
    desk.clock.advance(MOST_BEHIND.total_seconds() + 1)
    await desk.queue.take_deferred(most=1, most_bytes=1, hide_seconds=HIDE_SECONDS)

    assert not await desk.backlog.empty(desk.stopping)

    assert not desk.wants(announcing("d2").ljust(LONG_BYTES + 1))


async def test_whoever_is_far_behind_defers_no_more(desk: Desk) -> None:
    """Senders then feel how it is, and come again."""
    began, go_on = asyncio.Event(), asyncio.Event()

    class Held:
        async def receive(self, body: bytes, **told: Any) -> Received:
            began.set()
            await go_on.wait()
            return await desk.receiver.receive(body, **told)

    backlog = desk.another(Held())
    body = announcing("d2").ljust(LONG_BYTES + 1)
    await desk.defer("d1")
    desk.clock.advance(MOST_BEHIND.total_seconds())
    async with at_work(backlog, desk.stopping):
        await began.wait()
        assert backlog.wants(body, event_header="", at_work=1)
        desk.clock.advance(1)
        assert not backlog.wants(body, event_header="", at_work=1)
        go_on.set()
        await until(desk.queued)

    assert await backlog.empty(asyncio.Event())
    assert backlog.wants(body, event_header="", at_work=1)


async def test_erasure_counts_what_is_not_sorted_as_at_work(desk: Desk) -> None:
    """Sorted later, it would bring back what was erased."""
    await desk.defer("d1", "d2")

    for documents, at_work in ((["d1"], 1), (["d1", "d2"], 2), (["d3", ""], 0)):
        forgotten = await desk.queue.forget(
            names.recording_key(recording_id="r", call_id=None, started_at=None),
            documents,
            dry_run=False,
        )
        assert forgotten.at_work == at_work
    assert await desk.left() == 2


def test_deferred_delivery_shows_nothing_of_its_body() -> None:
    """Neither a log nor a traceback shows what an event says."""
    assert "a name" not in repr(a_deferred(b"a name"))
