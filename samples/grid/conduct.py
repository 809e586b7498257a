"""What the documentation leaves open, or promises for some cases only: knobs, and the schedule.

https://learn.microsoft.com/azure/event-grid/delivery-and-retry
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Literal

from samples.grid.pending import Pending
from samples.grid.verdicts import Verdict

_SECOND, _MINUTE, _HOUR = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
)
STEPS = (
    10 * _SECOND,
    30 * _SECOND,
    1 * _MINUTE,
    5 * _MINUTE,
    10 * _MINUTE,
    30 * _MINUTE,
    1 * _HOUR,
    3 * _HOUR,
    6 * _HOUR,
)
EVERY = 12 * _HOUR
"""After the last step, until the time to live has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How this Event Grid behaves; the same seed, the same conduct.

    Shares are from 0 to 1.
    """

    seed: int = 0
    jitter: float = 0.1
    """"A small randomization" of every step: by how much it may be longer at the most."""
    steps_count_from: Literal["last attempt", "first attempt"] = "last attempt"
    """Not documented which: 1 h 47 or 1 h to the eighth attempt."""
    skips: float = 0.0
    """Share of the retries that are skipped while the endpoint fails."""
    duplicates: float = 0.0
    """Share of the delivered events that are delivered once more: at least once."""
    is_reordered: bool = False
    """Whether what is due together goes out in any order; it keeps none for certain."""
    failing_probation: frozenset[str] = frozenset(
        {"Unauthorized", "Forbidden", "NotFound"}
    )
    """Outcomes whose probation dead-letters what falls due in it, without an attempt; in any
    other probation events wait. Documented to depend on the error, not how."""
    delayed_after: int = 10
    """So many events failed with no success between: all others wait, new ones too."""
    delay: timedelta = 10 * _MINUTE
    """For how long; "in some cases, up to several hours"."""
    notices_late: float = 1.0
    """Share of the successes within 3 minutes of a delivery that spare the retry."""

    def due_at(
        self, pending: Pending, verdict: Verdict, *, ended_at: datetime, random: Random
    ) -> datetime:
        """When an event is tried again that has just failed."""
        step = pending.attempts
        if random.random() < self.skips:
            step += 1
        if self.steps_count_from == "first attempt" and pending.first_at is not None:
            wait = max(pending.first_at + _offset(step) - ended_at, verdict.wait)
        else:
            wait = max(_delay(step), verdict.wait)
        return ended_at + wait * (1 + self.jitter * random.random())


def _delay(step: int) -> timedelta:
    """From an attempt to the next; step 1 follows the first attempt."""
    return STEPS[step - 1] if step <= len(STEPS) else EVERY


def _offset(step: int) -> timedelta:
    """The same figures, from the first attempt."""
    more = step - len(STEPS)
    return EVERY * more if more > 0 else STEPS[step - 1]
