"""Which lines to write when strangers may cause any number of them.

The rule: a flood costs a few lines a second, whatever they send.
"""

from collections import Counter

from worker.ports import Clock

LINES_A_SECOND = 10
"""Of each kind; the line after a silence says how many were left out."""


class FewLines:
    """Counts the lines of each kind by the second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = 0.0
        self._said: Counter[str] = Counter()
        self._unsaid: Counter[str] = Counter()

    def may_say(self, kind: str) -> bool:
        """Whether there is a line for one more of this kind."""
        now = self._clock.monotonic()
        if now - self._second >= 1:
            self._second = now
            self._said.clear()
        self._said[kind] += 1
        if self._said[kind] <= LINES_A_SECOND:
            return True
        self._unsaid[kind] += 1
        return False

    def unsaid(self, kind: str) -> dict[str, object]:
        """The field for how many had none since the last line; none if there were none."""
        left_out = self._unsaid.pop(kind, 0)
        return {"unsaid": left_out} if left_out else {}
