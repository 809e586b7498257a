"""Work that nobody waits for any more."""

import asyncio

import pytest

from handlers.finishing import Finishing


class Work:
    """Goes on until it is let go; remembers how it ended."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.is_done = False
        self._released = 0

    def then(self) -> None:
        self._released += 1

    def releases(self) -> int:
        """How often it was let go."""
        return self._released

    async def __call__(self) -> str:
        self.began.set()
        try:
            await self.let_go.wait()
            self.is_done = True
        finally:
            self.ended.set()
        return "done"


async def given_up(finishing: Finishing, work: Work) -> None:
    """Begin the work, and give up waiting for it."""
    waiting = asyncio.create_task(finishing.run(work(), then=work.then))
    await work.began.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_work_has_a_result_and_errors_as_if_awaited() -> None:
    """Who waits to the end sees no difference."""
    finishing = Finishing()
    work = Work()
    work.let_go.set()

    async def fail() -> None:
        raise LookupError("broken")

    assert await finishing.run(work(), then=work.then) == "done"
    with pytest.raises(LookupError, match="broken"):
        await finishing.run(fail(), then=work.then)
    assert work.releases() == 2


async def test_work_that_is_given_up_goes_on_to_its_end() -> None:
    """Nobody waits for the answer, but what was begun gets done."""
    finishing = Finishing()
    work = Work()
    await given_up(finishing, work)

    assert not work.ended.is_set()
    assert work.releases() == 0
    work.let_go.set()
    await work.ended.wait()
    await asyncio.sleep(0)

    assert work.is_done
    assert work.releases() == 1


async def test_work_that_is_given_up_does_not_go_on_for_ever() -> None:
    """Its turn is needed: after a while it is cut."""
    finishing = Finishing(late_seconds=0)
    work = Work()
    await given_up(finishing, work)

    await work.ended.wait()

    assert not work.is_done


async def test_finish_waits_for_all_work() -> None:
    """Also for what nobody else waits for."""
    finishing = Finishing()
    work = Work()
    await given_up(finishing, work)
    finish = asyncio.create_task(finishing.finish(within_seconds=60))
    await asyncio.sleep(0)

    assert not finish.done()
    work.let_go.set()
    await finish

    assert work.is_done


async def test_finish_cuts_what_takes_too_long() -> None:
    """The storage is closed next: nothing may be at work then."""
    finishing = Finishing()
    work = Work()
    await given_up(finishing, work)

    await finishing.finish(within_seconds=0)

    assert work.ended.is_set()
    assert not work.is_done


async def test_work_cut_before_its_first_step_lets_go_too() -> None:
    """What it holds comes back, though it never began."""
    finishing = Finishing()
    work = Work()
    waiting = asyncio.create_task(finishing.run(work(), then=work.then))
    await asyncio.sleep(0)

    await finishing.finish(within_seconds=0)
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert not work.began.is_set()
    assert work.releases() == 1


async def test_finish_without_work_is_done_at_once() -> None:
    """There is nothing to wait for."""
    await Finishing().finish(within_seconds=60)
