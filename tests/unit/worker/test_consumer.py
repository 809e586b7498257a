"""The loop: slots, order, pauses, trouble; and the ways in which it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from samples.faults import Fault
from tests.factories import a_chunk, an_announcement
from tests.fakes.clock import START
from tests.fakes.queue import MemoryQueue
from tests.unit.worker.rig import Rig
from worker.consumer import POLL_SECONDS, TROUBLE_SECONDS, Consumer, Halt
from worker.errors import ArchiveFullError, SourceUnavailableError
from worker.model import Chunk, ChunkState, Lease
from worker.vigil import AGAIN_SECONDS, VAIN_SECONDS

FOREVER = 10**6


def recordings(count: int, *, resource: str = "calls") -> list[Chunk]:
    """As many recordings of one chunk each, the first to expire first."""
    return [
        a_chunk(
            document_id=f"{resource}-{number}",
            announcement=an_announcement(
                recording_id=f"{resource}-{number}", resource=resource
            ),
            expires_at=START + timedelta(hours=20, minutes=number),
        )
        for number in range(count)
    ]


class Loop:
    """A running consumer, and the hands on its switches."""

    def __init__(
        self,
        rig: Rig,
        *,
        slots: int = 2,
        longest_poll_seconds: float = POLL_SECONDS,
        chance: Random | None = None,
        halt: Halt | None = None,
    ) -> None:
        self.rig = rig
        self.stopping, self.nudge, self.cut = (asyncio.Event() for _ in range(3))
        self.consumer: Consumer = replace(
            rig.consumer(slots=slots, nudge=self.nudge, cut=self.cut),
            longest_poll_seconds=longest_poll_seconds,
            random=chance or Latest(),
            halt=halt,
        )
        self.task: asyncio.Task[None] | None = None

    async def turns(self, count: int = 300) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: int) -> None:
        """Let everyone run, second by second."""
        for _ in range(seconds):
            await self.turns(60)
            self.rig.clock.advance(1)
        await self.turns()

    async def ended(self) -> None:
        assert self.task is not None
        await asyncio.wait({self.task}, timeout=10)
        assert self.task.done()
        self.task.result()

    def is_running(self) -> bool:
        assert self.task is not None
        return not self.task.done()


@asynccontextmanager
async def running(
    rig: Rig,
    *,
    slots: int = 2,
    longest_poll_seconds: float = POLL_SECONDS,
    chance: Random | None = None,
    halt: Halt | None = None,
) -> AsyncIterator[Loop]:
    """Run the consumer inside; it is ended, and nothing of it is left, at the end."""
    others = asyncio.all_tasks()
    loop = Loop(
        rig,
        slots=slots,
        longest_poll_seconds=longest_poll_seconds,
        chance=chance,
        halt=halt,
    )
    loop.task = asyncio.ensure_future(loop.consumer.run(loop.stopping))
    try:
        yield loop
    finally:
        loop.stopping.set()
        loop.cut.set()
        await loop.ended()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == others


async def work_until_empty(rig: Rig, *, slots: int = 2) -> None:
    loop = Loop(rig, slots=slots)
    await rig.drive(loop.consumer.run(loop.stopping, until_empty=True))


def hang(rig: Rig, *chunks: Chunk) -> None:
    """Have the source not answer for their contents."""
    for chunk in chunks:
        rig.source.plan(chunk.content_location, Fault.slow(FOREVER))


async def states(rig: Rig, *chunks: Chunk) -> list[str]:
    return [(await rig.queued(chunk)).state.value for chunk in chunks]


async def test_consumer_works_until_nothing_is_left() -> None:
    """`until_empty` ends when nothing is pending or leased, and all is done by then."""
    rig = Rig()
    chunks = await rig.several(5)
    alone = recordings(3)
    await rig.put(*alone)

    await work_until_empty(rig)

    assert await states(rig, *chunks, *alone) == ["deleted"] * 8
    assert rig.source.unproven == []


async def test_consumer_ends_at_once_when_there_is_nothing() -> None:
    """An empty queue is no reason to wait."""
    rig = Rig()

    await work_until_empty(rig)

    assert rig.clock.now() == START


async def test_until_empty_does_not_wait_for_siblings() -> None:
    """A chunk that waits for what was not announced may wait for hours: a job ends."""
    rig = Rig()
    chunk = a_chunk(end_reason="ChunkIsFull")
    await rig.put(chunk)

    await work_until_empty(rig)

    assert await states(rig, chunk) == ["archived"]
    assert rig.clock.now() < START + timedelta(minutes=1)


async def test_until_empty_waits_for_what_is_rescheduled() -> None:
    """A chunk behind a delay is still to be done."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, Fault.status(429, retry_after=90))

    await work_until_empty(rig)

    assert await states(rig, chunk) == ["deleted"]
    assert rig.clock.now() >= START + timedelta(seconds=90)


