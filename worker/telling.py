"""Wires those who tell others what happened here: notices, notifier, topic."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.clock import SystemClock
from worker.notices import Notices
from worker.notifier import Notifier
from worker.ports import Archive
from worker.settings import Settings


@asynccontextmanager
async def open_notices(
    settings: Settings, archive: Archive, *, cut: asyncio.Event
) -> AsyncIterator[Notices | None]:
    """What is to be told, and those who tell it; None: there is nobody to tell.

    Leaving waits a little for what was not told yet, unless `cut` is set.
    """
    if not settings.notify:
        yield None
        return
    # Start-up cost: the SDK is for those who use it.
    from worker.topics.event_grid import EventGridTopic

    place, key = settings.archive_place, settings.notify_key
    url = place.url if place else settings.archive_directory.absolute().as_uri()
    clock = SystemClock()
    notices = Notices(archive=archive, clock=clock, archive_url=url)
    secret = key.get_secret_value() if key else None
    async with EventGridTopic.open(settings.notify, key=secret, source=url) as topic:
        notifier = Notifier(
            archive=archive,
            outbox=notices.outbox,
            topic=topic,
            clock=clock,
            random=random.SystemRandom(),
            instance=settings.instance,
        )
        async with notifier.running(cut):
            yield notices
