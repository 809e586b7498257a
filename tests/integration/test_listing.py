"""Long lists of a directory's recordings, which several processes make."""

# ruff: noqa: ASYNC240 - a test's own look at the disk may block

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from tests.bench import shelves
from tests.isolation import isolated_logs
from tests.unread import nobody_reads
from worker.__main__ import main
from worker.archives.directory import DirectoryArchive
from worker.cli.piping import READER_LEFT, readers_may_leave
from worker.clock import SystemClock
from worker.errors import ArchiveForbiddenError, ArchiveUnavailableError
from worker.ops import listing
from worker.ops.listing import Listing, in_order
from worker.ops.recording_rows import RecordingRow
from worker.ops.recordings import recordings_list
from worker.ports import Archive

DAYS = 4
A_DAY = 3


@asynccontextmanager
async def directory(root: Path) -> AsyncIterator[Archive]:
    async with DirectoryArchive(root, clock=SystemClock(), create=False) as archive:
        yield archive


@asynccontextmanager
async def refused(root: Path, *, but_to: int) -> AsyncIterator[Archive]:
    """A directory that is open to one process alone."""
    if os.getpid() != but_to:
        raise ArchiveForbiddenError("not yours", hint="recording-worker doctor")
    async with directory(root) as archive:
        yield archive


def by_whom(row: RecordingRow) -> tuple[str, int]:
    return row.recording, os.getpid()


def in_march(row: RecordingRow) -> str | None:
    return row.day if row.day != "2026/03/02" else None


def ended_elsewhere(row: RecordingRow, *, but: int) -> str:
    """As if the system took back the memory of whoever helps."""
    if os.getpid() != but:
        os.kill(os.getpid(), signal.SIGKILL)
    return row.recording