async def test_until_empty_waits_out_a_queue_that_can_not_count() -> None:
    """A queue that doesn't answer is not an empty one."""
    rig = Rig()
    loop = Loop(rig)
    rig.queue.trouble = "disk I/O error"
    task = asyncio.ensure_future(loop.consumer.run(loop.stopping, until_empty=True))
    await loop.pass_time(20)
    assert not task.done()

    rig.queue.trouble = None
    await rig.drive(asyncio.wait_for(task, timeout=10))

    assert task.done()


class Switch:
    """An operator's word, as a worker hears it."""

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on

    async def is_paused(self) -> bool:
        return self.is_on


async def test_pause_ends_what_is_in_hand_and_begins_nothing() -> None:
    """What was leased before comes home; the rest waits until work goes on."""
    rig = Rig()
    first, second = recordings(2)
    await rig.put(first, second)
    rig.source.plan(first.content_location, Fault.slow(10))
    switch = Switch(is_on=False)
    async with running(rig, slots=1, halt=switch) as loop:
        await loop.turns()
        switch.is_on = True

        await loop.pass_time(60)
        assert await states(rig, first, second) == ["deleted", "pending"]

        switch.is_on = False
        await loop.pass_time(3)
        assert await states(rig, first, second) == ["deleted", "deleted"]


async def test_job_ends_while_work_is_paused() -> None:
    """It would wait for ever: nothing is begun, and nothing is lost."""
    rig = Rig()
    (chunk,) = recordings(1)
    await rig.put(chunk)
    loop = Loop(rig, halt=Switch(is_on=True))

    await rig.drive(loop.consumer.run(loop.stopping, until_empty=True))

    assert await states(rig, chunk) == ["pending"]
    assert await loop.consumer.is_paused()


async def test_slots_bound_how_much_is_leased() -> None:
    """A chunk is leased only when it can be worked on at once, the most urgent first."""
    rig = Rig()
    chunks = recordings(4)
    await rig.put(*reversed(chunks))
    hang(rig, *chunks)

    async with running(rig, slots=2) as loop:
        await loop.pass_time(5)

        assert await states(rig, *chunks) == ["leased"] * 2 + ["pending"] * 2


async def test_slot_is_filled_when_a_chunk_ends() -> None:
    """No poll is waited for between one chunk and the next."""
    rig = Rig()
    chunks = recordings(6)
    await rig.put(*chunks)

    async with running(rig, slots=1) as loop:
        await loop.turns(1000)

        assert await states(rig, *chunks) == ["deleted"] * 6
        assert rig.clock.now() == START


async def test_nudge_wakes_the_consumer() -> None:
    """What the webhook of the same process puts is begun at once."""
    rig = Rig()

    async with running(rig) as loop:
        await loop.turns()
        chunk = await rig.one()
        loop.nudge.set()
        await loop.turns()

        assert await states(rig, chunk) == ["deleted"]
        assert rig.clock.now() == START


async def test_consumer_polls_for_what_others_put() -> None:
    """Another process can't nudge."""
    rig = Rig()

    async with running(rig) as loop:
        await loop.turns()
        chunk = await rig.one()
        await loop.turns()
        assert await states(rig, chunk) == ["pending"]

        await loop.pass_time(int(POLL_SECONDS))

        assert await states(rig, chunk) == ["deleted"]


async def test_trouble_of_the_queue_is_waited_out() -> None:
    """A queue that can't lease is asked again, not too often, and told once."""
    rig = Rig()
    rig.queue.trouble = "disk I/O error"

    with capture_logs() as logs:
        async with running(rig) as loop:
            await loop.pass_time(int(3 * TROUBLE_SECONDS))
            problem = loop.consumer.pulse.queue_problem
            rig.queue.trouble = None
            chunk = await rig.one()
            await loop.pass_time(int(TROUBLE_SECONDS))
            assert (problem, loop.consumer.pulse.queue_problem) == (
                "queue-unavailable",
                None,
            )

            assert await states(rig, chunk) == ["deleted"]

    began, over = [each for each in logs if each["event"].startswith("queue.")]
    assert (began["event"], began["log_level"]) == ("queue.unavailable", "error")
    assert began["error"] == "disk I/O error"
    assert (over["event"], over["log_level"]) == ("queue.resumed", "info")
    assert over["after_s"] == 4 * TROUBLE_SECONDS


