"""`status`: once, for a scheduled job, or again and again."""

import asyncio
import io
import json
import sys
from datetime import timedelta

import pytest

from tests.factories import a_chunk, a_delivery, held_up
from tests.fakes.queue import MemoryQueue
from tests.unit.worker.cli.conftest import Composed, Run
from worker.clock import SystemClock
from worker.errors import ArchiveForbiddenError
from worker.model import ChunkState, HeldUp, QueueCounts


def put(composed: Composed, *, hours: float = 23.5, document_id: str = "d1") -> None:
    expires_at = SystemClock().now() + timedelta(hours=hours)
    chunk = a_chunk(document_id=document_id, expires_at=expires_at)
    asyncio.run(composed.queue.put(a_delivery(chunk)))


def end(composed: Composed, *, dead: bool, reason: str = "source-expired") -> None:
    async def settle() -> None:
        (lease,) = await composed.queue.lease(1)
        if dead:
            await composed.queue.dead_letter(lease, reason=reason, error="")
        else:
            await composed.queue.complete(lease, ChunkState.DELETED, note="")

    asyncio.run(settle())


class Ending:
    """A clock whose sleeper has seen enough at the second look."""

    def __init__(self, *, looks: int = 2) -> None:
        self.slept: list[float] = []
        self._looks = looks

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) >= self._looks:
            raise KeyboardInterrupt


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Ending:
    ending = Ending()
    monkeypatch.setattr(SystemClock, "sleep", lambda _, s: ending.sleep(s))
    return ending


def test_status_tells_the_rate_and_a_pause(run: Run, composed: Composed) -> None:
    """Below the counts; with the command that ends the pause."""
    put(composed)
    end(composed, dead=False)
    put(composed, document_id="d2")
    composed.queue.clock = SystemClock()
    run("pause", "--reason", "why")

    ended = run("status")

    assert ended.code == 0
    assert "\nrate    0 chunks, 0 B in 15 min (0 per hour, 0 B/s)\n" in ended.out
    assert "\npaused  since " in ended.out
    assert ": why\n" in ended.out
    assert ended.err == "hint: recording-worker resume\n"


