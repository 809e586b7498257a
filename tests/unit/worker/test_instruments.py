"""The one table of metrics, against the code that feeds it and what Prometheus is shown."""

import itertools

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry

from handlers import callbacks
from handlers.receiver import ReceivedKind
from handlers.statuses import Refusal
from worker import retry
from worker.model import ChunkState
from worker.queues.storage.channel import OPERATION
from worker.telemetry import instruments
from worker.telemetry.instruments import ALL, Instrument, Kind
from worker.telemetry.recorder import Recorder


def values_of(metric: Instrument, name: str) -> set[str]:
    (found,) = (each.values for each in metric.attributes if each.name == name)
    return set(found)


def test_names_in_prometheus_are_those_that_its_exporter_makes() -> None:
    """Alerts and dashboards are written against these."""
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(registry=registry, scope_info_enabled=False)
    provider = MeterProvider(metric_readers=[reader])
    recorder = Recorder(provider, lambda metric: [(1.0, some(metric))])
    for metric in ALL:
        if metric.kind is Kind.HISTOGRAM:
            recorder.record(metric, 1.0, some(metric))
        elif metric.kind is not Kind.GAUGE:
            recorder.add(metric, 1.0, some(metric))

    shown = {sample.name for family in registry.collect() for sample in family.samples}
    provider.shutdown()

    assert instruments.prometheus_names() == shown - {"target_info"}


def some(metric: Instrument) -> dict[str, str]:
    return {each.name: (each.values or ("x",))[0] for each in metric.attributes}


def test_names_are_unique_and_of_one_family() -> None:
    """One prefix, so that one query finds them all."""
    names = [metric.name for metric in ALL]

    assert sorted(set(names)) == sorted(names)
    assert all(name.startswith(instruments.PREFIX) for name in names)


def test_bounds_of_histograms_ascend() -> None:
    """And no other metric has any."""
    for metric in ALL:
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.bounds)
        assert all(low < high for low, high in itertools.pairwise(metric.bounds))


@pytest.mark.parametrize(
    ("metric", "name", "expected"),
    [
        (
            instruments.DELIVERIES,
            "reason",
            {
                "none",
                ReceivedKind.MALFORMED.value,
                ReceivedKind.UNAVAILABLE.value,
                *(refusal.value for refusal in Refusal),
            },
        ),
        (instruments.CALLBACKS, "type", {*callbacks.TOLD, callbacks.OTHER}),
        (instruments.QUEUE_CHUNKS, "state", {state.value for state in ChunkState}),
        (
            instruments.RETRIES,
            "policy",
            {
                each.name
                for each in (
                    retry.DOWNLOAD,
                    retry.DELETE_SOURCE,
                    retry.ARCHIVE,
                    OPERATION,
                )
            },
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_values_of_attributes_are_those_of_the_code(
    metric: Instrument, name: str, expected: set[str]
) -> None:
    """A value that is added there is added here."""
    assert expected == values_of(metric, name)
