"""Meters that a test reads."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from worker.telemetry import meters
from worker.telemetry.instruments import Instrument

Told = frozenset[tuple[str, str]]


@dataclass(slots=True)
class Measured:
    """Satisfies meters.Meters: sums of what was counted, by metric and attributes."""

    sums: Counter[tuple[str, Told]] = field(default_factory=Counter)

    def add(
        self, metric: Instrument, amount: float, attributes: dict[str, str]
    ) -> None:
        self.sums[metric.name, frozenset(attributes.items())] += int(amount)

    def record(
        self, metric: Instrument, value: float, attributes: dict[str, str]
    ) -> None:
        assert value >= 0, metric.name
        self.sums[metric.name, frozenset(attributes.items())] += 1

    def of(self, metric: Instrument, **attributes: str) -> int:
        return self.sums[metric.name, frozenset(attributes.items())]


@contextmanager
def measured() -> Iterator[Measured]:
    """What is counted while the body runs."""
    found = Measured()
    with meters.fed(found):
        yield found
