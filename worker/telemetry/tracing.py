"""Traces as OpenTelemetry's SDK writes them.

Parents are always named: no span is taken from what happens to be current, and ours are not
made current, so that no library hangs its own (with URLs) below them.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker import __version__
from worker.model import Chunk, ChunkKey, Lease, PutResult
from worker.telemetry import spans
from worker.telemetry.spans import Fact

SCOPE = "recording_worker"
LONGEST_TRACEPARENT_CHARS = 512
"""It has 55; a later version may have more."""
LONGEST_EVENT_CHARS = 64 * 1024
"""Longer ones are not read again for the sake of a link."""
ANNOUNCED, ANNOUNCED_AGAIN = "chunk announced", "chunk announced again"
_SENDERS = TraceContextTextMapPropagator()
_NOTHING = Context()


class ChunkIds(IdGenerator):
    """Random ids, but for the root of a chunk's trace. For the provider of a Tracer."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._given: SpanContext | None = None

    @contextmanager
    def giving(self, root: SpanContext) -> Iterator[None]:
        """Give these ids to the one span that is started in the body, without a parent."""
        self._given = root
        try:
            yield
        finally:
            self._given = None

    def generate_trace_id(self) -> int:
        given = self._given
        return given.trace_id if given else self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        given = self._given
        return given.span_id if given else self._random.generate_span_id()

    def is_trace_id_random(self) -> bool:
        return True


class Tracer:
    """Satisfies spans.Tracing. `ids` are those of the provider."""

    def __init__(self, provider: TracerProvider, ids: ChunkIds) -> None:
        self._sampler = provider.sampler
        self._tracer = provider.get_tracer(SCOPE, __version__)
        self._ids = ids

    @contextmanager
    def delivery(self, origin: str, sender: str) -> Iterator["_Delivery"]:
        """Sent by whoever it may be: a sender's trace is linked, and decides on nothing."""
        span = self._tracer.start_span(
            "delivery",
            context=_NOTHING,
            kind=SpanKind.CONSUMER,
            links=_links_to_sender(sender),
            attributes=_named({"origin": origin}),
        )
        with _ended(span):
            yield _Delivery(span, self, time.time_ns())

    def leasing(self) -> "_Leasing":
        return _Leasing(self, time.time_ns())

    @contextmanager
    def attempt(self, lease: Lease) -> Iterator["_Attempt"]:
        key = lease.chunk.key
        facts = _of_lease(lease)
        span = self.below(key, "attempt", kind=SpanKind.CONSUMER, facts=facts)
        try:
            yield _Attempt(span, self, key)
        finally:
            span.end()

    def root(self, chunk: Chunk, delivery: SpanContext, since_ns: int) -> SpanContext:
        """Begin the trace of a chunk."""
        with self._ids.giving(self.root_of(chunk.key)):
            span = self._tracer.start_span(
                ANNOUNCED,
                context=_NOTHING,
                kind=SpanKind.CONSUMER,
                links=[Link(delivery), *_links_of(chunk)],
                attributes=_named(_of(chunk)),
                start_time=since_ns,
            )
        span.end()
        return span.get_span_context()

    def below(
        self,
        key: ChunkKey,
        name: str,
        *,
        facts: Mapping[str, Fact],
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
        since_ns: int | None = None,
    ) -> trace.Span:
        """Start a span below the root of a chunk's trace, whoever wrote that, and where."""
        return self._tracer.start_span(
            name,
            context=_under(trace.NonRecordingSpan(self.root_of(key))),
            kind=kind,
            links=links,
            attributes=_named(facts),
            start_time=since_ns,
        )

    def within(self, span: trace.Span, name: str) -> trace.Span:
        """Start a span below another of this process."""
        kind = SpanKind.CLIENT if name == "delete" else SpanKind.INTERNAL
        return self._tracer.start_span(name, context=_under(span), kind=kind)

    def root_of(self, key: ChunkKey) -> SpanContext:
        """The root as another process sees it, with what it decided on keeping the trace."""
        trace_id = int(spans.trace_id(key), 16)
        sampled = self._sampler.should_sample(_NOTHING, trace_id, ANNOUNCED)
        is_kept = sampled.decision is Decision.RECORD_AND_SAMPLE
        flags = trace.TraceFlags.SAMPLED if is_kept else trace.TraceFlags.DEFAULT
        return SpanContext(
            trace_id,
            int(spans.root_id(key), 16),
            is_remote=True,
            trace_flags=trace.TraceFlags(flags),
        )


