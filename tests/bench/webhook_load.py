"""What a webhook takes at a steady rate: small deliveries, full ones, and senders that dawdle.

A webhook of its own for each kind of delivery. First a long stretch, during which memory must
not grow and a probe asks all the time how long the loop is busy; what was deferred by then is
sorted before it goes on. Then turns without and with slow senders beside it, so that both are
measured under the same conditions. In the last one the webhook is killed -9: all that was
acknowledged since its start must be in the queue.
"""

import json
import signal
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta

from tests.bench import events, sending
from tests.bench.figures import Figure, Sense
from tests.bench.load import READY_LINE, Orders, Outcome
from tests.bench.numbers import NUMBER
from tests.bench.processes import (
    MIB,
    BenchError,
    Worker,
    running,
    running_worker,
    workplace,
)
from tests.bench.scale import Scale
from tests.bench.sending import Sent
from tests.bench.slow import SlowOrders, SlowOutcome
from tests.bench.watching import Watch, watched

KEY = "a-key-of-the-benchmark"
MOST_GROWTH = 1.10
MOST_SLOWER = 2.0
LEAST_OF_RATE = 0.98
SLOW_EVERY_SECONDS = 1.0
WARM_UP_SECONDS = 3.0
BYTES_PER_EVENT = 8192
"""More than an event takes on the disk, its part of the write-ahead log included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of load, and what it may cost."""

    name: str
    events: int
    per_second: int
    most_p99_ms: float


@dataclass(slots=True, kw_only=True)
class Sender:
    """Sends one kind to one worker, every event another, and knows what came of all."""

    worker: Worker
    kind: Kind
    scale: Scale
    sent: list[Sent] = field(default_factory=list)

    async def send(self, seconds: float) -> Outcome:
        orders = self._orders(seconds)
        return self._noted(orders, await sending.sent(orders))

    async def kill(self, seconds: float) -> Outcome:
        orders = replace(self._orders(seconds), until_broken=True)
        return self._noted(orders, await sending.killed_under(self.worker, orders))

    def _orders(self, seconds: float) -> Orders:
        return Orders(
            url=self.worker.url,
            body_file=str(self.worker.folder / "event.json"),
            connections=self.scale.connections,
            seconds=seconds,
            per_second=self.kind.per_second,
            events=self.kind.events,
            first=sum(outcome.sent for _, outcome in self.sent),
            until_broken=False,
        )

    def _noted(self, orders: Orders, outcome: Outcome) -> Outcome:
        self.sent.append((orders, outcome))
        return outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """The same load in turns without and with slow senders."""

    without_ms: list[float] = field(default_factory=list)
    beside_ms: list[float] = field(default_factory=list)
    slow: list[SlowOutcome] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.beside_ms) / statistics.median(self.without_ms)


async def measure(scale: Scale) -> list[Figure]:
    """Each kind of load on a webhook and a file of its own."""
    small, full = scale.load_per_second
    many = scale.load_events
    kinds = (
        Kind(name="of one event", events=1, per_second=small, most_p99_ms=50),
        Kind(name=f"of {many} events", events=many, per_second=full, most_p99_ms=200),
    )
    return [figure for kind in kinds for figure in await _measured(kind, scale)]


async def _measured(kind: Kind, scale: Scale) -> list[Figure]:
    seconds = scale.load_seconds + 2 * scale.load_turns * scale.load_turn_seconds
    rate = kind.per_second * kind.events
    needed = int(rate * (seconds + WARM_UP_SECONDS) * BYTES_PER_EVENT) + 256 * MIB
    with workplace(needed_bytes=needed) as folder:
        async with running_worker("webhook", folder / "worker", key=KEY) as worker:
            _write_event(worker)
            sender = Sender(worker=worker, kind=kind, scale=scale)
            await sender.send(min(WARM_UP_SECONDS, scale.load_seconds))
            async with watched(worker) as watch:
                outcome = await sender.send(scale.load_seconds)
            sorted_s = await sending.sorted_after(worker)
            turns = await _turns(sender)
        lost = sending.lost(worker, sender.sent)
    return [
        *_of_stretch(kind, outcome, watch),
        _figure("  all sorted, after the last one", sorted_s, "s", digits=1),
        *_of_turns(turns, scale),
        _figure("  refused", sum(each.refused for _, each in sender.sent), bound=1),
        _figure("  events lost by kill -9", lost, bound=1),
    ]


