"""An event on its way to the subscriber, and what has happened to it."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from samples.grid.messages import JsonObject
from samples.grid.verdicts import Outcome

PROBATION = "Probation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """One event that is neither delivered nor given up."""

    number: int
    """Its own, whatever happens to it; ids of events may repeat."""
    event: JsonObject
    """As it is delivered: in the subscription's schema."""
    published_at: datetime
    due_at: datetime
    attempts: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    outcome: str = PROBATION
    """Of the last attempt; without any, the event has only waited."""
    status: int | None = None
    is_again: bool = False
    """Whether it was delivered before, and this is the duplicate."""

    @property
    def id(self) -> str:
        return str(self.event.get("id", ""))

    def attempted(self, outcome: Outcome, *, at: datetime) -> Self:
        """The same event, one attempt later."""
        return replace(
            self,
            attempts=self.attempts + 1,
            first_at=self.first_at or at,
            last_at=at,
            outcome=outcome.verdict.outcome,
            status=outcome.status,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """A delivery was sent; `is_late`: its answer came after it had been given up."""

    at: datetime
    events: tuple[str, ...]
    """Their ids."""
    delivery_count: int
    outcome: Outcome
    is_late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed:
    """Events fell due while the endpoint is left alone."""

    at: datetime
    events: tuple[str, ...]
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered:
    """A blob was written with these events."""

    at: datetime
    events: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """These events are gone for good."""

    at: datetime
    events: tuple[str, ...]
    why: str


Happening = Attempted | Postponed | DeadLettered | Dropped
