"""The wiring of OpenTelemetry: resource, providers, and who gets what they have.

Nothing of the SDK is imported where nobody wants any, and nothing here is global: what is
fed goes through worker/telemetry/meters.py and spans.py, for as long as a context lasts.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from worker import __version__
from worker.settings import Settings
from worker.telemetry import meters, outages
from worker.telemetry.ending import tried_for

if TYPE_CHECKING:
    # Start-up cost: the SDK is for those who use it.
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from prometheus_client import CollectorRegistry

    from worker.telemetry.outages import Ear
    from worker.telemetry.recorder import Look

SERVICE = "recording-worker"
FLUSH_SECONDS = 5.0
"""How long a process that ends waits for what it sends last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What a process has of it. `registry` is what `/metrics` shows; None: nothing."""

    registry: "CollectorRegistry | None" = None


@asynccontextmanager
async def open_telemetry(
    settings: Settings, look: "Look", *, scraped: bool
) -> AsyncIterator[Telemetry]:
    """Count and trace for as long as the context lasts; leaving sends what is left, for a while.

    `look` answers for the gauges. `scraped`: somebody may ask at `/metrics`. Raises
    ConfigError.
    """
    is_counted = scraped or is_sent(settings)
    if settings.sdk_disabled or not (is_counted or is_traced(settings)):
        yield Telemetry()
        return
    telemetry = Telemetry()
    async with AsyncExitStack() as stack:
        ear = stack.enter_context(outages.heard())
        resource = _resource(settings)
        if is_counted:
            metrics = _open_metrics(settings, resource, ear, look, scraped=scraped)
            telemetry = await stack.enter_async_context(metrics)
        if is_traced(settings):
            from worker.telemetry.traces import open_traces

            traces = open_traces(settings, resource, ear, flush_seconds=FLUSH_SECONDS)
            await stack.enter_async_context(traces)
        yield telemetry


def is_sent(settings: Settings) -> bool:
    """Whether metrics leave this process by themselves."""
    return bool(settings.metrics_endpoint or settings.application_insights)


def is_traced(settings: Settings) -> bool:
    """Whether traces are written: they go nowhere but to who is sent them."""
    if settings.traces_exporter == "none":
        return False
    return bool(settings.traces_endpoint or settings.application_insights)


def _resource(settings: Settings) -> "Resource":
    """Who this is; what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say counts more."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    ours = {
        "service.name": SERVICE,
        "service.version": __version__,
        "service.instance.id": settings.instance,
    }
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


@asynccontextmanager
async def _open_metrics(
    settings: Settings,
    resource: "Resource",
    ear: "Ear",
    look: "Look",
    *,
    scraped: bool,
) -> AsyncIterator[Telemetry]:
    from opentelemetry.sdk.metrics import MeterProvider

    from worker.telemetry.recorder import Recorder
    from worker.telemetry.sending import metric_readers

    readers = list(metric_readers(settings, ear))
    registry = None
    if scraped:
        registry, reader = _scraped()
        readers.append(reader)
    provider = MeterProvider(readers, resource, shutdown_on_exit=False)
    try:
        with meters.fed(Recorder(provider, look)):
            yield Telemetry(registry=registry)
    finally:
        await tried_for(FLUSH_SECONDS, partial(provider.shutdown, FLUSH_SECONDS * 1000))


def _scraped() -> "tuple[CollectorRegistry, MetricReader]":
    """What `/metrics` shows: ours, and what the process takes of its machine."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    reader = PrometheusMetricReader(
        disable_target_info=False, scope_info_enabled=False, registry=registry
    )
    return registry, reader
