"""What an answer, or the lack of one, means to Event Grid: a table as data. Pure.

Success is 200 to 204 and nothing else. 400, 401, 403 and 413 are never sent again. 404 was
on that list in 2020 and is not today, while its minimum delay is documented for endpoints
within Azure only: it is taken as final, the worse of the two. Which name of an outcome goes
with a status off the list is not documented; `Busy` stands for all of them. Nor is whether
a Retry-After is honoured: it is not.
https://learn.microsoft.com/azure/event-grid/delivery-and-retry
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

ANSWER_WITHIN = timedelta(seconds=30)
"""No answer after that is a failure."""
_SECONDS_10 = timedelta(seconds=10)
_SECONDS_30 = timedelta(seconds=30)
_MINUTES_2 = timedelta(minutes=2)
_MINUTES_5 = timedelta(minutes=5)
_NONE = timedelta()


class Fate(StrEnum):
    """What becomes of the events of a delivery."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    FINAL = "final"
    """To the dead letters if the subscription has a place for them, else dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One row of the table."""

    fate: Fate
    outcome: str
    """As `lastDeliveryOutcome` names it; `Delivered` is our own word."""
    wait: timedelta = _NONE
    """The least time to the next attempt; the schedule may say more."""
    probation: timedelta = _NONE
    """How long nothing may be attempted at this endpoint."""

    @property
    def words(self) -> str:
        """What Event Grid would do, as a sentence without its end."""
        if self.fate is Fate.DELIVERED:
            return "Event Grid would count the events as delivered"
        if self.fate is Fate.RETRIED:
            return (
                "Event Grid would send the events again, in "
                f"{_spelt(self.wait)} at the earliest"
            )
        return (
            "Event Grid would never send the events again: it dead-letters them, "
            "or drops them if the subscription has no dead-letter container"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one delivery ended."""

    status: int | None
    """None: there was no answer."""
    seen: str
    """What was seen, without the endpoint's URL: `answered 503`, `connection refused`."""
    verdict: Verdict

    @property
    def words(self) -> str:
        """What was seen and what Event Grid would do."""
        return f"{self.seen}: {self.verdict.words}"


DELIVERED = Verdict(fate=Fate.DELIVERED, outcome="Delivered")
BUSY = Verdict(
    fate=Fate.RETRIED, outcome="Busy", wait=_SECONDS_10, probation=_SECONDS_10
)
TIMED_OUT = Verdict(
    fate=Fate.RETRIED, outcome="TimedOut", wait=_SECONDS_10, probation=_SECONDS_10
)
SOCKET_ERROR = Verdict(
    fate=Fate.RETRIED, outcome="SocketError", wait=_SECONDS_10, probation=_SECONDS_30
)
RESOLUTION_ERROR = Verdict(
    fate=Fate.RETRIED, outcome="ResolutionError", wait=_SECONDS_10, probation=_MINUTES_5
)
STATUSES: Mapping[int, Verdict] = {
    **dict.fromkeys((200, 201, 202, 203, 204), DELIVERED),
    400: Verdict(fate=Fate.FINAL, outcome="BadRequest"),
    401: Verdict(fate=Fate.FINAL, outcome="Unauthorized", probation=_MINUTES_5),
    403: Verdict(fate=Fate.FINAL, outcome="Forbidden", probation=_MINUTES_5),
    404: Verdict(fate=Fate.FINAL, outcome="NotFound", probation=_MINUTES_5),
    408: Verdict(
        fate=Fate.RETRIED, outcome="TimedOut", wait=_MINUTES_2, probation=_SECONDS_10
    ),
    413: Verdict(fate=Fate.FINAL, outcome="PayloadTooLarge"),
    503: Verdict(
        fate=Fate.RETRIED, outcome="Busy", wait=_SECONDS_30, probation=_SECONDS_10
    ),
}


def verdict_of(status: int) -> Verdict:
    """Look a status up; whatever has no row of its own is sent again after 10 s."""
    return STATUSES.get(status, BUSY)


def _spelt(wait: timedelta) -> str:
    seconds = round(wait.total_seconds())
    return f"{seconds} s" if seconds % 60 else f"{seconds // 60} min"
