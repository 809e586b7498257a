"""Several processes on one queue file, and what a process leaves that is killed."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tests.factories import a_delivery, some_chunks
from tests.integration import queue_process
from worker.clock import SystemClock
from worker.model import ChunkState
from worker.queues.sqlite import SqliteQueue

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 20


@contextlib.asynccontextmanager
async def a_process(verb: str, path: Path) -> AsyncIterator[Process]:
    """A process that is ready to begin."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        queue_process.__name__,
        verb,
        str(path),
        stdin=PIPE,
        stdout=PIPE,
        cwd=ROOT,
    )
    try:
        assert await next_line(process) == ["ready"]
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


def begin(process: Process) -> None:
    """Let it go on."""
    assert process.stdin is not None
    process.stdin.write(b"\n")


async def next_line(process: Process) -> list[str]:
    """The words of the next whole line; none at the end."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        line = await process.stdout.readline()
    return line.decode().split() if line.endswith(b"\n") else []


async def all_lines(process: Process) -> list[list[str]]:
    lines = []
    while line := await next_line(process):
        lines.append(line)
    return lines


def a_queue(path: Path) -> SqliteQueue:
    return SqliteQueue(
        path,
        clock=SystemClock(),
        worker="test",
        random=Random(1),  # noqa: S311 - jitter
    )


@pytest.mark.parametrize("acks", [1, 7, 100])
async def test_killed_process_loses_no_acknowledged_delivery(
    tmp_path: Path, acks: int
) -> None:
    """Whatever was acknowledged before kill -9 is there afterwards."""
    path = tmp_path / "queue.db"
    async with a_process("put", path) as process:
        begin(process)
        lines = [await next_line(process) for _ in range(acks)]
        process.kill()
        lines += await all_lines(process)

    acknowledged = {document for _, document in lines}
    async with a_queue(path) as queue:
        entries = await queue.list(limit=100_000)
        assert len(acknowledged) >= acks
        assert acknowledged <= {entry.chunk.document_id for entry in entries}


async def test_processes_never_lease_the_same_chunk(tmp_path: Path) -> None:
    """Two processes that lease at once share the chunks out."""
    path = tmp_path / "queue.db"
    async with a_queue(path) as queue:
        await queue.put(a_delivery(*some_chunks(200)))
        async with a_process("lease", path) as one, a_process("lease", path) as two:
            begin(one)
            begin(two)
            lines = [await next_line(one), await next_line(two)]
            begin(one)
            begin(two)
            for more in await asyncio.gather(all_lines(one), all_lines(two)):
                lines += more

        entries = await queue.list(state=ChunkState.LEASED)
        leased = [row for _, row in lines]
        assert len(leased) == len(set(leased)) == 200
        assert {entry.row for entry in entries} == set(leased)


async def test_processes_may_create_the_queue_at_once(tmp_path: Path) -> None:
    """Of several that start on a fresh machine, none fails."""
    path = tmp_path / "data" / "queue.db"
    async with contextlib.AsyncExitStack() as stack:
        processes = [
            await stack.enter_async_context(a_process("open", path)) for _ in range(5)
        ]
        for process in processes:
            begin(process)

        async with asyncio.timeout(PATIENCE_SECONDS):
            codes = [await process.wait() for process in processes]

    assert codes == [0] * 5
