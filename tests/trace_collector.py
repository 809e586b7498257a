"""A collector of OpenTelemetry's on loopback that takes traces by OTLP over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from tests.collector import PATIENCE_SECONDS, listening


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """One span as it was sent, its ids in hex, and the process that sent it."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    instance: str
    links: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class TraceCollector:
    """What was sent to it; `sent` is that as text, for whoever looks for secrets."""

    url: str = ""
    status: int = 200
    tried: int = 0
    spans: list[Got] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        async with self._came:
            self.tried += 1
            if self.status == web.HTTPOk.status_code:
                self.sent.append(str(sent))
                self.spans += _spans(sent)
            self._came.notify_all()
        return web.Response(status=self.status)

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so; looks whenever something has come."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._came:
            await self._came.wait_for(is_so)

    def of(self, trace_id: str) -> list[Got]:
        """One trace."""
        return [span for span in self.spans if span.trace_id == trace_id]


def _spans(sent: ExportTraceServiceRequest) -> list[Got]:
    return [
        Got(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            instance=next(
                each.value.string_value
                for each in resource.resource.attributes
                if each.key == "service.instance.id"
            ),
            links=tuple(
                (each.trace_id.hex(), each.span_id.hex()) for each in span.links
            ),
        )
        for resource in sent.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


@asynccontextmanager
async def collecting_traces(*, status: int = 200) -> AsyncIterator[TraceCollector]:
    """Start one."""
    collector = TraceCollector(status=status)
    async with listening({"/v1/traces": collector.take}) as collector.url:
        yield collector
