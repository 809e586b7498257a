"""Everything that is turned away: counted, said in the log, and answered.

The rule: a flood from strangers costs a few lines a second, whatever they send; what a human
must look at is an error.
"""

import re
from collections import Counter
from collections.abc import Mapping

import structlog
from aiohttp import web

from handlers import statuses
from handlers.few_lines import FewLines
from handlers.statuses import LOUD, Refusal
from worker.ports import Clock
from worker.telemetry import meters
from worker.telemetry.instruments import DELIVERIES

COUNT_HEADER = "aeg-delivery-count"
_UNSAID = frozenset({Refusal.NO_SUCH_PATH, Refusal.NO_SUCH_METHOD, Refusal.UNPARSABLE})
"""What scanners of the internet send all day, and no sender of ours ever does."""
_COUNT = re.compile(r"[0-9]{1,6}")

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class RefusedError(Exception):
    """A delivery is turned away."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Refusals:
    """`counts`: how many deliveries were turned away before they were understood."""

    def __init__(self, clock: Clock) -> None:
        self.counts: Counter[str] = Counter()
        self._lines = FewLines(clock)

    def turn_away(
        self,
        refusal: Refusal,
        headers: Mapping[str, str],
        *,
        bug: BaseException | None = None,
    ) -> web.Response:
        """Count it, say it, and build the answer."""
        self.counts[refusal.value] += 1
        outcome = "refused" if refusal in LOUD else "rejected"
        meters.add(DELIVERIES, origin="webhook", outcome=outcome, reason=refusal.value)
        if refusal not in _UNSAID and self._lines.may_say(refusal.value):
            self._say(refusal, delivery_count(headers), bug)
        return statuses.answer(refusal)

    def _say(
        self, refusal: Refusal, count: int | None, bug: BaseException | None
    ) -> None:
        fields: dict[str, object] = {"reason": refusal.value, "delivery_count": count}
        fields |= self._lines.unsaid(refusal.value)
        if bug is not None:
            log.error("delivery.rejected", exc_info=bug, **fields)
        elif refusal in LOUD:
            log.error("delivery.refused", **fields)
        else:
            log.warning("delivery.rejected", **fields)


def delivery_count(headers: Mapping[str, str]) -> int | None:
    """How often Event Grid has tried before; 0 the first time."""
    said = headers.get(COUNT_HEADER, "")
    return int(said) if _COUNT.fullmatch(said) else None
