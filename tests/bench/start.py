"""How soon the command answers: its help, and a `serve` that is ready."""

import statistics
import time

import aiohttp

from tests.bench.figures import Figure
from tests.bench.processes import (
    COMMAND,
    MIB,
    BenchError,
    running,
    running_worker,
    workplace,
)
from tests.bench.scale import Scale

MOST_HELP_S = 0.3
MOST_READY_S = 1.5
QUEUE_BYTES = 1024 * MIB


async def measure(scale: Scale) -> list[Figure]:
    """Start both a few times; medians count."""
    helps = [await _help_s() for _ in range(scale.starts)]
    readies = [await _ready_s() for _ in range(scale.starts)]
    return [
        _figure("--help", helps, bound=MOST_HELP_S),
        _figure("serve ready", readies, bound=MOST_READY_S),
    ]


def _figure(what: str, seconds: list[float], *, bound: float) -> Figure:
    name = f"{what}, median of {len(seconds)}"
    median = statistics.median(seconds)
    return Figure(row="start", what=name, value=median, unit="s", bound=bound, digits=2)


async def _help_s() -> float:
    began = time.perf_counter()
    async with running([COMMAND, "--help"]) as process:
        said, _ = await process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode or b"serve" not in said:
        raise BenchError("--help did not help")
    return seconds


async def _ready_s() -> float:
    with workplace(needed_bytes=QUEUE_BYTES) as folder:
        async with (
            aiohttp.ClientSession() as session,
            running_worker("serve", folder / "worker") as worker,
        ):
            url = worker.url.removesuffix("/api/events") + "/readyz"
            async with session.get(url) as answer:
                answer.raise_for_status()
            return time.perf_counter() - worker.started_s
