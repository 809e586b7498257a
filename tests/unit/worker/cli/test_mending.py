"""`queue redrive` and `queue release`, and the hints of `queue list`."""

import asyncio
import io
import json
import re
import sys

import pytest

from tests.factories import a_delivery, some_chunks
from tests.fakes.clock import ManualClock
from tests.fakes.queue import MemoryQueue
from tests.unit.worker.cli.conftest import Composed, Run
from worker.model import ChunkState, QueuedChunk, Redriven


@pytest.fixture
def queue(composed: Composed) -> MemoryQueue:
    """Three chunks: two dead, of two reasons, one held by a worker."""

    async def fill(queue: MemoryQueue) -> None:
        await queue.put(a_delivery(*some_chunks(3)))
        first, second, _ = await queue.lease(3)
        await queue.dead_letter(first, reason="no-credential", error="none\x1b[2J")
        await queue.dead_letter(second, reason="source-expired", error="404")

    composed.queue = MemoryQueue(clock=ManualClock(), worker="w1")
    asyncio.run(fill(composed.queue))
    return composed.queue


def states(queue: MemoryQueue) -> list[ChunkState]:
    return sorted(entry.state for entry in asyncio.run(queue.list()))


def says(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Somebody sits at a terminal."""
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)


def test_list_is_filtered(run: Run, queue: MemoryQueue) -> None:
    """By reason, call, age and time left."""
    assert len(asyncio.run(queue.list())) == 3

    def listed(*filters: str) -> int:
        return len(run("queue", "list", "--json", *filters).out.splitlines())

    assert listed("--reason", "no-credential", "--reason", "source-expired") == 2
    assert listed("--state", "dead", "--reason", "source-expired") == 1
    assert listed("--call", "call-1") == 3
    assert listed("--call", "nobody") == 0
    assert listed("--older-than", "2h") == 3
    assert listed("--within", "6h") == 3


@pytest.mark.parametrize(
    "empty",
    [
        ("redrive", "--reason", "no-credential", "--call", ""),
        ("redrive", "--within", "6h", "--reason", " "),
        ("release", "--worker", ""),
        ("list", "--call", ""),
    ],
)
def test_empty_filter_means_nothing(
    run: Run, queue: MemoryQueue, empty: tuple[str, ...]
) -> None:
    """As of a variable that is not set: beside another filter it would mean any."""
    before = states(queue)

    refused = run("queue", *empty)

    assert (refused.code, refused.out) == (2, "")
    assert "it is empty" in refused.err
    assert states(queue) == before


def test_list_ends_with_what_helps(run: Run, queue: MemoryQueue) -> None:
    """A command for each reason of the dead; the reason is a comment in a shell."""
    ended = run("queue", "list")

    recording = asyncio.run(queue.list())[0].chunk.recording
    assert ended.err.splitlines() == [
        f"hint: recording-worker recordings show {recording}  # 1 source-expired",
        "hint: recording-worker config --for consume  # 1 no-credential",
    ]


def test_show_says_what_helps(run: Run, queue: MemoryQueue) -> None:
    """First the cause, then the chunk."""
    (dead,) = asyncio.run(queue.list(only=lambda e: e.reason == "no-credential"))

    out = run("queue", "show", dead.row).out

    assert re.findall(r"^hint +(.*)$", out, re.MULTILINE) == [
        "recording-worker config --for consume",
        f"recording-worker queue redrive {dead.row}",
    ]


def test_redrive_says_what_it_did_and_who(run: Run, queue: MemoryQueue) -> None:
    """A line for each, an end, and one in the log."""
    ended = run("queue", "redrive", "--reason", "no-credential")

    assert ended.code == 0
    first, _, *end = ended.out.splitlines()
    assert re.match(r"redriven +[0-9a-f]{8}  .*, was dead of no-credential, exp", first)
    assert end == ["redriven  1", "next      recording-worker status"]
    (line,) = map(json.loads, ended.err.splitlines())
    assert (line["event"], line["chunks"], line["left"]) == ("queue.redriven", 1, 0)
    assert line["by"]
    assert states(queue).count(ChunkState.DEAD) == 1


def test_redrive_of_all_must_be_said(run: Run, queue: MemoryQueue) -> None:
    """Nothing said means nothing."""
    ended = run("queue", "redrive")
    assert (ended.code, ended.out) == (2, "")
    assert "say which: ids, a filter, or --all" in ended.err
    both = run("queue", "redrive", "--all", "--reason", "x")
    assert (both.code, both.out) == (2, "")
    assert states(queue).count(ChunkState.DEAD) == 2

    ended = run("queue", "redrive", "--all", "--json")

    assert ended.code == 0
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["outcome"] for row in rows] == ["redriven", "redriven"]
    assert ChunkState.DEAD not in states(queue)


def test_dry_run_of_a_redrive_changes_and_logs_nothing(
    run: Run, queue: MemoryQueue
) -> None:
    """It says the same as the other would."""
    ended = run("queue", "redrive", "--all", "--dry-run")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("would-redrive") == 2
    assert ended.out.endswith("to be redriven  2\n")
    assert states(queue).count(ChunkState.DEAD) == 2


def test_filter_that_matches_nothing_says_so(run: Run, queue: MemoryQueue) -> None:
    """And means nobody."""
    ended = run("queue", "redrive", "--reason", "throttled")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "nothing to redrive: no chunk is meant\n"
    assert states(queue).count(ChunkState.DEAD) == 2


def test_unknown_id_is_one_line(run: Run, queue: MemoryQueue) -> None:
    """Exit 1, and nothing was done."""
    ended = run("queue", "redrive", "call-1", "nobody")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "error: the queue knows no 'nobody'\nhint: recording-worker queue list\n"
    )
    assert states(queue).count(ChunkState.DEAD) == 2


def test_chunk_that_can_not_be_read_needs_attention(
    run: Run, queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 3, and how many are left."""

    async def unreadable(_: MemoryQueue, __: QueuedChunk) -> Redriven:
        return Redriven.UNREADABLE

    assert ChunkState.DEAD in states(queue)
    monkeypatch.setattr(MemoryQueue, "redrive", unreadable)

    ended = run("queue", "redrive", "--all")

    assert ended.code == 3
    assert ended.out.splitlines()[-2:] == ["redriven  0", "left      2"]


@pytest.mark.parametrize(
    ("answer", "code", "dead"), [("y\n", 0, 0), ("n\n", 1, 2), ("", 1, 2)]
)
def test_somebody_at_a_terminal_is_asked(
    run: Run,
    queue: MemoryQueue,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    dead: int,
) -> None:
    """How many it is, before anything is changed."""
    says(monkeypatch, answer)

    ended = run("queue", "redrive", "--all")

    assert ended.code == code
    assert "redrive 2 of them?" in ended.err
    assert ("nothing was changed" in ended.err) is (code == 1)
    assert states(queue).count(ChunkState.DEAD) == dead


@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
def test_who_said_yes_is_not_asked(
    run: Run, queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """Nor is who only looks."""
    says(monkeypatch, "")

    assert run("queue", "redrive", "--all", option).code == 0
    assert states(queue).count(ChunkState.DEAD) in {0, 2}


def test_nobody_is_asked_about_nothing(
    run: Run, queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to say no to; an id and a filter mean what is both."""
    says(monkeypatch, "")

    for more in (["--reason", "throttled"], ["call-1", "--reason", "throttled"]):
        ended = run("queue", "redrive", *more)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out == "nothing to redrive: no chunk is meant\n"
    assert states(queue).count(ChunkState.DEAD) == 2


def test_release_gives_back_what_a_worker_held(run: Run, queue: MemoryQueue) -> None:
    """Told by its name; another worker's name means nothing."""
    assert "nothing to release" in run("queue", "release", "--worker", "w2").out

    ended = run("queue", "release", "--worker", "w1")

    assert ended.code == 0
    assert re.match(r"released +[0-9a-f]{8}  .* was leased with w1, exp", ended.out)
    assert json.loads(ended.err)["event"] == "queue.released"
    assert ChunkState.LEASED not in states(queue)
    assert run("queue", "release").code == 2


def test_storage_queue_does_not_know_who_holds_what(
    run: Run, queue: MemoryQueue
) -> None:
    """One line says so, and what can be named instead."""
    queue.keeps_waiting = False

    ended = run("queue", "release", "--worker", "w1")

    assert (ended.code, ended.out) == (1, "")
    assert "within WORKER_LEASE_SECONDS" in ended.err
    assert "hint: recording-worker queue list --state pending" in ended.err
