"""The rules over what `/metrics` really shows, and not over series that a test made up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy import promql, rules
from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import ManualClock
from tests.fakes.queue import MemoryQueue
from worker.at_risk import RiskWatch
from worker.settings import Settings
from worker.settings_rules import Use
from worker.sight import Sight
from worker.standing import Standing
from worker.telemetry import instruments, meters
from worker.telemetry.gauges import Gauges
from worker.telemetry.setup import open_telemetry

TARGET = {"job": "recording-worker", "instance": "w1"}


class World:
    """One worker, and Prometheus that scrapes it each minute."""

    def __init__(
        self, clock: ManualClock, queue: MemoryQueue, watch: RiskWatch
    ) -> None:
        self.clock, self.queue, self._watch = clock, queue, watch
        self.registry: CollectorRegistry | None = None
        self._store = promql.Store()
        self._rules = rules.Watch(self._store)

    async def minutes(self, number: int) -> set[str]:
        """Let so many pass; the names of what rings then."""
        rings: frozenset[promql.Labels] = frozenset()
        for _ in range(number):
            await self._watch.look()
            now = self.clock.now().timestamp()
            self._scrape(now)
            rings = self._rules.look(now)
            self.clock.advance(60)
        return {dict(labels)["alertname"] for labels in rings}

    def _scrape(self, now: float) -> None:
        assert self.registry is not None
        text = generate_latest(self.registry).decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = {**sample.labels, **TARGET, promql.NAME: sample.name}
                self._store.add(now, float(sample.value), labels)
        self._store.add(now, 1, {**TARGET, promql.NAME: "up"})
        checked = "node_systemd_timer_last_trigger_seconds"
        timer = {"name": "recording-worker-check.timer", promql.NAME: checked}
        self._store.add(now, now, timer)


@asynccontextmanager
async def scraped(folder: Path) -> AsyncIterator[World]:
    environ = {
        "WORKER_ARCHIVE": f"file:{folder}/archive",
        "WORKER_QUEUE": f"sqlite:{folder}/queue.db",
        "WORKER_SOURCE_HOSTS": "127.0.0.1:1",
    }
    settings = Settings.load(environ, use=Use.READ)
    clock = ManualClock()
    queue, sight = MemoryQueue(clock=clock), Sight(clock=clock)
    standing = Standing(
        verb="webhook", instance="w1", clock=clock, consumes=False, sight=sight
    )
    watch = RiskWatch(
        queue=queue,
        notices=None,
        clock=clock,
        within=settings.at_risk_within,
        sight=sight,
    )
    world = World(clock, queue, watch)
    gauges = Gauges(standing, clock)
    async with open_telemetry(settings, gauges, scraped=True) as telemetry:
        world.registry = telemetry.registry
        yield world


async def put(world: World, *, hours: float) -> None:
    chunk = a_chunk(expires_at=world.clock.now() + timedelta(hours=hours))
    await world.queue.put(a_delivery(chunk))


async def test_nothing_rings_while_a_chunk_has_time(tmp_path: Path) -> None:
    """It waits, and is worked on."""
    async with scraped(tmp_path) as world:
        await put(world, hours=20)

        assert await world.minutes(20) == set()


async def test_a_dead_chunk_rings(tmp_path: Path) -> None:
    """The first that ever was, as soon as it is seen."""
    async with scraped(tmp_path) as world:
        await put(world, hours=20)
        assert await world.minutes(2) == set()
        (lease,) = await world.queue.lease(1)
        await world.queue.dead_letter(lease, reason="no-credential", error="")

        assert await world.minutes(1) == {"RecordingChunkDead"}


async def test_a_chunk_at_risk_rings(tmp_path: Path) -> None:
    """Long before it is lost."""
    async with scraped(tmp_path) as world:
        await put(world, hours=6.1)
        assert await world.minutes(5) == set()

        assert await world.minutes(10) == {"RecordingChunkAtRisk"}


async def test_deliveries_that_are_refused_ring(tmp_path: Path) -> None:
    """From the second within a quarter of an hour."""
    refused = {"origin": "webhook", "outcome": "refused", "reason": "bad-credential"}
    async with scraped(tmp_path) as world:
        await world.minutes(3)
        meters.add(instruments.DELIVERIES, 1, **refused)
        assert await world.minutes(2) == set()
        meters.add(instruments.DELIVERIES, 1, **refused)

        assert await world.minutes(2) == {"RecordingDeliveriesRefused"}
