"""Who metrics are sent to: OTLP's collector, Application Insights."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)

from worker.clock import SystemClock
from worker.settings import Settings
from worker.telemetry import insights
from worker.telemetry.outages import Outage

OTLP, AZURE_MONITOR = "otlp", "azure-monitor"


class TellingExporter(MetricExporter):
    """An exporter that says once that it can't, and once that it can again."""

    def __init__(self, exporter: MetricExporter, outage: Outage) -> None:
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,  # noqa: SLF001 - as the SDK's reader reads it
            preferred_aggregation=exporter._preferred_aggregation,  # noqa: SLF001 - the same
        )
        self._exporter = exporter
        self._outage = outage

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        return self._outage.sent(
            partial(self._exporter.export, metrics_data, timeout_millis, **kwargs),
            taken=MetricExportResult.SUCCESS,
            failed=MetricExportResult.FAILURE,
        )

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis, **kwargs)


def metric_readers(settings: Settings) -> Iterator[MetricReader]:
    """A reader for each who is sent metrics. Raises ConfigError."""
    exporters: list[tuple[str, MetricExporter]] = []
    if settings.metrics_endpoint:
        exporters.append((OTLP, _otlp(settings.metrics_endpoint)))
    if settings.application_insights is not None:
        text = settings.application_insights.get_secret_value()
        exporters.append((AZURE_MONITOR, _azure_monitor(text)))
    for to, exporter in exporters:
        outage = Outage(signal="metrics", to=to, clock=SystemClock())
        yield PeriodicExportingMetricReader(TellingExporter(exporter, outage))


def _otlp(endpoint: str) -> MetricExporter:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
        OTLPMetricExporter,
    )

    return OTLPMetricExporter(endpoint=endpoint)


def _azure_monitor(connection_string: str) -> MetricExporter:
    with insights.making():
        from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter

        exporter: MetricExporter = AzureMonitorMetricExporter(
            connection_string=connection_string, disable_offline_storage=True
        )
    return exporter
