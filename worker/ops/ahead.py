"""Slow work on a long stream of things: some of them at once, answers in their order."""

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 16
"""Where what costs is the request, this many take hardly longer than one."""


async def ahead(
    things: AsyncIterator[T] | Iterable[T],
    work: Callable[[T], Awaitable[R]],
    *,
    most: int = AHEAD,
) -> AsyncGenerator[tuple[T, R], None]:
    """Each thing with what `work` says of it, in order; never more than `most` are held."""
    begun: deque[tuple[T, asyncio.Task[R]]] = deque()
    every = things if isinstance(things, AsyncIterator) else _each(things)
    try:
        async for thing in every:
            begun.append((thing, asyncio.create_task(_as_coroutine(work, thing))))
            if len(begun) >= most:
                yield await _first(begun)
        while begun:
            yield await _first(begun)
    finally:
        await _end(task for _, task in begun)


async def _each(things: Iterable[T]) -> AsyncIterator[T]:
    for thing in things:
        yield thing


async def _as_coroutine(work: Callable[[T], Awaitable[R]], thing: T) -> R:
    return await work(thing)


async def _first(begun: deque[tuple[T, asyncio.Task[R]]]) -> tuple[T, R]:
    thing, task = begun[0]
    answer = await task
    begun.popleft()
    return thing, answer


async def _end(tasks: Iterable[asyncio.Task[R]]) -> None:
    """Whoever stops reading leaves nothing running."""
    left = list(tasks)
    for task in left:
        # By the end of the loop perhaps: cancelled once more it would not tidy up.
        if not task.cancelling():
            task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
