"""What Event Grid thinks of an endpoint: probation after an error, delay after many."""

from datetime import datetime

from samples.grid.conduct import Conduct
from samples.grid.verdicts import Fate, Verdict


class EndpointHealth:
    """Until when an endpoint is left alone."""

    def __init__(self, conduct: Conduct) -> None:
        self._conduct = conduct
        self._failed_events = 0
        self._probation: datetime | None = None
        self._delay: datetime | None = None
        self._outcome = ""

    def saw(self, verdict: Verdict, *, events: int, at: datetime) -> None:
        """Take in how a delivery of so many events ended."""
        if verdict.fate is Fate.DELIVERED:
            # Nothing is sent on probation: by now it is over.
            self._failed_events = 0
            return
        self._failed_events += events
        self._outcome = verdict.outcome
        self._probation = at + verdict.probation
        if self._failed_events >= self._conduct.delayed_after:
            self._delay = at + self._conduct.delay

    def left_alone_until(self, now: datetime) -> datetime | None:
        """The end of probation and delay; None: events may be sent."""
        ends = [end for end in (self._probation, self._delay) if end and now < end]
        return max(ends, default=None)

    def is_hopeless(self, now: datetime) -> bool:
        """Whether what falls due now is given up, instead of kept for later."""
        is_fatal = self._outcome in self._conduct.failing_probation
        return is_fatal and self._probation is not None and now < self._probation
