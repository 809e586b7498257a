"""The end of telemetry: what is left is sent, for a while, and holds nobody up."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


async def tried_for(seconds: float, work: Callable[[], object]) -> None:
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
