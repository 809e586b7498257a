"""How long a process takes to stop: what every grace period of a deployment has to leave."""

from handlers.limits import Limits
from worker import admin, notifier
from worker.telemetry import setup

SETTLING_SECONDS = 3
"""For leases that are given back, and for what closes files and connections."""


def longest_seconds(drain_seconds: float) -> float:
    """One after the other: chunks drain while deliveries end, then the last notices, the last
    answers of the admin listener, and the last metrics and traces.
    """
    parts = [
        max(drain_seconds, Limits().budget_seconds),
        SETTLING_SECONDS,
        notifier.LAST_WORDS_SECONDS,
        admin.LAST_WORDS_SECONDS,
        setup.FLUSH_SECONDS,
    ]
    return sum(parts)
