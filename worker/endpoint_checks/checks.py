"""The list, and who goes through it.

They ask as Event Grid does, from here: whether the endpoint can be reached from Azure is not
for us to see.

https://learn.microsoft.com/azure/event-grid/troubleshoot-subscription-validation
"""

from collections.abc import Iterator
from functools import partial

from worker.endpoint_checks import asking, reaching
from worker.endpoint_checks.visit import Visit
from worker.ops import doctor
from worker.ops.doctor import Check, Examination, Tell


async def examine(visit: Visit, *, tell: Tell) -> Examination:
    """Make all checks, one after the other, until one says that nobody is there."""
    return await doctor.examine(visit.endpoint.shown, _checks(visit), tell=tell)


def _checks(visit: Visit) -> Iterator[Check]:
    yield partial(reaching.address, visit)
    yield partial(reaching.connection, visit)
    yield partial(reaching.readiness, visit)
    for schema in visit.schemas:
        yield partial(asking.handshake, visit, schema)
    for schema in visit.schemas:
        yield partial(asking.delivery, visit, schema)
    yield partial(asking.rotated_key, visit)
    yield partial(asking.strangers, visit)
