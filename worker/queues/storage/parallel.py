"""Many small operations at once, but not all at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
WIDTH = 16
"""Operations in flight: the service's answer takes milliseconds, ours take the processor."""


async def in_parallel(items: Iterable[T], do: Callable[[T], Awaitable[object]]) -> None:
    """Do it for every item. Raises what the first that fails raised; the others are cut."""
    # One iterator, so that each worker takes what no other has.
    left = iter(items)

    async def work() -> None:
        for item in left:
            await do(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(WIDTH):
                group.create_task(work(), name="queue operation")
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
