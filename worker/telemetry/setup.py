"""The wiring of OpenTelemetry: resource, providers, and who gets what they have.

Nothing of the SDK is imported where nobody wants any, and nothing here is global: what is
fed goes through worker/telemetry/meters.py and spans.py, for as long as a context lasts.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from worker import __version__
from worker.settings import Settings
from worker.telemetry import meters, outages
from worker.telemetry.ending import Work, last_words

if TYPE_CHECKING:
    # Start-up cost: the SDK is for those who use it.
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from prometheus_client import CollectorRegistry

    from worker.telemetry.recorder import Look

SERVICE = "recording-worker"
FLUSH_SECONDS = 5.0
"""How long a process that ends waits for what it sends last, metrics and traces at once."""


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
        stack.enter_context(outages.heard())
        last = await stack.enter_async_context(last_words(FLUSH_SECONDS))
        resource = _resource(settings)
        if is_counted:
            readers = _readers(settings)
            registry = _scraped(readers) if scraped else None
            stack.enter_context(_metrics(resource, readers, look, last))
            telemetry = Telemetry(registry=registry)
        if is_traced(settings):
            from worker.telemetry.traces import open_traces

            stack.enter_context(open_traces(settings, resource, last))
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


def _readers(settings: Settings) -> "list[MetricReader]":
    from worker.telemetry.sending import metric_readers

    return list(metric_readers(settings))


@contextmanager
def _metrics(
    resource: "Resource", readers: "list[MetricReader]", look: "Look", last: list[Work]
) -> Iterator[None]:
    from opentelemetry.sdk.metrics import MeterProvider

    from worker.telemetry.recorder import Recorder

    provider = MeterProvider(readers, resource, shutdown_on_exit=False)
    last.append(partial(provider.shutdown, FLUSH_SECONDS * 1000))
    with meters.fed(Recorder(provider, look)):
        yield


def _scraped(readers: "list[MetricReader]") -> "CollectorRegistry":
    """What `/metrics` shows: ours, by one more reader, and what the process takes of its
    machine.
    """
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    readers.append(
        PrometheusMetricReader(
            disable_target_info=False, scope_info_enabled=False, registry=registry
        )
    )
    return registry
