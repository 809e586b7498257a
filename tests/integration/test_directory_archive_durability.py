"""The directory archive's order of steps: killed at any of them it leaves nothing or all."""

import asyncio
import fcntl
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.clock import ManualClock
from worker.archives import directory_writer
from worker.archives.directory import DirectoryArchive
from worker.errors import AlreadyExistsError

BLOCK_BYTES = 4096
NAME = "recordings/2026/object.bin"
PATIENCE_S = 10
KILLED_WRITER = Path(__file__).with_name("killed_writer.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
async def archive(root: Path) -> AsyncIterator[DirectoryArchive]:
    opened = DirectoryArchive(
        root, clock=ManualClock(), reserve_bytes=0, block_bytes=BLOCK_BYTES
    )
    async with opened:
        yield opened


async def test_durable_before_visible_and_visible_before_done(
    archive: DirectoryArchive, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced before it is linked, its folder after, each new folder's parent too."""
    steps: list[str] = []
    fsync, link, mkdir, unlink = os.fsync, os.link, os.mkdir, os.unlink

    def path_of(descriptor: int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 - one look
        relative = path.relative_to(root).as_posix()
        return "staged" if relative.startswith(".staging/") else relative

    def synced(descriptor: int) -> None:
        steps.append(f"sync {path_of(descriptor)}")
        fsync(descriptor)

    def linked(source: str, leaf: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append(f"link {path_of(dst_dir_fd)}/{leaf}")
        link(source, leaf, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def made(name: str, mode: int, *, dir_fd: int) -> None:
        mkdir(name, mode, dir_fd=dir_fd)
        steps.append(f"mkdir {path_of(dir_fd)}/{name}")

    def unlinked(name: str, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        steps.append("unlink staged")

    (root / "a").mkdir()  # by a process that may have died before its own sync
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "mkdir", made)
    monkeypatch.setattr(os, "unlink", unlinked)
    await archive.create("a/b/object", b"data")
    first, steps[:] = list(steps), []
    await archive.create("a/b/other", b"data")

    assert first == [
        "sync staged",
        "sync .",
        "mkdir a/b",
        "sync a",
        "link a/b/object",
        "sync a/b",
        "unlink staged",
    ]
    assert steps == ["sync staged", "link a/b/other", "sync a/b", "unlink staged"]


async def test_name_that_is_taken_is_durable_before_it_is_said_to_be(
    archive: DirectoryArchive, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer's link may not be synced yet, and whoever is told trusts it."""
    await archive.create("a/object", b"data")
    fsync = os.fsync
    synced: list[str] = []

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 - one look
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)

    with pytest.raises(AlreadyExistsError):
        await archive.create("a/object", b"data")

    assert synced[-1] == str(root / "a")


async def test_killed_at_any_system_call_it_leaves_nothing_or_all(
    tmp_path: Path,
) -> None:
    """A process killed after each of its system calls leaves no object or the whole one.

    The next start sweeps what was staged, and the object can be stored again.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(KILLED_WRITER), str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path.cwd(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    output, _ = await process.communicate()
    lines = output.decode().splitlines()
    lives = [json.loads(line) for line in lines if line.startswith("{")]

    assert process.returncode == 0
    assert {life["left"] for life in lives} == {"nothing", "whole"}
    left = [life["left"] for life in lives]
    assert left == sorted(left)
    assert [life["killed"] for life in lives] == [True] * (len(lives) - 1) + [False]
    assert left[-1] == "whole"
    assert len(lives) > 30


async def test_where_a_sync_is_not_enough_the_drive_is_flushed(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS the file is synced through the drive's own cache."""
    commands: list[int] = []
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda _, command: commands.append(command))

    await archive.create(NAME, b"data")

    assert commands == [51]


async def test_without_a_data_sync_the_whole_file_is_synced(
    archive: DirectoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that has no fdatasync is good enough."""
    monkeypatch.setattr(directory_writer, "SYNC_BYTES", BLOCK_BYTES)
    monkeypatch.delattr(os, "fdatasync")

    async with archive.writer(NAME) as writer:
        await writer.write(0, bytes(BLOCK_BYTES))
        await writer.commit(size=BLOCK_BYTES)

    assert await archive.read(NAME) == bytes(BLOCK_BYTES)
