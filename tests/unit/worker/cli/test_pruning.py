"""`queue prune`."""

import asyncio
import io
import json
import sys
from datetime import timedelta

import pytest

from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import START
from tests.unit.worker.cli.conftest import Composed, Run
from worker.model import ChunkState


@pytest.fixture
def old(composed: Composed) -> Composed:
    """A chunk that came home, and one that died, in the past of the queue in memory."""

    async def fill() -> None:
        queue = composed.queue
        for name in ("home", "dead"):
            chunk = a_chunk(document_id=name, expires_at=START + timedelta(days=1))
            delivery = a_delivery(chunk, body=name.encode(), received_at=START)
            await queue.put(delivery)
        home, dead = await queue.lease(2)
        await queue.complete(home, ChunkState.DELETED, note="")
        await queue.dead_letter(dead, reason="source-expired", error="")

    asyncio.run(fill())
    return composed


def left(composed: Composed) -> int:
    return len(asyncio.run(composed.queue.list()))


def test_prune_says_what_it_removed_and_who(run: Run, old: Composed) -> None:
    """Counts, and a line in the log; the dead stay."""
    ended = run("queue", "prune", "--older-than", "30d")

    assert ended.code == 0
    fields = dict(line.split("  ", 1) for line in ended.out.splitlines())
    assert (fields["chunks"].strip(), fields["deliveries"].strip()) == ("1", "1")
    assert fields["removed"].strip() == "all of them"
    (line,) = map(json.loads, ended.err.splitlines())
    assert (line["event"], line["chunks"], line["deliveries"]) == ("queue.pruned", 1, 1)
    assert line["by"]
    assert left(old) == 1


def test_dry_run_of_a_prune_changes_and_logs_nothing(run: Run, old: Composed) -> None:
    """It counts what the other would remove."""
    ended = run("queue", "prune", "--older-than", "30d", "--dead", "--dry-run")

    assert (ended.code, ended.err) == (0, "")
    assert "chunks          2\n" in ended.out
    assert "dead too        yes\n" in ended.out
    assert "removed         nothing: a dry run\n" in ended.out
    assert left(old) == 2


def test_dead_are_removed_where_that_is_said(run: Run, old: Composed) -> None:
    """As JSON for a script."""
    ended = run("queue", "prune", "--older-than", "30d", "--dead", "--json")

    report = json.loads(ended.out)
    assert (report["entries"], report["dead"], report["dry_run"]) == (2, True, False)
    assert left(old) == 0


@pytest.mark.parametrize(
    "arguments", [[], ["--older-than", "2d"], ["--older-than", "soon"]]
)
def test_how_old_must_be_said_and_old_enough(
    run: Run, old: Composed, arguments: list[str]
) -> None:
    """Within three days something may still look at it."""
    assert run("queue", "prune", *arguments).code == 2
    assert left(old) == 2


def test_somebody_at_a_terminal_is_asked_first(
    run: Run, old: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much it is."""
    terminal = io.StringIO("n\n")
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)

    ended = run("queue", "prune", "--older-than", "30d")

    assert ended.code == 1
    assert "forget 1 chunk?" in ended.err
    assert left(old) == 2
    assert run("queue", "prune", "--older-than", "30d", "--yes").code == 0
    assert left(old) == 1