def test_status_says_when_it_is_done(
    run: Run, composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the rate of late."""
    put(composed)
    put(composed, document_id="d2", hours=30)
    end(composed, dead=False)

    async def one(*_: object, **__: object) -> list[str]:
        return ["d1"]

    monkeypatch.setattr(MemoryQueue, "settled", one)

    out = run("status").out

    assert "rate  1 chunk, 0 B in 15 min (4 per hour, 0 B/s)\n" in out
    assert "done  in 15 min, at this rate\n" in out


def test_check_is_quiet_where_all_is_well(run: Run, composed: Composed) -> None:
    """A scheduler mails what is printed."""
    put(composed)

    ended = run("status", "--check")

    assert (ended.code, ended.out, ended.err) == (0, "", "")


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_check_is_one_line_where_something_needs_attention(
    run: Run, composed: Composed, option: list[str]
) -> None:
    """With all that there is to know, exit 3."""
    put(composed)
    end(composed, dead=True)

    ended = run("status", "--check", *option)

    assert (ended.code, ended.err) == (3, "")
    (line,) = ended.out.splitlines()
    if option:
        assert json.loads(line)["dead"] == 1
    else:
        assert ", 1 dead (source-expired 1), 0 at risk, " in line


def test_check_says_if_nobody_can_tell(run: Run, composed: Composed) -> None:
    """Exit 1: all may be well, or not."""
    put(composed)
    composed.archive.fail_next(ArchiveForbiddenError("no access"), on="list", times=2)

    ended = run("status", "--check")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "error: no access\nhint: recording-worker config\n"
    out = run("status").out
    assert "paused  nobody can tell: no access" in out
    assert "rate    0 chunks in 15 min (0 per hour)" in out


@pytest.mark.parametrize("is_dead", [True, False])
def test_check_that_is_verbose_logs_that_it_was_made(
    run: Run, composed: Composed, *, is_dead: bool
) -> None:
    """Whoever misses that line knows that nobody looks any more."""
    put(composed)
    if is_dead:
        end(composed, dead=True)

    ended = run("--verbose", "status", "--check")

    (said,) = [
        json.loads(line)
        for line in ended.err.splitlines()
        if '"status.checked"' in line
    ]
    del said["ts"]
    assert said == {
        "level": "info",
        "event": "status.checked",
        "outcome": "attention" if is_dead else "fine",
        "pending": 0 if is_dead else 1,
        "dead": 1 if is_dead else 0,
        "at_risk": 0,
        "paused": False,
    }


def test_watch_prints_a_line_for_each_look(
    run: Run, composed: Composed, ending: Ending
) -> None:
    """Where there is no terminal; whoever interrupts it has seen enough: exit 0."""
    put(composed)

    ended = run("status", "--watch", "--interval", "7")

    assert (ended.code, ended.err) == (0, "")
    first, second = ended.out.splitlines()
    for line in (first, second):
        assert "Z  1 pending, 0 in flight, 0 archived, 0 deleted, 0 dead, 0" in line
        assert ", first expires in 23 h, 0 chunks, 0 B in 15 min" in line
    assert ending.slept == [7, 7]


@pytest.mark.usefixtures("ending")
def test_watch_as_json_lines(run: Run, composed: Composed) -> None:
    """One document for each look."""
    put(composed)

    lines = run("status", "--watch", "--json").out.splitlines()

    assert [json.loads(line)["pending"] for line in lines] == [1, 1]


@pytest.mark.usefixtures("ending")
def test_watch_goes_on_when_the_queue_is_in_trouble(
    run: Run, composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and asked again."""
    counts = MemoryQueue.counts

    async def once_in_trouble(
        queue: MemoryQueue, *, at_risk_within: timedelta
    ) -> QueueCounts:
        monkeypatch.setattr(MemoryQueue, "counts", counts)
        queue.trouble = "disk I/O error"
        try:
            return await counts(queue, at_risk_within=at_risk_within)
        finally:
            queue.trouble = None

    monkeypatch.setattr(MemoryQueue, "counts", once_in_trouble)

    ended = run("status", "--watch")

    assert ended.err == "error: disk I/O error\n"
    assert len(ended.out.splitlines()) == 1
    assert composed.queue.trouble is None


@pytest.mark.usefixtures("ending")
def test_watch_on_a_terminal_keeps_its_place(
    run: Run, composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One table, drawn over."""
    put(composed)
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")

    assert run("status", "--watch").code == 0

    drawn = screen.getvalue()
    assert drawn.count("in flight") >= 2
    assert "\x1b[1A" in drawn
    assert "rate    0 chunks" in drawn


def test_watch_and_check_exclude_each_other(run: Run) -> None:
    """One is for people, one for machines."""
    assert run("status", "--watch", "--check").code == 2


def test_line_is_safe_on_a_terminal(run: Run, composed: Composed) -> None:
    """A reason in a poisoned message may hold anything."""
    put(composed)
    end(composed, dead=True, reason="\x1b[2J")

    assert "1 dead (\N{REPLACEMENT CHARACTER}[2J 1)" in run("status", "--check").out


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (
            (held_up(4, error="HTTP 403"),),
            ": 4 chunks with source-forbidden (HTTP 403); goes on by itself, within 10",
        ),
        (
            (held_up(3, "token-unavailable", error=""),),
            ": 3 chunks with token-unavailable; goes on by itself, within 10",
        ),
        (None, "can't tell; a consumer's log (consumer.paused) and its /health can"),
    ],
)
def test_status_tells_what_holds_chunks_up(
    run: Run, composed: Composed, held: tuple[HeldUp, ...] | None, told: str
) -> None:
    """Whom, since when, why, and what ends it; or that this queue can't."""
    put(composed)
    composed.queue.held = held

    ended = run("status")
    line = run("status", "--json").out

    assert "done     nobody can tell\n" in ended.out
    assert told in ended.out
    assert ended.err == "hint: recording-worker doctor\n"
    assert bool(json.loads(line)["held_up"]) is bool(held)
    if held:
        assert "\nheld up  credential of calls since 2026-03-01 " in ended.out
