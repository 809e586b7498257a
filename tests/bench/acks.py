"""How fast deliveries are acknowledged, each durable before its 200, and that none is lost.

First the webhook alone, as fast as it can; then a steady stream into a `serve` that archives
as fast as it can. Both are killed -9 under load, and every delivery that was acknowledged by
then must be in the queue.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.bench import events, memory, sending
from tests.bench.figures import Figure
from tests.bench.load import Orders
from tests.bench.numbers import NUMBER
from tests.bench.processes import (
    MIB,
    Acs,
    BenchError,
    Worker,
    running_acs,
    running_worker,
    workplace,
)
from tests.bench.scale import Scale

LEAST_PER_SECOND = 3000
MOST_P99_MS = 50
MOST_PACED_P99_MS = 100
OLDER = timedelta(hours=1)
"""What is to be archived expires sooner than what the load announces, so it comes first."""
WARM_UP_SECONDS = 1.0
QUEUE_BYTES = 1024 * MIB


async def measure(scale: Scale) -> list[Figure]:
    """The webhook alone, then beside a busy consumer."""
    return [*await _alone(scale), *await _beside(scale)]


async def _alone(scale: Scale) -> list[Figure]:
    with workplace(needed_bytes=QUEUE_BYTES) as folder:
        async with running_worker("webhook", folder / "worker") as worker:
            orders = _orders(worker, None, scale, seconds=scale.acks_seconds)
            outcome = await sending.killed_under(worker, orders)
        lost = sending.lost(worker, [(orders, outcome)])
    rate = outcome.measured / outcome.seconds
    return [
        _figure(
            f"acks a second, {scale.connections} connections",
            rate,
            bound=LEAST_PER_SECOND,
            at_least=True,
        ),
        _figure("  p50", outcome.p50_ms, unit="ms", digits=1),
        _figure("  p99", outcome.p99_ms, unit="ms", bound=MOST_P99_MS, digits=1),
        _figure("  longest", outcome.longest_ms, unit="ms", digits=1),
        _figure("  refused", outcome.refused, bound=1),
        _figure("  acks lost by kill -9", lost, bound=1),
    ]


async def _beside(scale: Scale) -> list[Figure]:
    chunks, size = scale.archived_chunks, scale.archived_mib * MIB
    documents = [events.document("acks", number) for number in range(chunks)]
    synthetic = [f"--synthetic={name}={scale.archived_mib}MiB" for name in documents]
    needed = chunks * size + memory.RESERVE_BYTES
    with workplace(needed_bytes=needed) as folder:
        async with (
            running_acs(*synthetic) as acs,
            running_worker("serve", folder / "worker", acs=acs) as worker,
        ):
            await memory.announce(worker, acs, documents, size_bytes=size, age=OLDER)
            await asyncio.sleep(WARM_UP_SECONDS)
            orders = _orders(
                worker,
                acs,
                scale,
                seconds=scale.paced_seconds,
                per_second=scale.paced_per_second,
            )
            began = datetime.now(UTC)
            outcome = await sending.killed_under(worker, orders)
        home = _home_since(worker, began, chunks)
        lost = sending.lost(worker, [(orders, outcome)])
    return [
        _figure(
            "acks a second beside the consumer", outcome.measured / outcome.seconds
        ),
        _figure("  p50", outcome.p50_ms, unit="ms", digits=1),
        _figure("  p99", outcome.p99_ms, unit="ms", bound=MOST_PACED_P99_MS, digits=1),
        _figure("  longest", outcome.longest_ms, unit="ms", digits=1),
        _figure("  refused", outcome.refused, bound=1),
        _figure("  acks lost by kill -9", lost, bound=1),
        _figure(
            "  archived meanwhile",
            home * scale.archived_mib / outcome.seconds,
            unit="MiB/s",
        ),
    ]


def _figure(
    what: str,
    value: float,
    *,
    unit: str = "",
    bound: float | None = None,
    digits: int = 0,
    at_least: bool = False,
) -> Figure:
    return Figure(
        row="acks",
        what=what,
        value=value,
        unit=unit,
        bound=bound,
        digits=digits,
        sense="at least" if at_least else "below",
    )


def _orders(
    worker: Worker,
    acs: Acs | None,
    scale: Scale,
    *,
    seconds: float,
    per_second: float | None = None,
) -> Orders:
    template = worker.folder / "delivery.json"
    document = f"0-wus-load-{NUMBER}"
    body = events.announcement(
        document, acs=acs, size_bytes=scale.archived_mib * MIB, age=timedelta()
    )
    template.write_bytes(body[1:-1])
    return Orders(
        url=worker.url,
        body_file=str(template),
        connections=scale.connections,
        seconds=seconds,
        per_second=per_second,
    )


def _home_since(worker: Worker, began: datetime, chunks: int) -> int:
    """How many chunks came home; BenchError if there was not enough to do all the time."""
    lines = worker.log.all("chunk.finished")
    if len(lines) >= chunks:
        raise BenchError("the consumer ran out of chunks while it was measured")
    return sum(datetime.fromisoformat(line["ts"]) >= began for line in lines)
