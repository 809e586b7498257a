"""A collector of OpenTelemetry's on loopback: takes OTLP over HTTP, and keeps what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

PATIENCE_SECONDS = 20
_MOST_BYTES = 16 * 1024 * 1024
Attributes = frozenset[tuple[str, str]]


@dataclass(slots=True)
class Collector:
    """What was sent to it. `status` is what it answers; its own trouble is anything but 200."""

    url: str = ""
    status: int = 200
    requests: list[ExportMetricsServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def wait_for(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._came:
            await self._came.wait_for(lambda: len(self.requests) >= count)

    async def take(self, request: web.Request) -> web.Response:
        """Keep a request with metrics."""
        sent = ExportMetricsServiceRequest.FromString(await request.read())
        async with self._came:
            self.requests.append(sent)
            self.headers.append(dict(request.headers))
            self._came.notify_all()
        return web.Response(status=self.status)

    async def leave(self, _: web.Request) -> web.Response:
        """Traces are for another: see tests/trace_collector.py."""
        return web.Response(status=self.status)

    @property
    def resource(self) -> dict[str, str]:
        """Who sent the last request."""
        (sent,) = self.requests[-1].resource_metrics
        return {each.key: each.value.string_value for each in sent.resource.attributes}

    def numbers(self) -> dict[str, dict[Attributes, float]]:
        """The numbers of the last request, by name and attributes; counts of histograms."""
        found: dict[str, dict[Attributes, float]] = {}
        for resource in self.requests[-1].resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = getattr(metric, metric.WhichOneof("data")).data_points
                    found[metric.name] = {_told(each): _number(each) for each in points}
        return found


def _told(point: object) -> Attributes:
    attributes = point.attributes  # type: ignore[attr-defined]
    return frozenset((each.key, each.value.string_value) for each in attributes)


def _number(point: object) -> float:
    if hasattr(point, "bucket_counts"):
        return float(point.count)  # type: ignore[attr-defined]
    return float(point.as_double or point.as_int)  # type: ignore[attr-defined]


@asynccontextmanager
async def collecting(*, status: int = 200) -> AsyncIterator[Collector]:
    """Start one."""
    collector = Collector(status=status)
    takes = {"/v1/metrics": collector.take, "/v1/traces": collector.leave}
    async with listening(takes) as collector.url:
        yield collector


@asynccontextmanager
async def listening(takes: Mapping[str, Handler]) -> AsyncIterator[str]:
    """Take what is posted to these paths, at the URL that is yielded."""
    app = web.Application(client_max_size=_MOST_BYTES)
    app.add_routes([web.post(path, take) for path, take in takes.items()])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
