"""Hops to the archive's threads, and what a cancellation does to them."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from worker.archives.threads import NICENESS, Threads, outlast
from worker.errors import ArchiveFullError

PATIENCE_S = 10


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    opened = Threads(1)
    yield opened
    await opened.close()


async def test_result_and_arguments_pass(threads: Threads) -> None:
    """A hop is a call."""
    assert await threads.run(int, "ff", base=16) == 255


async def test_only_disk_errors_are_translated(threads: Threads) -> None:
    """An OSError means something to an archive; a bug stays a bug."""

    def full() -> None:
        raise OSError(28, "no space")

    with pytest.raises(ArchiveFullError):
        await threads.run(full)
    with pytest.raises(ArchiveFullError):
        await threads.finish(full)
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.run(int, "x")


async def test_cancelled_hop_that_has_not_begun_never_runs(threads: Threads) -> None:
    """Work that waits for a thread is dropped with its caller."""
    go_on, ran = threading.Event(), threading.Event()
    first = asyncio.create_task(threads.run(go_on.wait, PATIENCE_S))
    second = asyncio.create_task(threads.run(ran.set))
    await asyncio.sleep(0)

    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(second, PATIENCE_S)
    go_on.set()
    await first

    assert not ran.is_set()


async def test_clean_up_that_has_not_begun_runs_all_the_same(threads: Threads) -> None:
    """A clean-up that waits for a thread outlives its caller's cancellation."""
    go_on, ran = threading.Event(), threading.Event()
    first = asyncio.create_task(threads.run(go_on.wait, PATIENCE_S))
    second = asyncio.create_task(threads.finish(ran.set))
    await asyncio.sleep(0)

    second.cancel()
    await asyncio.sleep(0)
    assert not second.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(second, PATIENCE_S)
    await first

    assert ran.is_set()


async def test_outlasting_what_is_done_returns_at_once() -> None:
    """There is nothing to wait for."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)

    await outlast(future)


async def test_threads_stand_back_alone(threads: Threads) -> None:
    """Disk work gives way to the event loop, whose own niceness stays what it was."""
    before = os.nice(0)
    further = NICENESS if sys.platform == "linux" else 0

    assert await threads.run(os.nice, 0) == min(before + further, 19)
    assert os.nice(0) == before
