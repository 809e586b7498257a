"""Memory and connections are shared fairly, and nothing leaks when a waiter leaves."""

import asyncio

import pytest

from tests.fakes.clock import ManualClock
from worker.limits import CUT_SECONDS, GROW_SECONDS, ConnectionCeiling, MemoryBudget


async def turns(count: int = 5) -> None:
    """Let every task that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def hold(budget: MemoryBudget, size: int, *, log: list[int]) -> None:
    """Hold `size` bytes until cancelled, and note when they were granted."""
    async with budget.hold(size):
        log.append(size)
        await asyncio.Event().wait()


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_memory_is_held_and_given_back() -> None:
    """A hold counts while it lasts, and after an error not any more."""
    budget = MemoryBudget(10)

    async def fail() -> None:
        async with budget.hold(7):
            assert budget.in_use == 7
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()

    assert (budget.in_use, budget.total_bytes) == (0, 10)


async def test_memory_is_granted_first_come_first_served() -> None:
    """A small hold does not overtake a large one that waits."""
    budget = MemoryBudget(10)
    log: list[int] = []
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(hold(budget, n, log=log)) for n in (6, 8, 1)]
        await turns()
        assert (log, budget.contended) == ([6], True)

        tasks[0].cancel()
        await turns()

        assert (log, budget.contended) == ([6, 8, 1], False)
        for task in tasks:
            task.cancel()
    assert budget.in_use == 0


async def test_memory_that_could_never_be_granted_is_refused() -> None:
    """A hold above the total is a mistake, not a wait without end."""
    budget = MemoryBudget(10)

    budget.require(10)
    with pytest.raises(ValueError, match="exceeds"):
        budget.require(11)
    with pytest.raises(ValueError, match="exceeds"):
        async with budget.hold(11):
            pass
    with pytest.raises(ValueError, match="at least"):
        MemoryBudget(0)


async def test_memory_does_not_leak_when_a_waiter_is_cancelled() -> None:
    """A waiter that leaves gives its place to those behind it."""
    budget = MemoryBudget(10)
    log: list[int] = []
    first = asyncio.create_task(hold(budget, 6, log=log))
    large = asyncio.create_task(hold(budget, 8, log=log))
    small = asyncio.create_task(hold(budget, 4, log=log))
    await turns()

    await cancel(large)
    await turns()

    assert log == [6, 4]
    await cancel(first)
    await cancel(small)
    assert budget.in_use == 0


async def test_memory_does_not_leak_when_cancelled_in_the_tick_of_the_grant() -> None:
    """A grant that meets a cancellation goes to the next in line."""
    budget = MemoryBudget(10)
    log: list[int] = []
    first = asyncio.create_task(hold(budget, 10, log=log))
    second = asyncio.create_task(hold(budget, 9, log=log))
    third = asyncio.create_task(hold(budget, 8, log=log))
    await turns()

    first.cancel()
    await asyncio.sleep(0)  # the first lets go, and the second is granted
    await cancel(second)
    await turns()

    assert log == [10, 8]
    await cancel(third)
    assert budget.in_use == 0


async def test_memory_skips_waiters_that_are_leaving() -> None:
    """Two that leave in one tick, one of them at the head, block nobody."""
    budget = MemoryBudget(10)
    log: list[int] = []
    tasks = [asyncio.create_task(hold(budget, 10, log=log)) for _ in range(4)]
    await turns()

    for task in tasks[:3]:
        task.cancel()
    await turns()

    assert log == [10, 10]
    await cancel(tasks[3])
    assert budget.in_use == 0


@pytest.mark.parametrize("steps", range(8))
async def test_ceiling_does_not_leak_wherever_it_is_cancelled(steps: int) -> None:
    """Cancelled after any number of turns, a user of slots leaves none taken."""
    ceiling = ConnectionCeiling(1, clock=ManualClock())

    async def use() -> None:
        async with ceiling.slot():
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(use()) for _ in range(4)]
    await turns(steps)
    tasks[1].cancel()
    tasks[2].cancel()
    await asyncio.wait(tasks)

    assert ceiling.in_use == 0
    async with ceiling.slot():
        assert ceiling.in_use == 1


async def test_ceiling_lets_so_many_at_once() -> None:
    """Never more slots are out than the limit."""
    ceiling = ConnectionCeiling(3, clock=ManualClock())
    seen: list[int] = []

    async def use() -> None:
        async with ceiling.slot():
            seen.append(ceiling.in_use)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(use())

    assert (max(seen), len(seen), ceiling.in_use) == (3, 10, 0)


def test_ceiling_halves_once_per_wave() -> None:
    """Many throttled answers at once halve the limit once; it never falls below one."""
    clock = ManualClock()
    ceiling = ConnectionCeiling(8, clock=clock)

    for _ in range(5):
        ceiling.throttled()
    assert ceiling.limit == 4

    for _ in range(5):
        clock.advance(CUT_SECONDS)
        ceiling.throttled()
    assert ceiling.limit == 1


def test_ceiling_grows_slowly_up_to_most() -> None:
    """Good answers raise the limit by one at a time, never above what is allowed."""
    clock = ManualClock()
    ceiling = ConnectionCeiling(4, clock=clock, start=2)

    ceiling.succeeded()
    assert ceiling.limit == 2

    clock.advance(GROW_SECONDS)
    ceiling.succeeded()
    ceiling.succeeded()
    assert ceiling.limit == 3

    for _ in range(5):
        clock.advance(GROW_SECONDS)
        ceiling.succeeded()
    assert ceiling.limit == ceiling.most == 4


def test_ceiling_does_not_grow_right_after_a_cut() -> None:
    """An old success that is told after a cut does not undo it."""
    clock = ManualClock()
    ceiling = ConnectionCeiling(8, clock=clock)
    clock.advance(GROW_SECONDS)

    ceiling.throttled()
    ceiling.succeeded()

    assert ceiling.limit == 4


async def test_ceiling_that_shrinks_waits_for_slots_to_come_back() -> None:
    """A lower limit takes nobody's slot; a higher one lets waiters in."""
    clock = ManualClock()
    ceiling = ConnectionCeiling(2, clock=clock)
    left = asyncio.Event()

    async def use() -> None:
        async with ceiling.slot():
            await left.wait()

    tasks = [asyncio.create_task(use()) for _ in range(3)]
    await turns()
    ceiling.throttled()
    assert (ceiling.limit, ceiling.in_use) == (1, 2)

    await cancel(tasks[0])
    await turns()
    assert ceiling.in_use == 1

    clock.advance(CUT_SECONDS)
    ceiling.succeeded()
    await turns()
    assert (ceiling.limit, ceiling.in_use) == (2, 2)

    left.set()
    await asyncio.wait(tasks)


@pytest.mark.parametrize(("most", "start"), [(0, None), (2, 3), (2, 0)])
def test_ceiling_refuses_impossible_limits(most: int, start: int | None) -> None:
    """A ceiling lets at least one through and starts no higher than it may go."""
    with pytest.raises(ValueError, match="at least one"):
        ConnectionCeiling(most, clock=ManualClock(), start=start)
