"""The user's own storage as it is wired: the inbox that Event Grid fills.

Beside worker/app.py the only place that names adapters.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from handlers.inbox import Inbox
from handlers.receiver import Receiver
from worker.clock import SystemClock
from worker.settings import Settings


@asynccontextmanager
async def open_inbox(
    settings: Settings, receiver: Receiver, *, cut: asyncio.Event
) -> AsyncIterator[Inbox | None]:
    """The inbox that the settings name, if they do."""
    place = settings.inbox_place
    if place is None:
        yield None
        return
    # Start-up cost: the SDK is for those who use it.
    from worker.queues.inbox_queue import InboxStorageQueue
    from worker.storage_clients import open_identity

    async with (
        open_identity(settings.storage_account) as identity,
        InboxStorageQueue(place, identity) as queue,
    ):
        yield Inbox(receiver, queue, SystemClock(), cut=cut)
