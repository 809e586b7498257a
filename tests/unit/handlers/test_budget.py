"""Who gets room, who gives way, and that all of it comes back."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)

from handlers.budget import BodyBudget, CrowdedOutError, Hold, Turns

TOTAL, RESERVED, SMALL = 100, 20, 10


class Asked:
    """A sender that remembers whether it was asked to give way."""

    def __init__(self, budget: BodyBudget, size_bytes: int = 0) -> None:
        self.gave_way = False
        self.hold = budget.open(self._give_way)
        if size_bytes:
            self.hold.append(b"x" * size_bytes)

    def _give_way(self) -> None:
        self.gave_way = True


def a_budget() -> BodyBudget:
    """A hundred bytes, twenty of which are for bodies of up to ten."""
    return BodyBudget(TOTAL, reserved_bytes=RESERVED, small_bytes=SMALL)


def test_body_within_the_budget_asks_nobody() -> None:
    """What there is room for is kept, piece by piece, until it is let go."""
    budget = a_budget()
    other, one = Asked(budget, 40), Asked(budget, 30)

    one.hold.append(b"y" * 10)

    assert bytes(one.hold.body) == b"x" * 30 + b"y" * 10
    assert budget.in_use == 80
    assert not other.gave_way
    one.hold.release()
    one.hold.release()
    assert budget.in_use == 40


def test_largest_body_that_is_still_coming_gives_way() -> None:
    """Of several as large, the one that has been coming for longest."""
    budget = a_budget()
    small, first, second = Asked(budget, 20), Asked(budget, 30), Asked(budget, 30)

    Asked(budget, 15)

    assert [small.gave_way, first.gave_way, second.gave_way] == [False, True, False]
    assert budget.in_use == 20 + 30 + 15


def test_body_that_would_be_the_largest_is_refused_itself() -> None:
    """Others need not give way to who takes up more than they do."""
    budget = a_budget()
    others = [Asked(budget, 20), Asked(budget, 20), Asked(budget, 20)]

    with pytest.raises(CrowdedOutError):
        Asked(budget, 30)

    assert not any(other.gave_way for other in others)
    assert budget.in_use == 60


def test_whole_bodies_give_way_to_nobody() -> None:
    """What has come to its end is at work: only what is still coming can give way."""
    budget = a_budget()
    done, coming = Asked(budget, 60), Asked(budget, 20)
    done.hold.complete()

    with pytest.raises(CrowdedOutError):
        coming.hold.append(b"x")

    assert not done.gave_way


def test_small_bodies_have_a_share_of_their_own() -> None:
    """When large ones have filled all that they may, small ones still find room."""
    budget = a_budget()
    large = Asked(budget, TOTAL - RESERVED)
    large.hold.complete()

    small = [Asked(budget, SMALL), Asked(budget, SMALL)]

    assert budget.in_use == TOTAL
    with pytest.raises(CrowdedOutError):
        small[0].hold.append(b"x")
    assert not small[1].gave_way


class BudgetMachine(RuleBasedStateMachine):
    """Any order of bodies that come, end, give way and fail."""

    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.budget = a_budget()
        self.open: list[Hold] = []

    @rule(target=holds)
    def begin(self) -> Hold:
        hold = self.budget.open(lambda: None)
        self.open.append(hold)
        return hold

    @rule(hold=holds, size=st.integers(0, 60))
    def append(self, hold: Hold, size: int) -> None:
        try:
            hold.append(b"x" * size)
        except CrowdedOutError:
            hold.release()

    @rule(hold=holds)
    def complete(self, hold: Hold) -> None:
        hold.complete()

    @rule(hold=consumes(holds))
    def release(self, hold: Hold) -> None:
        hold.release()

    @invariant()
    def counts_what_is_held(self) -> None:
        assert self.budget.in_use == sum(len(hold.body) for hold in self.open)
        assert 0 <= self.budget.in_use <= TOTAL

    def teardown(self) -> None:
        for hold in self.open:
            hold.release()
        assert self.budget.in_use == 0


TestBudgetMachine = BudgetMachine.TestCase


async def entered(turns: Turns, weight: int, until: asyncio.Event) -> None:
    turn = await turns.take(weight)
    try:
        await until.wait()
    finally:
        turn.end()


async def test_small_work_does_not_wait_for_big() -> None:
    """Each has its own room: a stuck giant holds up giants only."""
    turns = Turns(most=9, small_bytes=600_000, big_bytes=1_000_000)
    stuck = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(entered(turns, 2_000_000, stuck))
        next_giant = group.create_task(entered(turns, 2_000_000, stuck))
        await asyncio.sleep(0)
        turn = await turns.take(500_000)
        assert turns.taken == 3
        turn.end()
        assert not next_giant.done()
        stuck.set()

    assert turns.taken == 0


async def test_turns_are_given_in_order_of_asking() -> None:
    """Who waits has the next turn, before whoever comes later and would fit in."""
    turns = Turns(most=9, big_bytes=1_000_000)
    order: list[str] = []

    async def work(name: str, weight: int) -> None:
        turn = await turns.take(weight)
        order.append(name)
        await asyncio.sleep(0)
        turn.end()

    async with asyncio.TaskGroup() as group:
        group.create_task(work("first", 900_000))
        group.create_task(work("giant", 1_000_000))
        group.create_task(work("last", 600_000))

    assert order == ["first", "giant", "last"]


async def test_turn_is_refused_when_too_many_have_asked() -> None:
    """Waiting or at work, they are counted; there is no room for one more to wait."""
    turns = Turns(most=2, big_bytes=1_000_000)
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(entered(turns, 1_000_000, done))
        group.create_task(entered(turns, 1_000_000, done))
        await asyncio.sleep(0)
        with pytest.raises(CrowdedOutError):
            await entered(turns, 1, done)
        done.set()

    await entered(turns, 1, done)


@pytest.mark.parametrize("steps", range(4))
@given(weights=st.lists(st.integers(1, 2_000_000), min_size=1, max_size=6))
def test_turns_come_back_wherever_work_is_cancelled(
    steps: int, weights: list[int]
) -> None:
    """Waiting, just granted, or at work: cancelled at any step, nothing stays taken."""

    async def scenario() -> None:
        turns = Turns(most=9, small_bytes=600_000, big_bytes=1_000_000)
        stuck = asyncio.Event()
        tasks = [asyncio.create_task(entered(turns, w, stuck)) for w in weights]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert turns.taken == 0
        await turns.take(1_000_000)
        await turns.take(500_000)

    run(scenario)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """In a loop of its own, for hypothesis is not asynchronous."""
    with asyncio.Runner() as runner:

        async def whole() -> None:
            await scenario()

        runner.run(whole())