def processors(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Of Linux, and elsewhere."""
    own = set(range(count))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: own, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second day on."""
    processors(monkeypatch, 2)
    monkeypatch.setattr(listing, "ALONE", 1)
    # As a shell has it, and after the test.
    monkeypatch.setenv("PYTHONSAFEPATH", "")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some days of recordings, from the first of March on."""
    monkeypatch.setattr(shelves, "PER_DAY", A_DAY)
    for written in shelves.recordings(DAYS * A_DAY):
        shelves.put(tmp_path / "archive", written)
    return tmp_path / "archive"


@pytest.fixture
async def recordings(root: Path) -> list[str]:
    """As one process lists them."""
    async with directory(root) as archive:
        return [row.recording async for row in recordings_list(archive)]


@pytest.mark.usefixtures("two_processes")
async def test_several_processes_list_the_same_in_order(
    root: Path, recordings: list[str]
) -> None:
    """The first day is read here, the others elsewhere."""
    asked = Listing(opened=partial(directory, root), show=by_whom)

    shown = [each async for each in in_order(asked)]

    assert [recording for recording, _ in shown] == recordings
    own = os.getpid()
    assert [pid == own for _, pid in shown] == [True] * 3 + [False] * 9


async def test_short_list_starts_no_process(root: Path, recordings: list[str]) -> None:
    """It would take longer than all the rest."""
    asked = Listing(opened=partial(directory, root), show=by_whom)

    shown = [each async for each in in_order(asked)]

    assert shown == [(recording, os.getpid()) for recording in recordings]


@pytest.mark.usefixtures("two_processes")
@pytest.mark.skipif(sys.platform != "linux", reason="macOS holds no process to some")
async def test_long_list_starts_no_process_where_one_processor_is_all_it_may_use(
    root: Path, recordings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that was given one of many."""
    processors(monkeypatch, 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    asked = Listing(opened=partial(directory, root), show=by_whom)

    shown = [each async for each in in_order(asked)]

    assert shown == [(recording, os.getpid()) for recording in recordings]


@pytest.mark.usefixtures("two_processes")
async def test_what_is_not_to_be_shown_is_left_out_everywhere(root: Path) -> None:
    asked = Listing(opened=partial(directory, root), show=in_march, day="2026/03")

    shown = [each async for each in in_order(asked)]

    assert shown == [f"2026/03/{day:02}" for day in (1, 3, 4) for _ in range(A_DAY)]


@pytest.mark.usefixtures("two_processes")
async def test_process_that_is_killed_costs_no_line(
    root: Path, recordings: list[str]
) -> None:
    """What it should have read is read here."""
    show = partial(ended_elsewhere, but=os.getpid())
    asked = Listing(opened=partial(directory, root), show=show)

    shown = [each async for each in in_order(asked)]

    assert shown == recordings


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize("python", ["/bin/false", "/nowhere/python"])
async def test_process_that_does_not_start_costs_no_line(
    root: Path, recordings: list[str], python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at once, or the system has no room for another."""
    monkeypatch.setattr(sys, "executable", python)
    asked = Listing(opened=partial(directory, root), show=by_whom)

    shown = [each async for each in in_order(asked)]

    assert shown == [(recording, os.getpid()) for recording in recordings]


@pytest.mark.usefixtures("two_processes")
async def test_processes_import_nothing_of_the_folder_where_the_command_is_typed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may have put it there."""
    (tmp_path / "anyio.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    asked = Listing(opened=partial(directory, root), show=by_whom)

    pids = [pid async for _, pid in in_order(asked)]

    assert os.getpid() not in pids[A_DAY:]


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize("instead", [None, "an empty folder"])
async def test_archive_that_goes_meanwhile_is_no_short_list(
    root: Path, instead: str | None
) -> None:
    """As a disk does that is no longer mounted; and nothing is made in its place."""
    asked = Listing(opened=partial(directory, root), show=by_whom)
    every = in_order(asked)
    await anext(every)
    root.rename(root.with_name("unmounted"))
    if instead:
        root.mkdir()

    with pytest.raises(ArchiveUnavailableError):
        [each async for each in every]

    assert root.exists() == (instead is not None)


@pytest.mark.usefixtures("two_processes")
async def test_error_of_another_process_is_told_as_ones_own(root: Path) -> None:
    """With its hint."""
    opened = partial(refused, root, but_to=os.getpid())
    asked = Listing(opened=opened, show=by_whom)

    with pytest.raises(ArchiveForbiddenError, match="not yours") as caught:
        [each async for each in in_order(asked)]

    assert caught.value.hint == "recording-worker doctor"


@pytest.mark.usefixtures("two_processes")
def test_whoever_stops_early_leaves_no_process(root: Path) -> None:
    """As a reader does who has seen enough."""
    asked = Listing(opened=partial(directory, root), show=by_whom)

    async def first_elsewhere() -> int:
        async with aclosing(in_order(asked)) as every:
            async for _, pid in every:
                if pid != os.getpid():
                    return pid
        return never()

    pid = asyncio.run(first_elsewhere())

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_command_prints_what_others_read(
    root: Path,
    recordings: list[str],
    form: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All that it asks of them can be sent."""
    monkeypatch.setenv("WORKER_ARCHIVE", f"file:{root}")
    monkeypatch.setenv("WORKER_SOURCE_HOSTS", "127.0.0.1:1")

    with isolated_logs():
        code = main(["recordings", "list", *form])

    lines = capsys.readouterr().out.splitlines()
    header = () if form else ("RECORDING",)
    assert code == 0
    for text, line in zip((*header, *recordings), lines, strict=True):
        assert text in line


def test_reader_that_leaves_is_told_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `head` does: no trace of what was open."""
    monkeypatch.setenv("WORKER_ARCHIVE", f"file:{root}")
    monkeypatch.setenv("WORKER_SOURCE_HOSTS", "127.0.0.1:1")

    with isolated_logs(), nobody_reads(buffering=1) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit) as left, readers_may_leave():
            main(["recordings", "list", "--json"])

    assert (left.value.code, capsys.readouterr().err) == (READER_LEFT, "")


def never() -> NoReturn:
    raise AssertionError("nobody else looked")
