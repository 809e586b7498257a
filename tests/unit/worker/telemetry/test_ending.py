"""The end of telemetry holds up no process."""

import asyncio
import threading

from worker.telemetry.ending import last_words, tried_for


def test_process_ends_while_a_collector_hangs() -> None:
    """A thread of the loop's executor would be waited for, however long it takes."""
    silent = threading.Event()
    try:
        asyncio.run(tried_for(0.01, silent.wait))
    finally:
        silent.set()


def test_end_waits_until_what_is_left_is_sent() -> None:
    """As long as there is time."""
    sent: list[str] = []

    asyncio.run(tried_for(20, lambda: sent.append("all")))

    assert sent == ["all"]


def test_failure_at_the_end_is_the_end() -> None:
    """It raises nothing, and nobody waits for what is over."""

    def fails() -> None:
        raise OSError

    asyncio.run(tried_for(20, fails))


def test_all_that_is_left_is_sent_at_once() -> None:
    """Metrics and traces wait for a silent collector together, not one after the other."""
    both = threading.Barrier(2, timeout=20)
    met: list[int] = []

    async def end() -> None:
        async with last_words(20) as last:
            last.extend([lambda: met.append(both.wait())] * 2)

    asyncio.run(end())

    assert sorted(met) == [0, 1]