async def _turns(sender: Sender) -> Turns:
    turns, scale = Turns(), sender.scale
    for turn in range(scale.load_turns):
        plain = await sender.send(scale.load_turn_seconds)
        turns.without_ms.append(plain.p99_ms)
        is_last = turn == scale.load_turns - 1
        send = sender.kill if is_last else sender.send
        async with _slow_senders(sender.worker, scale, turns):
            beside = await send(scale.load_turn_seconds)
        turns.beside_ms.append(beside.p99_ms)
    return turns


@asynccontextmanager
async def _slow_senders(
    worker: Worker, scale: Scale, turns: Turns
) -> AsyncIterator[None]:
    orders = SlowOrders(
        url=worker.url,
        connections=scale.slow_connections,
        every_seconds=SLOW_EVERY_SECONDS,
    )
    module = [sys.executable, "-m", "tests.bench.slow"]
    async with running(module, reads=json.dumps(asdict(orders))) as slow:
        if slow.stdout is None or await slow.stdout.readline() != READY_LINE.encode():
            raise BenchError("the slow senders did not start")
        yield
        slow.send_signal(signal.SIGTERM)
        turns.slow.append(SlowOutcome(**json.loads(await slow.stdout.read())))


def _write_event(worker: Worker) -> None:
    document = f"0-wus-load-{NUMBER}"
    body = events.announcement(document, acs=None, size_bytes=MIB, age=timedelta())
    (worker.folder / "event.json").write_bytes(body[1:-1])


def _of_stretch(kind: Kind, outcome: Outcome, watch: Watch) -> list[Figure]:
    per_second = outcome.measured / outcome.seconds
    least = kind.per_second * LEAST_OF_RATE
    name = f"deliveries {kind.name} a second"
    handled = outcome.measured * kind.events
    return [
        _figure(name, per_second, bound=least, sense="at least"),
        _figure("  p50", outcome.p50_ms, "ms", digits=1),
        _figure("  p99", outcome.p99_ms, "ms", bound=kind.most_p99_ms, digits=1),
        _figure("  longest", outcome.longest_ms, "ms", digits=1),
        _figure("  a probe waited, p99", watch.p99_ms, "ms", digits=1),
        _figure("  a probe waited, longest", watch.longest_ms, "ms", digits=1),
        _figure("  processor time per event", watch.cpu_s / handled * 1e6, "us"),
        _figure("  RSS", watch.rss_mib, "MiB"),
        _figure(
            "  RSS, end against start",
            watch.growth,
            bound=MOST_GROWTH,
            digits=2,
        ),
    ]


def _of_turns(turns: Turns, scale: Scale) -> list[Figure]:
    held = statistics.median(slow.open for slow in turns.slow)
    cut = sum(slow.cut for slow in turns.slow)
    return [
        _figure(f"  beside {scale.slow_connections} slow bodies: open at once", held),
        _figure("    cut off, and opened again", cut),
        _figure("    p99 without", statistics.median(turns.without_ms), "ms", digits=1),
        _figure("    p99 with", statistics.median(turns.beside_ms), "ms", digits=1),
        _figure("    with against without", turns.ratio, bound=MOST_SLOWER, digits=2),
    ]


def _figure(
    what: str,
    value: float,
    unit: str = "",
    *,
    bound: float | None = None,
    digits: int = 0,
    sense: Sense = "below",
) -> Figure:
    return Figure(
        row="load",
        what=what,
        value=value,
        unit=unit,
        bound=bound,
        digits=digits,
        sense=sense,
    )
