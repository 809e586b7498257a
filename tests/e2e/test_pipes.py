"""Commands whose output nobody reads to its end, as with `recordings audit ID | head`."""

import asyncio
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from samples import events_dir
from tests.e2e.worker_process import COMMAND
from tests.unread import nobody_reads
from worker import names
from worker.clock import SystemClock
from worker.model import ChunkKey
from worker.queues.sqlite import SqliteQueue

ENVIRONMENT = {"PATH": os.environ["PATH"], "WORKER_SOURCE_HOSTS": "127.0.0.1:7700"}
MORE_THAN_A_BUFFER = 200
"""Problems whose lines no buffer of 8 KiB holds back until the end."""
FULL = Path("/dev/full")
takes_a_full_disk = pytest.mark.skipif(
    not FULL.exists(), reason="takes /dev/full, which macOS has not"
)
ONE_CHUNK = events_dir() / "one-chunk.event-grid.json"


@pytest.fixture
def unread() -> Iterator[int]:
    """A pipe whose reader has left."""
    with nobody_reads() as stream:
        yield stream.fileno()


def ended(
    folder: Path, arguments: str, *, output: int, errors: int = subprocess.PIPE
) -> tuple[int, str | None]:
    """How the command ends that writes there, and what it says."""
    process = subprocess.run(  # noqa: S603 - our own words
        [*COMMAND, *arguments.split()],
        check=False,
        stdout=output,
        stderr=errors,
        cwd=folder,
        env=ENVIRONMENT,
        text=True,
    )
    return process.returncode, process.stderr


def damage(folder: Path, receipts: int) -> None:
    """So many problems for `verify`."""
    for number in range(receipts):
        receipt = folder / "data/archive" / names.receipt_name(ChunkKey(f"d{number}"))
        receipt.parent.mkdir(parents=True, exist_ok=True)
        receipt.write_text("torn")


async def make_queue(folder: Path) -> None:
    path = folder / "data/queue.db"
    clock, dice = SystemClock(), random.Random(0)  # noqa: S311 - no secret
    async with SqliteQueue(path, clock=clock, worker="test", random=dice) as queue:
        await queue.ready()


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "config --for webhook",
        "config --json --for webhook",
        "recordings list",
        "status --watch",
        "recordings verify --all",
    ],
)
def test_reader_that_left_is_no_error(
    tmp_path: Path, unread: int, arguments: str
) -> None:
    """It ends without a word, as other tools do, however much it had to say."""
    (tmp_path / "data/archive").mkdir(parents=True)
    asyncio.run(make_queue(tmp_path))

    assert ended(tmp_path, arguments, output=unread) == (141, "")


def test_reader_of_everything_that_left_costs_no_work(
    tmp_path: Path, unread: int
) -> None:
    """As with `replay FILE 2>&1 | head`: what is said on the way comes before the output."""
    code, _ = ended(
        tmp_path, f"replay {ONE_CHUNK} --simulate", output=unread, errors=unread
    )

    assert code == 141
    assert list((tmp_path / "data/archive/receipts").rglob("*.source-deleted.json"))


@pytest.mark.parametrize("receipts", [1, MORE_THAN_A_BUFFER])
def test_reader_that_left_hides_no_problem(
    tmp_path: Path, unread: int, receipts: int
) -> None:
    """The code tells of it, and the report keeps what was found, in the middle or at the end."""
    damage(tmp_path, receipts)

    code, said = ended(tmp_path, "recordings verify --all", output=unread)

    kept = (tmp_path / "data/archive/reports/verify").rglob("*.json")
    assert code == 3
    assert "recordings.verified" in str(said)
    assert any('"altered"' in file.read_text() for file in kept)


@takes_a_full_disk
@pytest.mark.parametrize("arguments", ["--version", "config --json --for webhook"])
def test_output_that_can_not_be_written_is_an_error(
    tmp_path: Path, arguments: str
) -> None:
    """In the words of other tools, with the command that shows where the space went."""
    with FULL.open("w") as full:
        code, said = ended(tmp_path, arguments, output=full.fileno())

    assert code == 1
    assert said == (
        "error: write error on standard output: No space left on device\nhint: df -h\n"
    )


@takes_a_full_disk
def test_words_that_find_no_room_cost_no_work(tmp_path: Path) -> None:
    """As with `2> FILE` on a full disk: a recording is worth more than what is said of it."""
    arguments = f"replay {ONE_CHUNK} --simulate"
    with FULL.open("w") as full:
        code, _ = ended(
            tmp_path, arguments, output=subprocess.DEVNULL, errors=full.fileno()
        )

    assert code == 0
    assert list((tmp_path / "data/archive/receipts").rglob("*.source-deleted.json"))
