"""Who traces are sent to: OTLP's collector, Application Insights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

from worker.clock import SystemClock
from worker.settings import Settings
from worker.telemetry import insights, spans
from worker.telemetry.ending import Work
from worker.telemetry.outages import Outage
from worker.telemetry.sending import AZURE_MONITOR, OTLP
from worker.telemetry.tracing import ChunkIds, Tracer


class TellingExporter(SpanExporter):
    """An exporter that says once that it can't, and once that it can again."""

    def __init__(self, exporter: SpanExporter, outage: Outage) -> None:
        self._exporter = exporter
        self._outage = outage

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._outage.sent(
            partial(self._exporter.export, spans),
            taken=SpanExportResult.SUCCESS,
            failed=SpanExportResult.FAILURE,
        )

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


@contextmanager
def open_traces(
    settings: Settings, resource: Resource, last: list[Work]
) -> Iterator[None]:
    """Trace for as long as the context lasts. Raises ConfigError.

    Which share of the traces is kept, OTEL_TRACES_SAMPLER says, and what does not fit into
    memory while nobody takes it is dropped. `last` gets what sends the rest at the end.
    """
    ids = ChunkIds()
    provider = TracerProvider(
        resource=resource, id_generator=ids, shutdown_on_exit=False
    )
    last.append(provider.shutdown)
    for exporter in _exporters(settings, provider):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    with spans.traced(Tracer(provider, ids)):
        yield


def _exporters(settings: Settings, provider: TracerProvider) -> Iterator[SpanExporter]:
    exporters: list[tuple[str, SpanExporter]] = []
    if settings.traces_endpoint:
        exporters.append((OTLP, _otlp(settings.traces_endpoint)))
    if settings.application_insights is not None:
        text = settings.application_insights.get_secret_value()
        exporters.append((AZURE_MONITOR, _azure_monitor(text, provider)))
    for to, exporter in exporters:
        outage = Outage(signal="traces", to=to, clock=SystemClock())
        yield TellingExporter(exporter, outage)


def _otlp(endpoint: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint)


def _azure_monitor(connection_string: str, provider: TracerProvider) -> SpanExporter:
    """Told of the provider, which is not the global one that it would ask for the resource."""
    with insights.making():
        from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter

        exporter: SpanExporter = AzureMonitorTraceExporter(
            connection_string=connection_string,
            disable_offline_storage=True,
            tracer_provider=provider,
        )
    return exporter
