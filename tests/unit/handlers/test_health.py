"""Ready means that a delivery can be stored now."""

import asyncio

from handlers.health import Health
from tests.fakes.clock import ManualClock
from worker.errors import QueueUnavailableError


class Probe:
    """Counts its calls; raises `fails_with` if set."""

    def __init__(self, fails_with: Exception | None = None) -> None:
        self.calls = 0
        self.fails_with = fails_with

    async def __call__(self) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.fails_with is not None:
            raise self.fails_with


async def test_health_is_ready_when_the_probe_passes() -> None:
    """No trouble: ready."""
    assert await Health(Probe(), ManualClock()).trouble() is None


async def test_health_says_why_it_is_not_ready() -> None:
    """The reason of the queue's error is the answer; a probe that hangs is one too."""
    broken = Health(Probe(QueueUnavailableError("disk full")), ManualClock())
    hanging = Health(Probe(TimeoutError()), ManualClock())

    assert await broken.trouble() == "queue-unavailable"
    assert await hanging.trouble() == "timeout"


async def test_health_probes_once_a_second() -> None:
    """Many askers wear out the queue no more than one; the next second asks anew."""
    clock = ManualClock()
    probe = Probe()
    health = Health(probe, clock)
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(health.trouble())
    calls_together = probe.calls
    clock.advance(1)
    probe.fails_with = QueueUnavailableError()

    assert await health.trouble() == "queue-unavailable"
    assert calls_together == 1
    assert probe.calls == 2


async def test_health_is_not_ready_while_draining() -> None:
    """On the way out nothing is taken, and the queue is not asked any more."""
    probe = Probe()
    health = Health(probe, ManualClock())

    health.drain()

    assert health.draining
    assert await health.trouble() == "draining"
    assert probe.calls == 0