class Latest(Random):
    """Each sleep is the longest that it may be."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


class Earliest(Random):
    """Each sleep is the shortest that it may be."""

    def uniform(self, a: float, b: float) -> float:
        return min(a, b)


def sleeps_of(rig: Rig) -> list[float]:
    """How long the consumer slept each time."""
    return list(rig.clock.sleeps)


@pytest.mark.parametrize(
    ("chance", "expected"),
    [(Latest(), [1, 2, 4, 8, 10, 10]), (Earliest(), [1, 1, 2, 4, 5, 5])],
    ids=["latest", "earliest"],
)
async def test_idle_consumer_asks_less_and_less(
    chance: Random, expected: list[float]
) -> None:
    """Each poll of a service is billed; spread, so that workers don't ask as one."""
    rig = Rig()

    async with running(rig, longest_poll_seconds=10, chance=chance) as loop:
        await loop.pass_time(60)

    assert sleeps_of(rig)[:6] == expected


async def test_consumer_asks_again_at_once_while_there_is_work() -> None:
    """Neither a chunk that came nor one that ended leaves it asleep."""
    rig = Rig()

    async with running(rig, longest_poll_seconds=10, chance=Latest()) as loop:
        await loop.pass_time(20)
        chunks = recordings(5)
        await rig.put(*chunks)
        loop.nudge.set()
        before = rig.clock.now()
        await loop.turns(3000)

        assert await states(rig, *chunks) == ["deleted"] * 5
        assert rig.clock.now() == before
        assert sleeps_of(rig)[-1] == POLL_SECONDS


async def test_stop_does_not_wait_for_a_queue_in_trouble() -> None:
    """A stop is heard at once, whatever the loop is waiting for."""
    rig = Rig()
    rig.queue.trouble = "disk I/O error"

    async with running(rig) as loop:
        await loop.turns()
        loop.stopping.set()
        await loop.ended()

    assert rig.clock.now() == START


async def test_drain_lets_attempts_finish() -> None:
    """A stop leases nothing more, and waits for what is being worked on."""
    rig = Rig()
    chunks = recordings(3)
    await rig.put(*chunks)
    for chunk in chunks:
        rig.source.plan(chunk.content_location, Fault.slow(10))

    with capture_logs() as logs:
        async with running(rig, slots=2) as loop:
            await loop.turns()
            loop.stopping.set()
            await loop.pass_time(12)
            await loop.ended()

    assert await states(rig, *chunks) == ["deleted"] * 2 + ["pending"]
    lines = [each for each in logs if each["event"] == "worker.draining"]
    assert [each["chunks"] for each in lines] == [2]


async def test_drain_gives_back_what_takes_too_long() -> None:
    """After its time the drain cuts: leases are given back, attempts unspent."""
    rig = Rig()
    chunks = recordings(2)
    await rig.put(*chunks)
    hang(rig, *chunks)

    async with running(rig) as loop:
        await loop.turns()
        loop.stopping.set()
        await loop.pass_time(24)
        assert loop.is_running()
        await loop.pass_time(2)
        await loop.ended()

    for chunk in chunks:
        entry = await rig.queued(chunk)
        assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)
        assert entry.not_before <= rig.clock.now()
    assert rig.memory.in_use == 0


async def test_cut_ends_the_drain() -> None:
    """A second signal is obeyed at once, and gives back as well."""
    rig = Rig()
    chunk = await rig.one()
    hang(rig, chunk)

    async with running(rig) as loop:
        await loop.turns()
        loop.stopping.set()
        await loop.turns()
        assert loop.is_running()
        loop.cut.set()
        await loop.ended()

    entry = await rig.queued(chunk)
    assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)
    assert rig.clock.now() == START


async def test_idle_consumer_stops_at_once() -> None:
    """With nothing at work there is nothing to drain, nor to say."""
    rig = Rig()

    with capture_logs() as logs:
        async with running(rig) as loop:
            await loop.turns()
            loop.stopping.set()
            await loop.ended()

    assert [each["event"] for each in logs] == []


