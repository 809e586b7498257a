"""How a webhook fares while others put it under load: memory, processor time, its loop.

A probe asks `/livez`, which waits for nothing but its turn of the event loop: the longest
that it waited is about the longest that the loop was busy with something else.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.bench.processes import Worker

PROBE_EVERY_SECONDS = 0.01
SAMPLE_EVERY_SECONDS = 0.1
_END = b"\r\n\r\n"


@dataclass(slots=True, kw_only=True)
class Watch:
    """What was seen from start to end."""

    resident_mib: list[float] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def rss_mib(self) -> float:
        return max(self.resident_mib)

    @property
    def growth(self) -> float:
        """Memory in the last quarter of the time against the first quarter."""
        quarter = max(len(self.resident_mib) // 4, 1)
        first = statistics.median(self.resident_mib[:quarter])
        return statistics.median(self.resident_mib[-quarter:]) / first

    @property
    def p99_ms(self) -> float:
        waits = sorted(self.waits_s)
        return waits[len(waits) * 99 // 100] * 1000

    @property
    def longest_ms(self) -> float:
        return max(self.waits_s) * 1000


@asynccontextmanager
async def watched(worker: Worker) -> AsyncIterator[Watch]:
    """Watch the worker; what was seen is complete when the block is left."""
    watch = Watch()
    before = worker.cpu_seconds()
    watching = asyncio.gather(_sample(worker, watch), _probe(worker, watch))
    try:
        yield watch
        watch.cpu_s = worker.cpu_seconds() - before
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _sample(worker: Worker, watch: Watch) -> None:
    while True:
        watch.resident_mib.append(worker.resident_mib())
        await asyncio.sleep(SAMPLE_EVERY_SECONDS)


async def _probe(worker: Worker, watch: Watch) -> None:
    target = urlsplit(worker.url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    asked = f"GET /livez HTTP/1.1\r\nHost: {target.netloc}\r\n\r\n".encode()
    try:
        while True:
            began = time.perf_counter()
            writer.write(asked)
            await reader.readuntil(_END)
            watch.waits_s.append(time.perf_counter() - began)
            await asyncio.sleep(PROBE_EVERY_SECONDS)
    finally:
        writer.close()
