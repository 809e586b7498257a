"""Real processes of `recording-worker`: started, watched by their log lines, always reaped."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import sysconfig
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = (str(Path(sysconfig.get_path("scripts")) / "recording-worker"),)
PATIENCE_SECONDS = 25
LONGEST_LINE_BYTES = 4 * 1024 * 1024
Line = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """What stderr says is wrong, a line each."""
        lines = self.err.splitlines()
        return [line.removeprefix("error: ") for line in lines if "error: " in line]


class WorkerProcess:
    """One process. `err` and `out` grow as it writes."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._wrote = asyncio.Condition()
        self._is_silent = False
        self.err = ""
        self.out = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def lines(self) -> list[Line]:
        """Every log line; raises if one isn't JSON."""
        return [json.loads(line) for line in self.err.splitlines()]

    def said(self, event: str, **fields: object) -> list[Line]:
        """The lines of this event that have these fields."""
        return [
            line
            for line in self.lines
            if line["event"] == event and fields.items() <= line.items()
        ]

    async def wait_for(self, event: str, **fields: object) -> Line:
        """Wait for the first such line."""
        await self.wait_until(lambda: bool(self.said(event, **fields)))
        return self.said(event, **fields)[0]

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so; looks whenever the process has written something."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._wrote:
            await self._wrote.wait_for(lambda: self._is_silent or is_so())
        assert is_so(), f"it ended before that:\n{self.err}"

    async def url(self) -> str:
        """Where it takes deliveries, as soon as it does."""
        line = await self.wait_for("worker.started")
        return str(line["listen"])

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL: no cleanup, no farewell."""
        self._process.kill()

    async def ended(self) -> int:
        """Wait for its end; the exit code, or minus the signal that killed it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.wait_until(lambda: self._is_silent)
            return await self._process.wait()

    async def stop(self) -> int:
        """Stop it as an orchestrator does."""
        self.terminate()
        return await self.ended()

    async def read(self) -> None:
        """Read what it writes, to the end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_err())
            group.create_task(self._read_out())
        async with self._wrote:
            self._is_silent = True
            self._wrote.notify_all()

    async def _read_err(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            async with self._wrote:
                self.err += line.decode()
                self._wrote.notify_all()

    async def _read_out(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._wrote:
                self.out += line.decode()
                self._wrote.notify_all()


@contextlib.asynccontextmanager
async def running(
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path,
    command: Sequence[str] = COMMAND,
) -> AsyncIterator[WorkerProcess]:
    """A process in `folder` that has this environment and nothing else."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        limit=LONGEST_LINE_BYTES,
    )
    worker = WorkerProcess(process)
    reading = asyncio.create_task(worker.read())
    try:
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading
        # Shown with a test that fails.
        sys.stdout.write(worker.err)


async def run(
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path,
    command: Sequence[str] = COMMAND,
) -> Ended:
    """Run a command to its end."""
    async with running(
        *arguments, environment=environment, folder=folder, command=command
    ) as worker:
        code = await worker.ended()
    return Ended(code=code, out=worker.out, err=worker.err)