@dataclass(frozen=True, slots=True)
class _Span:
    span: trace.Span

    @property
    def fields(self) -> dict[str, str]:
        context = self.span.get_span_context()
        if not context.trace_flags.sampled:
            return {}
        return {"trace_id": trace.format_trace_id(context.trace_id)}

    def tell(self, **facts: Fact) -> None:
        self.span.set_attributes(_named(facts))

    def failed(self, reason: str) -> None:
        self.span.set_status(Status(StatusCode.ERROR, reason))


@dataclass(frozen=True, slots=True)
class _Delivery(_Span):
    tracer: Tracer
    since_ns: int

    def announced(self, chunks: Sequence[Chunk], put: PutResult) -> None:
        """Links lead both ways, to as many chunks as a span may have links."""
        own = self.span.get_span_context()
        begun: set[ChunkKey] = set(put.known)
        for chunk in chunks:
            if chunk.key in begun:
                again = self.tracer.below(
                    chunk.key,
                    ANNOUNCED_AGAIN,
                    kind=SpanKind.CONSUMER,
                    facts=_of(chunk),
                    links=[Link(own), *_links_of(chunk)],
                    since_ns=self.since_ns,
                )
                again.end()
                self.span.add_link(again.get_span_context())
            else:
                begun.add(chunk.key)
                self.span.add_link(self.tracer.root(chunk, own, self.since_ns))


@dataclass(frozen=True, slots=True)
class _Leasing:
    tracer: Tracer
    since_ns: int

    def got(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            key, facts = lease.chunk.key, _of_lease(lease)
            self.tracer.below(key, "lease", facts=facts, since_ns=self.since_ns).end()


@dataclass(frozen=True, slots=True)
class _Attempt(_Span):
    tracer: Tracer
    key: ChunkKey

    def step(self, name: str) -> AbstractContextManager[_Span]:
        return _ended(self.tracer.within(self.span, name))

    def deleting(self, key: ChunkKey) -> AbstractContextManager[_Span]:
        """A sibling's delete stands in the sibling's trace, and says who did it."""
        if key == self.key:
            return self.step("delete")
        by = [Link(self.span.get_span_context())]
        return _ended(
            self.tracer.below(
                key, "delete", kind=SpanKind.CLIENT, facts={"chunk": key}, links=by
            )
        )


@contextmanager
def _ended(span: trace.Span) -> Iterator[_Span]:
    """End the span with the body; what the body raises is told by its reason alone."""
    told = _Span(span)
    try:
        yield told
    except (Exception, asyncio.CancelledError) as error:
        told.failed(spans.reason_of(error))
        raise
    finally:
        span.end()


def _under(span: trace.Span) -> Context:
    return trace.set_span_in_context(span, _NOTHING)


def _links_of(chunk: Chunk) -> Sequence[Link]:
    """To where its event was made, if that is a CloudEvent that says so: not to who sent it.

    https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md
    """
    raw = chunk.announcement.raw
    if '"traceparent"' not in raw or len(raw) > LONGEST_EVENT_CHARS:
        return ()
    try:
        sender = json.loads(raw).get("traceparent")
    except (ValueError, AttributeError):
        return ()
    return _links_to_sender(sender) if isinstance(sender, str) else ()


def _links_to_sender(sender: str) -> Sequence[Link]:
    if not 0 < len(sender) <= LONGEST_TRACEPARENT_CHARS:
        return ()
    context = _SENDERS.extract({"traceparent": sender}, context=_NOTHING)
    found = trace.get_current_span(context).get_span_context()
    return [Link(found)] if found.is_valid else ()


def _of(chunk: Chunk) -> dict[str, Fact]:
    return {
        "chunk": chunk.key,
        "recording": chunk.recording,
        "index": chunk.index,
    }


def _of_lease(lease: Lease) -> dict[str, Fact]:
    return _of(lease.chunk) | {"attempt": lease.attempts}


def _named(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    return {f"recording_worker.{name}": value for name, value in facts.items()}
