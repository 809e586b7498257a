"""A stand-in as a process of its own: it serves until SIGINT or SIGTERM."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Protocol


class Serve(Protocol):
    """Serves until `stopping` is set, and announces a line when it is ready."""

    async def __call__(
        self, *, stopping: asyncio.Event, announce: Callable[[str], None]
    ) -> None: ...


async def until_signalled(serve: Serve) -> None:
    """Serve, and print what is announced."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    await serve(stopping=stopping, announce=_print_line)


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
