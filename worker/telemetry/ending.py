"""The end of telemetry: what is left is sent, for a while, and holds nobody up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from worker.threads import in_daemon

Work = Callable[[], object]


@asynccontextmanager
async def last_words(seconds: float) -> AsyncIterator[list[Work]]:
    """What is put into the list is done when the body has ended, all of it at once: a
    collector that hangs takes the same few seconds of a stop, whatever is sent to it.
    """
    works: list[Work] = []
    try:
        yield works
    finally:
        await asyncio.gather(*(tried_for(seconds, work) for work in works))


async def tried_for(seconds: float, work: Work) -> None:
    """Do it, and wait so long for its end. What it raises is told by who was to send."""
    with suppress(Exception):
        async with asyncio.timeout(seconds):
            await in_daemon("flush", work)
