"""Spans as they leave a process, read by name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import format_span_id, format_trace_id

from worker.model import ChunkKey
from worker.telemetry import spans
from worker.telemetry.tracing import ChunkIds, Tracer


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One span, its ids in hex."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    facts: Mapping[str, object] = field(repr=False)
    error: str | None
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Traced:
    """What was traced while `tracing` lasted."""

    exporter: InMemorySpanExporter

    def all(self) -> list[Seen]:
        """By the time of their end."""
        return [_seen(span) for span in self.exporter.get_finished_spans()]

    def of(self, key: ChunkKey) -> list[Seen]:
        """The trace of one chunk."""
        wanted = spans.trace_id(key)
        return [span for span in self.all() if span.trace_id == wanted]

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.all() if span.name == name]


@contextmanager
def tracing(sampler: Sampler = ALWAYS_ON) -> Iterator[Traced]:
    """Trace this process into memory."""
    exporter = InMemorySpanExporter()
    ids = ChunkIds()
    provider = TracerProvider(sampler=sampler, id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with spans.traced(Tracer(provider, ids)):
        yield Traced(exporter)
    provider.shutdown()


def _seen(span: ReadableSpan) -> Seen:
    context = span.get_span_context()
    assert context is not None
    prefix = "recording_worker."
    facts = {n.removeprefix(prefix): v for n, v in (span.attributes or {}).items()}
    return Seen(
        name=span.name,
        trace_id=format_trace_id(context.trace_id),
        span_id=format_span_id(context.span_id),
        parent_id=format_span_id(span.parent.span_id) if span.parent else None,
        facts=facts,
        error=None if span.status.is_ok else span.status.description,
        links=tuple(
            (
                format_trace_id(link.context.trace_id),
                format_span_id(link.context.span_id),
            )
            for link in span.links
        ),
    )
