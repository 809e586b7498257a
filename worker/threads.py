"""Blocking work beside the loop, for which no end of the process waits."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_daemon(name: str, work: Callable[[], T]) -> T:
    """What `work` returns or raises, from a thread of its own that is called `name`.

    `asyncio.to_thread` borrows one of the loop's executor: that may be busy, and is waited
    for at the end, however long it takes. Whoever is cancelled leaves the thread to itself.
    """
    made: Future[T] = Future()
    # Begun: who goes away can't cancel it, and the thread may say what it came to.
    made.set_running_or_notify_cancel()

    def run() -> None:
        try:
            made.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            made.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(made)
