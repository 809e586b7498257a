"""Peak memory while four chunks come home at once: large ones against small ones.

The server is not capped and speaks plain HTTP, so that the worker is as busy as it can be.
"""

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.bench import events
from tests.bench.figures import Figure
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

CHUNKS = 4
RESERVE_BYTES = 2048 * MIB
"""Stays free beside what is written; the archive wants some of it for itself."""
MOST_MIB = 350
MOST_GROWTH_PERCENT = 10


class Peak(NamedTuple):
    """What one worker needed for its chunks."""

    mib: float
    mib_per_second: float


async def measure(scale: Scale) -> list[Figure]:
    """Archive four small chunks, then four large ones, each by a worker of its own."""
    small, large = [await _peak_of(chunk_mib, CHUNKS) for chunk_mib in scale.memory_mib]
    small_name, large_name = [f"4 x {mib} MiB" for mib in scale.memory_mib]
    return [
        _figure(f"peak RSS, {small_name}", small.mib, "MiB"),
        _figure(f"peak RSS, {large_name}", large.mib, "MiB", bound=MOST_MIB),
        _figure(
            "growth of the peak",
            (large.mib / small.mib - 1) * 100,
            "%",
            bound=MOST_GROWTH_PERCENT,
            digits=1,
        ),
        _figure(
            f"  archived and read back, {small_name}", small.mib_per_second, "MiB/s"
        ),
        _figure(
            f"  archived and read back, {large_name}", large.mib_per_second, "MiB/s"
        ),
    ]


def _figure(
    what: str, value: float, unit: str, *, bound: float | None = None, digits: int = 0
) -> Figure:
    return Figure(
        row="memory", what=what, value=value, unit=unit, bound=bound, digits=digits
    )


async def _peak_of(chunk_mib: int, chunks: int) -> Peak:
    documents = [events.document("memory", number) for number in range(chunks)]
    synthetic = [f"--synthetic={name}={chunk_mib}MiB" for name in documents]
    size = chunk_mib * MIB
    with workplace(needed_bytes=chunks * size + RESERVE_BYTES) as folder:
        async with (
            running_acs(*synthetic) as acs,
            running_worker("serve", Path(folder) / "worker", acs=acs) as worker,
        ):
            began = time.perf_counter()
            await announce(worker, acs, documents, size_bytes=size)
            await _all_home(worker, chunks)
            seconds = time.perf_counter() - began
            return Peak(worker.peak_mib(), chunks * chunk_mib / seconds)


async def announce(
    worker: Worker,
    acs: Acs,
    documents: list[str],
    *,
    size_bytes: int,
    age: timedelta = timedelta(),
) -> None:
    """Post one event for each document."""
    async with aiohttp.ClientSession() as session:
        for name in documents:
            event = events.announcement(name, acs=acs, size_bytes=size_bytes, age=age)
            async with session.post(worker.url, data=event) as answer:
                answer.raise_for_status()


async def _all_home(worker: Worker, chunks: int) -> None:
    """Wait for every chunk to end; BenchError if one does not end as it should."""
    for _ in range(chunks):
        finished = asyncio.ensure_future(worker.log.next("chunk.finished"))
        ended = asyncio.ensure_future(worker.process.wait())
        await asyncio.wait((finished, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not finished.done():
            finished.cancel()
            raise BenchError("the worker ended before its chunks")
        line = finished.result()
        if line["outcome"] != "deleted" or line["flags"]:
            raise BenchError(f"a chunk ended otherwise: {line}")
