"""The look that every process has at its queue: what it is loud about."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from worker.at_risk import RiskWatch
from worker.model import SORTED_WITHIN, QueueCounts
from worker.sight import Sight


class Unsorted(MemoryQueue):
    """Has deliveries that nobody sorts."""

    async def counts(self, **within: Any) -> QueueCounts:
        counts = await super().counts(**within)
        return replace(counts, deferred=2, deferred_since=START)


@pytest.mark.parametrize(("late", "is_told"), [(0, False), (1, True)])
async def test_deliveries_that_nobody_sorts_are_told(
    late: int, *, is_told: bool
) -> None:
    """Their chunks are counted nowhere, not even when they are at risk."""
    clock = ManualClock()
    clock.advance(SORTED_WITHIN.total_seconds() + late)
    watch = RiskWatch(
        queue=Unsorted(clock=clock),
        notices=None,
        clock=clock,
        within=timedelta(hours=6),
        sight=Sight(clock=clock),
    )

    with capture_logs() as logs:
        await watch.look()

    told = [(line["event"], line["deliveries"], line["since"]) for line in logs]
    assert told == [("deferred.late", 2, START.isoformat())] * is_told
