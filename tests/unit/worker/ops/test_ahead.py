"""Work on a stream: some at once, answers in order, nothing left behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from worker.ops.ahead import ahead


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_answers_come_in_the_order_of_things() -> None:
    """However long each takes: here the later ones are done first."""
    done = [asyncio.Event() for _ in range(4)]

    async def work(number: int) -> str:
        if number < 3:
            await done[number + 1].wait()
        done[number].set()
        return f"n{number}"

    got = [pair async for pair in ahead(numbers(4), work, most=4)]

    assert got == [(0, "n0"), (1, "n1"), (2, "n2"), (3, "n3")]


async def test_no_more_are_begun_than_allowed() -> None:
    """The stream is read only as far as there is room."""
    at_once = most = 0

    async def work(_: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1

    count = sum([1 async for _ in ahead(numbers(50), work, most=3)])

    assert (count, most) == (50, 3)


async def test_failure_comes_out_and_ends_the_others() -> None:
    """In its turn; what was begun behind it is cancelled."""
    ended = asyncio.Event()

    async def work(number: int) -> int:
        if number == 1:
            raise ValueError(number)
        try:
            if number == 2:
                await asyncio.Event().wait()
        finally:
            if number == 2:
                ended.set()
        return number

    answers = ahead(numbers(3), work)
    assert await anext(answers) == (0, 0)
    with pytest.raises(ValueError, match="1"):
        await anext(answers)

    assert ended.is_set()


async def test_what_is_about_to_end_may_tidy_up() -> None:
    """The end of the loop cancels all, and closes what was not read to its end."""
    tidying, tidied = asyncio.Event(), asyncio.Event()

    async def work(number: int) -> None:
        try:
            if number:
                await asyncio.Event().wait()
        finally:
            if number:
                tidying.set()
                await asyncio.sleep(0)
                tidied.set()

    answers = ahead(numbers(2), work)
    await anext(answers)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await tidying.wait()
    await answers.aclose()

    assert tidied.is_set()
