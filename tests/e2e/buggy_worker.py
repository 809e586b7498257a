"""The worker, but with bugs that quote what they choke on: `buggy_worker.py ARGUMENT...`.

Every way in which Python lets an exception out: through our firewalls, out of a task that
nobody waits for, a thread, a finalizer, as a warning. The product knows nothing of this: the
adapters' classes are changed before the command starts.
"""

import asyncio
import json
import sys
import threading
import warnings
from typing import Any

from worker.__main__ import command
from worker.model import Delivery
from worker.queues.sqlite import SqliteQueue
from worker.sources.acs import AcsSource

LURED = b"lured-into-a-bug"


class Litter:
    """Raises when it is swept up."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __del__(self) -> None:
        raise KeyError(self.text)


def raise_quoting(text: str) -> None:
    """The shapes in which messages quote: repr, plain in brackets, several lines."""
    try:
        int(text)
    except ValueError as error:
        error.add_note(text)
        raise ValueError(f"can't read {text!r}\nwhich is {text}") from error


async def fail(text: str) -> None:
    raise_quoting(text)


async def put(queue: SqliteQueue, delivery: Delivery) -> Any:
    """Choke on a body."""
    if LURED not in delivery.body:
        return await take(queue, delivery)
    text = delivery.body.decode()
    warnings.warn(f"odd: {json.dumps(text)}", RuntimeWarning, stacklevel=1)
    thread = threading.Thread(target=raise_quoting, args=(text,))
    thread.start()
    await asyncio.to_thread(thread.join)
    Litter(text)
    task = asyncio.create_task(fail(text))
    await asyncio.wait({task})
    del task
    raise_quoting(text)
    return None


def choke_on_location(_source: AcsSource, location: str, **_: Any) -> Any:
    """Choke on a location."""
    raise_quoting(location)


take = SqliteQueue.put

if __name__ == "__main__":
    setattr(SqliteQueue, "put", put)  # noqa: B010 - mypy would not have it assigned
    if "consume" in sys.argv:
        setattr(AcsSource, "open", choke_on_location)  # noqa: B010 - as above
    sys.exit(command())
