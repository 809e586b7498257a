"""The metrics as OpenTelemetry's SDK has them.

Counters are plain numbers that the SDK reads when somebody collects: its own `add` costs
ten times as much, and a webhook counts several times per delivery.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import product

from opentelemetry.metrics import (
    CallbackOptions,
    Histogram,
    Meter,
    MeterProvider,
    Observation,
)

from worker import __version__
from worker.telemetry import instruments
from worker.telemetry.instruments import Instrument, Kind

SCOPE = "recording_worker"
Look = Callable[[Instrument], Iterable[tuple[float, Mapping[str, str]]]]
"""What a gauge shows now: values with their attributes. It may not wait for anything."""
_Key = tuple[tuple[str, str], ...]


class Recorder:
    """Satisfies meters.Meters. `look` answers for the gauges."""

    def __init__(self, provider: MeterProvider, look: Look) -> None:
        meter = provider.get_meter(SCOPE, __version__)
        self._look = look
        self._counts: dict[str, dict[_Key, float]] = {}
        self._histograms: dict[str, Histogram] = {}
        for each in instruments.ALL:
            self._make(meter, each)

    def _make(self, meter: Meter, metric: Instrument) -> None:
        kind, named = metric.kind, (metric.name,)
        told = {"unit": metric.unit, "description": metric.description}
        if kind is Kind.HISTOGRAM:
            self._histograms[metric.name] = meter.create_histogram(
                *named, **told, explicit_bucket_boundaries_advisory=metric.bounds
            )
        elif kind is Kind.GAUGE:
            meter.create_observable_gauge(*named, [self._looking(metric)], **told)
        else:
            counts = self._counts[metric.name] = _zeros(metric)
            create = (
                meter.create_observable_counter
                if kind is Kind.COUNTER
                else meter.create_observable_up_down_counter
            )
            create(*named, [_reading(counts)], **told)

    def _looking(
        self, metric: Instrument
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, told) for value, told in self._look(metric)]

        return observe

    def add(
        self, metric: Instrument, amount: float, attributes: dict[str, str]
    ) -> None:
        counts = self._counts[metric.name]
        key = tuple(attributes.items())
        counts[key] = counts.get(key, 0) + amount

    def record(
        self, metric: Instrument, value: float, attributes: dict[str, str]
    ) -> None:
        self._histograms[metric.name].record(value, attributes)


def _reading(
    counts: dict[_Key, float],
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        # A copy in one step, for another thread may be counting.
        return [Observation(value, dict(key)) for key, value in list(counts.items())]

    return observe


def _zeros(metric: Instrument) -> dict[_Key, float]:
    """Where it begins; see `Instrument.begins`."""
    names = [attribute.name for attribute in metric.attributes]
    every = product(*(attribute.values for attribute in metric.attributes))
    return {tuple(zip(names, each, strict=True)): 0 for each in metric.begins or every}
