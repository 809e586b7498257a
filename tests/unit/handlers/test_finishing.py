"""Work goes on when nobody waits for its answer, but not for ever."""

import asyncio

from handlers.finishing import AtWork

MOST_SECONDS = 100


class Work:
    """Goes on until it is let go; remembers how it ended."""

    def __init__(self, at_work: AtWork) -> None:
        self._at_work = at_work
        self._let_go = asyncio.Event()
        self._began = asyncio.Event()
        self.task = asyncio.create_task(self._run())
        self.is_done = False

    async def _run(self) -> None:
        self._at_work.begin()
        try:
            self._began.set()
            await self._let_go.wait()
            self.is_done = True
        finally:
            self._at_work.end()

    async def begun(self) -> "Work":
        """Wait until it is at work."""
        await self._began.wait()
        return self

    def let_go(self) -> None:
        """Let it come to its end."""
        self._let_go.set()


async def test_finish_waits_for_all_work() -> None:
    """The storage is closed after it."""
    at_work = AtWork(MOST_SECONDS)
    works = [await Work(at_work).begun() for _ in range(3)]
    finish = asyncio.create_task(at_work.finish(within_seconds=60))
    await asyncio.sleep(0)

    assert not finish.done()
    for work in works:
        work.let_go()
    await finish

    assert all(work.is_done for work in works)


async def test_finish_cuts_what_takes_too_long() -> None:
    """The storage is closed next: nothing may be at work then."""
    at_work = AtWork(MOST_SECONDS)
    work = await Work(at_work).begun()

    await at_work.finish(within_seconds=0)

    assert work.task.cancelled()


async def test_finish_without_work_is_done_at_once() -> None:
    """There is nothing to wait for."""
    at_work = AtWork(MOST_SECONDS)
    work = await Work(at_work).begun()
    work.let_go()
    await work.task

    await at_work.finish(within_seconds=60)


async def test_sweep_cuts_work_only_after_its_time() -> None:
    """Its turn is needed in the end."""
    at_work = AtWork(MOST_SECONDS)
    now = asyncio.get_running_loop().time()
    work = await Work(at_work).begun()

    at_work.sweep(now + MOST_SECONDS - 1)
    await asyncio.sleep(0)
    before = work.task.done()
    at_work.sweep(now + MOST_SECONDS + 60)
    await asyncio.wait([work.task])

    assert not before
    assert work.task.cancelled()


async def test_sweep_cuts_once_and_lets_clean_up() -> None:
    """The next sweep comes a second later, perhaps in the middle of a rollback."""
    at_work = AtWork(MOST_SECONDS)
    cleaning, cleaned = asyncio.Event(), asyncio.Event()

    async def work() -> bool:
        at_work.begin()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cleaning.set()
            await cleaned.wait()
        finally:
            at_work.end()
        return True

    now = asyncio.get_running_loop().time()
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    at_work.sweep(now + MOST_SECONDS + 60)
    await cleaning.wait()
    at_work.sweep(now + MOST_SECONDS + 61)
    cleaned.set()

    assert await task
