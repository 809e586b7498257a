"""Where what is measured goes: nowhere, unless this process counts.

One place for the whole process, as with logs: metrics are fed where the canonical lines are
written, at any depth, and the engine knows of neither OpenTelemetry nor what it costs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from worker.telemetry.instruments import Instrument


class Meters(Protocol):
    """Whoever counts. Calls are cheap, come from the event loop's thread, and never fail."""

    def add(
        self, metric: Instrument, amount: float, attributes: dict[str, str]
    ) -> None:
        """So many more, or fewer, of a counter."""
        ...

    def record(
        self, metric: Instrument, value: float, attributes: dict[str, str]
    ) -> None:
        """One value of a histogram."""
        ...


class NoMeters:
    """Counts nothing."""

    def add(
        self, metric: Instrument, amount: float, attributes: dict[str, str]
    ) -> None:
        pass

    def record(
        self, metric: Instrument, value: float, attributes: dict[str, str]
    ) -> None:
        pass


@dataclass(slots=True)
class _Process:
    meters: Meters = field(default_factory=NoMeters)


_PROCESS = _Process()


def add(metric: Instrument, amount: float = 1, **attributes: str) -> None:
    """Count."""
    _PROCESS.meters.add(metric, amount, attributes)


def record(metric: Instrument, value: float, **attributes: str) -> None:
    """Note one value of many."""
    _PROCESS.meters.record(metric, value, attributes)


@contextmanager
def fed(meters: Meters) -> Iterator[None]:
    """Have this process' numbers go to `meters` while the body runs."""
    before, _PROCESS.meters = _PROCESS.meters, meters
    try:
        yield
    finally:
        _PROCESS.meters = before
