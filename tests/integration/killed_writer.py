"""Run as a program: archive one object again and again, killed one system call later each time.

Prints one JSON line per life: how many calls it lived, and what it left. The last life is not
killed. A profile hook counts the calls, so the archive itself needs none.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from worker.archives.directory import DirectoryArchive
from worker.clock import SystemClock

NAME = "recordings/2026/03/01/object.bin"
BLOCKS = [b"a" * 4096, b"b" * 4096, b"c" * 100]
DATA = b"".join(BLOCKS)
CALLS = {
    *("open", "mkdir", "flock", "pwrite", "fsync", "fchmod", "utime"),
    *("link", "unlink", "close"),
}


class Executioner:
    """Kills the process with the return of the n-th system call of any thread."""

    def __init__(self, calls: int) -> None:
        self._left = calls

    def hook(self, _frame: FrameType, event: str, arg: Any) -> None:
        name = getattr(arg, "__name__", "")
        module = getattr(arg, "__module__", "")
        if event == "c_return" and name in CALLS and module in {"posix", "fcntl"}:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def opened(root: Path) -> DirectoryArchive:
    return DirectoryArchive(
        root, clock=SystemClock(), reserve_bytes=0, block_bytes=4096
    )


async def live(root: Path) -> None:
    async with opened(root) as archive, archive.writer(NAME) as writer:
        for number, block in enumerate(BLOCKS):
            await writer.write(number * 4096, block)
        await writer.commit(size=len(DATA))


async def inspect(root: Path) -> str:
    async with opened(root) as archive:
        left = await archive.read(NAME)
        staged = os.listdir(root / ".staging")  # noqa: PTH208 - one look
        if staged:
            return f"staging holds {staged}"
        if left is None:
            await archive.create(NAME, DATA)
            return "nothing"
    return "whole" if left == DATA else f"{len(left)} bytes"


def main() -> None:
    base = Path(sys.argv[1])
    for calls in range(1, 200):
        root = base / str(calls)
        child = os.fork()
        if child == 0:
            threading.setprofile(Executioner(calls).hook)
            asyncio.run(live(root))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        life = {"calls": calls, "killed": killed, "left": asyncio.run(inspect(root))}
        sys.stdout.write(json.dumps(life) + "\n")
        if not killed:
            return


if __name__ == "__main__":
    main()