async def test_cancelled_consumer_gives_everything_back() -> None:
    """When another part of the process dies, leases are not left to lapse."""
    rig = Rig()
    chunks = recordings(2)
    await rig.put(*chunks)
    hang(rig, *chunks)
    loop = Loop(rig)
    others = asyncio.all_tasks()
    task = asyncio.ensure_future(loop.consumer.run(loop.stopping))
    await loop.turns()

    task.cancel()
    await asyncio.wait({task}, timeout=10)
    await asyncio.sleep(0)

    assert await states(rig, *chunks) == ["pending"] * 2
    assert asyncio.all_tasks() == others


async def test_full_archive_stops_the_leasing_and_resumes() -> None:
    """While the archive has no room nothing is leased; then one probe, then all."""
    rig = Rig()
    chunks = recordings(6)
    await rig.put(*chunks)
    rig.archive.fail_next(ArchiveFullError("no room"), on="writer", times=6)

    with capture_logs() as logs:
        async with running(rig, slots=2) as loop:
            await loop.pass_time(20)
            leased = await leases_so_far(rig, *chunks)
            assert leased == 2  # One for each slot, and none since.
            assert rig.breaker.is_archive_paused()
            await loop.pass_time(8)
            assert await leases_so_far(rig, *chunks) == leased
            assert await states(rig, *chunks) == ["pending"] * 6
            assert {(await rig.queued(chunk)).attempts for chunk in chunks} == {0}

            await loop.pass_time(400)

            assert await states(rig, *chunks) == ["deleted"] * 6

    said = named(logs, "consumer.paused", "consumer.resumed")
    assert said[0] == "consumer.paused"
    assert said[-1] == "consumer.resumed"


async def leases_so_far(rig: Rig, *chunks: Chunk) -> int:
    rows = [(await rig.queued(chunk)).row for chunk in chunks]
    return sum([len(await rig.queue.attempts(row)) for row in rows])


def named(logs: list[EventDict], *events: str) -> list[str]:
    return [each["event"] for each in logs if each["event"] in events]


async def test_expired_key_stops_its_own_resource_only() -> None:
    """Chunks of another resource go on; the refused ones spend nothing while paused."""
    rig = Rig()
    refused, others = recordings(6, resource="old"), recordings(3, resource="new")
    late = [replace(c, expires_at=START + timedelta(hours=22)) for c in others]
    await rig.put(*refused, *late)
    for chunk in refused:
        rig.source.plan(chunk.content_location, Fault.status(401).always())

    async with running(rig, slots=3) as loop:
        await loop.pass_time(25)
        assert rig.breaker.paused_resources() == {"old"}
        assert await states(rig, *late) == ["deleted"] * 3
        await loop.pass_time(600)
        attempts = [(await rig.queued(chunk)).attempts for chunk in refused]
        assert sum(attempts) <= 3

        for chunk in refused:
            rig.source.plan(chunk.content_location)
        await loop.pass_time(1300)

        assert await states(rig, *refused) == ["deleted"] * 6


async def test_half_open_lets_one_probe_through() -> None:
    """When a pause is over one chunk tries; the others go back unspent."""
    rig = Rig()
    chunks = recordings(4)
    await rig.put(*chunks)
    rig.breaker.failed(ArchiveFullError("no room"), key=chunks[0].key, resource=None)
    hang(rig, *chunks)
    rig.clock.advance(31)

    async with running(rig, slots=4) as loop:
        await loop.turns()

        assert await states(rig, *chunks) == ["leased", *["pending"] * 3]
        entries = [await rig.queued(chunk) for chunk in chunks]
        assert [entry.attempts for entry in entries] == [1, 0, 0, 0]
        assert all(entry.not_before > rig.clock.now() for entry in entries[1:])


async def test_poison_does_not_stop_the_others() -> None:
    """A chunk whose attempt crashes is rescheduled, and all others come home."""
    rig = Rig()
    chunks = recordings(4)
    await rig.put(*chunks)
    rig.source.plan(chunks[1].content_location, *[RuntimeError("poison")] * 3)

    with capture_logs() as logs:
        async with running(rig, slots=2) as loop:
            await loop.turns(1000)
            homes = [*chunks[:1], *chunks[2:]]
            assert await states(rig, *homes) == ["deleted"] * 3
            assert (await rig.queued(chunks[1])).reason == "bug"

            await loop.pass_time(30)

            assert await states(rig, chunks[1]) == ["deleted"]

    assert len(named(logs, "attempt.crashed")) == 3


