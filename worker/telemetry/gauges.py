"""What the gauges show, from what is in memory: a scrape waits for nothing."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from worker.model import QueueCounts
from worker.ports import Clock
from worker.sight import Sight
from worker.standing import Standing
from worker.telemetry.instruments import (
    PAUSED,
    QUEUE_AT_RISK,
    QUEUE_CHUNKS,
    QUEUE_DEFERRED,
    QUEUE_EXPIRY,
    QUEUE_LOOKED,
    QUEUE_OLDEST_AGE,
    Instrument,
)

_Values = Iterable[tuple[float, Mapping[str, str]]]


class Gauges:
    """Satisfies recorder.Look, of one process."""

    def __init__(self, standing: Standing, clock: Clock) -> None:
        self._standing = standing
        self._clock = clock

    def __call__(self, metric: Instrument) -> _Values:
        if metric is PAUSED:
            paused = self._standing.paused
            scopes = PAUSED.attributes[0].values
            if paused is None:
                return []
            return [(float(scope in paused), {"scope": scope}) for scope in scopes]
        sight = self._standing.sight
        if sight.counts is None or sight.looked_at is None:
            return []
        if metric is QUEUE_LOOKED:
            return [(sight.looked_at.timestamp(), {})]
        return _of_queue(metric, sight, sight.counts, now=self._clock.now())


def _of_queue(
    metric: Instrument, sight: Sight, counts: QueueCounts, *, now: datetime
) -> _Values:
    if metric is QUEUE_CHUNKS:
        states = counts.by_state.items()
        return [(number, {"state": state.value}) for state, number in states]
    if metric is QUEUE_DEFERRED:
        return [(counts.deferred, {})]
    if metric is QUEUE_AT_RISK:
        return [(counts.at_risk, {})]
    if metric is QUEUE_OLDEST_AGE:
        since = sight.waiting_since or now
        return [(max((now - since).total_seconds(), 0.0), {})]
    if metric is QUEUE_EXPIRY and counts.oldest_deadline is not None:
        return [((counts.oldest_deadline - now).total_seconds(), {})]
    return []
