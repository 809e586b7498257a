"""Work in a thread that nobody waits for."""

import asyncio
import threading
from contextlib import suppress
from queue import SimpleQueue

import pytest

from worker.threads import in_daemon


async def test_work_is_done_in_a_thread_of_its_own() -> None:
    """Which bears the name, and lets the process end."""
    thread = await in_daemon("scrape", threading.current_thread)

    assert (thread.name, thread.daemon) == ("scrape", True)


async def test_what_the_work_raises_is_raised() -> None:
    """As if it had been called."""

    def fails() -> None:
        raise OSError("why")

    with pytest.raises(OSError, match="why"):
        await in_daemon("flush", fails)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_work_that_nobody_waits_for_ends_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The loop is closed by then, and nobody is there to be told."""
    gate = threading.Event()
    begun: SimpleQueue[threading.Thread] = SimpleQueue()

    def work() -> None:
        begun.put(threading.current_thread())
        gate.wait(20)

    async def gone_at_once() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await in_daemon("flush", work)

    asyncio.run(gone_at_once())
    gate.set()
    begun.get(timeout=20).join(20)

    assert not caplog.records
