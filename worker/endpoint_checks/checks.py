"""The list, and who goes through it.

They ask as Event Grid does, from here: whether the endpoint can be reached from Azure is not
for us to see.

https://learn.microsoft.com/azure/event-grid/troubleshoot-subscription-validation
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from worker.endpoint_checks import asking, reaching
from worker.endpoint_checks.visit import NobodyThereError, Visit
from worker.ops.doctor import Examination, Finding, examination

Check = Callable[[Visit], Coroutine[Any, Any, Sequence[Finding]]]
CHECKS: tuple[Check, ...] = (
    reaching.address,
    reaching.connection,
    reaching.readiness,
    asking.handshakes,
    asking.deliveries,
    asking.rotated_key,
    asking.strangers,
)


async def examine(visit: Visit) -> Examination:
    """Make all checks, one after the other, until one says that nobody is there."""
    findings: list[Finding] = []
    is_reachable = True
    try:
        for check in CHECKS:
            findings += await check(visit)
    except NobodyThereError as error:
        findings.append(error.finding)
        is_reachable = error.is_reachable
    return examination(visit.endpoint.shown, findings, is_reachable=is_reachable)