async def test_what_was_never_tried_is_not_held_up_by_what_fails() -> None:
    """Unreachable chunks have the earlier deadlines and take long to fail."""
    rig = Rig()
    slow = recordings(60, resource="slow")
    await rig.put(*slow)
    for chunk in slow:
        for location in (chunk.content_location, chunk.metadata_location or ""):
            rig.source.plan(location, *[SourceUnavailableError("away")] * 200)

    async with running(rig) as loop:
        await loop.pass_time(900)
        late = a_chunk(
            document_id="late",
            announcement=an_announcement(recording_id="late"),
            expires_at=START + timedelta(hours=24),
        )
        await rig.put(late)
        await loop.pass_time(300)

        assert rig.receipt(late) is not None


async def test_probe_of_a_paused_credential_is_by_turns_the_newest_chunk() -> None:
    """However many bad chunks have the earlier deadlines."""
    rig = Rig()
    bad = recordings(30, resource="calls")
    await rig.put(*bad)
    for chunk in bad:
        for location in (chunk.content_location, chunk.metadata_location or ""):
            rig.source.plan(location, Fault.status(403).always())

    async with running(rig) as loop:
        await loop.pass_time(20)
        assert rig.breaker.paused_resources() == {"calls"}
        good = a_chunk(
            document_id="good",
            announcement=an_announcement(recording_id="good"),
            expires_at=START + timedelta(hours=24),
        )
        await rig.put(good)
        await loop.pass_time(600)

        assert rig.receipt(good) is not None


async def test_loop_that_is_given_nothing_of_what_is_due_knows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It asks with free slots, and in vain; what it is given in the end settles that."""
    rig = Rig()
    await rig.one()

    async def nothing(*_: object, **__: object) -> list[Lease]:
        return []

    monkeypatch.setattr(MemoryQueue, "lease", nothing)
    async with running(rig) as loop:
        await loop.pass_time(int(VAIN_SECONDS + AGAIN_SECONDS) + 2)
        is_overlooking = loop.consumer.vigil.is_overlooking
        monkeypatch.undo()
        await loop.pass_time(2)
        is_still = loop.consumer.vigil.is_overlooking

    assert (is_overlooking, is_still) == (True, False)


async def test_loop_that_wants_nothing_overlooks_nothing() -> None:
    """Its slots are taken for hours, and others wait: that is a backlog, no illness."""
    rig = Rig()
    slow, *_ = await rig.several(2)
    hang(rig, slow)
    async with running(rig, slots=1) as loop:
        await loop.pass_time(int(VAIN_SECONDS + AGAIN_SECONDS) + 2)
        assert not loop.consumer.vigil.is_overlooking


async def test_trouble_of_the_queue_is_not_told_of_a_loop_that_no_longer_asks() -> None:
    """Paused for days after one failure, it would be told as unreachable all the while."""
    rig, switch = Rig(), Switch(is_on=False)
    rig.queue.trouble = "disk I/O error"
    async with running(rig, halt=switch) as loop:
        await loop.pass_time(int(TROUBLE_SECONDS))
        problem = loop.consumer.pulse.queue_problem
        switch.is_on, rig.queue.trouble = True, None
        await loop.pass_time(int(2 * TROUBLE_SECONDS))

        assert (problem, loop.consumer.pulse.queue_problem) == (
            "queue-unavailable",
            None,
        )


async def test_trouble_of_the_queue_is_not_told_of_a_loop_that_drains() -> None:
    """It asks for nothing more: only those who look at the queue know how it is now."""
    rig = Rig()
    hang(rig, await rig.one())
    async with running(rig) as loop:
        await loop.turns()
        rig.queue.trouble = "disk I/O error"
        await loop.pass_time(int(TROUBLE_SECONDS))
        problem = loop.consumer.pulse.queue_problem
        loop.stopping.set()
        await loop.turns()
        pulse = loop.consumer.pulse
        rig.queue.trouble = None
        loop.cut.set()
        await loop.ended()

    assert problem == "queue-unavailable"
    assert (pulse.is_draining, pulse.queue_problem) == (True, None)
