"""How a process stands: the word for it, and when its loop counts as stuck."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.fakes.clock import ManualClock
from tests.unit.worker.rig import Rig
from worker.consumer import Consumer
from worker.sight import UNSEEN_AFTER, Sight
from worker.standing import STALLED_AFTER, Standing, State

LONG = STALLED_AFTER.total_seconds()


class JumpyClock(ManualClock):
    """Somebody sets its date; `monotonic` knows nothing of that."""

    jumped = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.jumped


class World:
    """A process that consumes, and what it saw."""

    def __init__(self, *, consumes: bool = True) -> None:
        self.clock = JumpyClock()
        self.sight = Sight(clock=self.clock)
        self.standing = Standing(
            verb="consume",
            instance="one",
            clock=self.clock,
            consumes=consumes,
            sight=self.sight,
        )

    def open(self) -> Consumer:
        consumer = Rig().consumer(nudge=asyncio.Event(), cut=asyncio.Event())
        self.standing.consumer = replace(consumer, clock=self.clock)
        self.standing.consumer.pulse.turn(self.clock)
        self.sight.looked_at = self.clock.now()
        return self.standing.consumer

    @property
    def state(self) -> State:
        return self.standing.report().status


def test_process_starts_until_it_has_looked_and_can_work() -> None:
    """Whoever asks for a word too early is told to wait."""
    world = World()
    before = world.standing.report()
    world.sight.looked_at = world.clock.now()
    seen = world.state
    world.open()

    assert (before.status, before.is_well) == (State.STARTING, False)
    assert before.queue.reachable is None
    assert before.consumer is None
    assert seen is State.STARTING
    assert world.state is State.OK


def test_loop_that_comes_round_no_more_is_stalled() -> None:
    """Stuck in a call that never ends: only a new process helps."""
    world = World()
    world.open()
    world.clock.advance(LONG)
    still = world.state
    world.clock.advance(1)
    report = world.standing.report()

    assert still is State.OK
    assert (report.status, report.is_well) == (State.STALLED, False)
    assert report.consumer is not None
    assert not report.consumer.alive


def test_consumer_that_never_began_is_stalled() -> None:
    """A start that hangs is no life either; a webhook has no loop to be stuck."""
    world, webhook = World(), World(consumes=False)
    for each in (world, webhook):
        each.clock.advance(LONG + 1)

    assert world.standing.is_stalled
    assert not webhook.standing.is_stalled


@pytest.mark.parametrize("hours", [-2, 2])
def test_date_that_is_set_stalls_nobody_and_hides_no_stall(hours: int) -> None:
    """A machine that slept, or that learns the time late."""
    world = World()
    world.open()
    world.clock.jumped = timedelta(hours=hours)
    jumped = world.state
    world.clock.advance(LONG + 1)

    assert jumped is State.OK
    assert world.state is State.STALLED


def test_drain_may_take_longer_than_a_loop_may() -> None:
    """It is an end in order, and the loop is over."""
    world = World()
    world.open().pulse.is_draining = True
    world.clock.advance(LONG + 1)
    report = world.standing.report()

    assert (report.status, report.is_well) == (State.DRAINING, True)


def test_drain_is_told_before_what_is_wrong_with_the_queue() -> None:
    """It ends by itself, and nobody can help it; what is wrong is told beside."""
    world = World()
    world.open().pulse.is_draining = True
    world.sight.failure = "queue-unavailable"
    report = world.standing.report()

    assert (report.status, report.is_well) == (State.DRAINING, True)
    assert report.queue.problem == "queue-unavailable"


def test_pause_is_told_by_whose_it_is_and_is_no_illness() -> None:
    """Restarting would help nobody."""
    world = World()
    consumer = world.open()
    assert world.standing.paused == frozenset()
    consumer.pulse.is_halted = True
    report = world.standing.report()

    assert (report.status, report.is_well) == (State.PAUSED, True)
    assert report.consumer is not None
    assert report.consumer.paused == ("operator",)


def test_queue_that_was_not_reached_is_told_with_when_it_was() -> None:
    """An hour of it stays an hour of it; a pause does not hide it."""
    world = World()
    world.open().pulse.is_halted = True
    looked_at = world.clock.now()
    world.sight.failure = "queue-unavailable"
    report = world.standing.report()

    assert (report.status, report.is_well) == (State.QUEUE_UNREACHABLE, False)
    assert report.queue.reachable is False
    assert report.queue.looked_at == looked_at
    assert report.queue.problem == "queue-unavailable"


def test_queue_that_never_answers_is_told_as_one_that_fails() -> None:
    """A look that hangs fails nothing: its time alone shows it."""
    world = World(consumes=False)
    world.clock.advance(UNSEEN_AFTER.total_seconds() + 1)
    report = world.standing.report()

    assert (report.status, report.is_well) == (State.QUEUE_UNREACHABLE, False)
    assert report.queue.reachable is False
    assert report.queue.problem == "no-answer"


def test_loop_that_is_given_nothing_of_what_is_due_is_not_well() -> None:
    """It turns, and brings nothing home; a pause would explain that."""
    world = World()
    consumer = world.open()
    consumer.vigil.is_overlooking = True
    report = world.standing.report()
    consumer.pulse.is_halted = True

    assert (report.status, report.is_well) == (State.OVERLOOKING, False)
    assert world.state is State.PAUSED


def test_queue_that_gives_the_loop_nothing_is_not_reached() -> None:
    """The loop asks every few seconds, and the last look may be a minute old."""
    world = World()
    consumer = world.open()
    consumer.pulse.queue_problem = "queue-unavailable"
    report = world.standing.report()

    assert report.status is State.QUEUE_UNREACHABLE
    assert (report.queue.reachable, report.queue.problem) == (
        False,
        "queue-unavailable",
    )
