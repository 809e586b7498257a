"""The end of telemetry: what is left is sent, for a while, and holds nobody up."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

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
    """Do it in a thread that the end of the process need not wait for, as it would for one
    of the loop's executor. What it raises is told by who was to send.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def run() -> None:
        try:
            with suppress(Exception):
                work()
        finally:
            # A loop that is closed meanwhile has nobody who waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=run, name="flush", daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ended.wait()
