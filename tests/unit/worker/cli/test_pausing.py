"""`pause` and `resume`."""

import json

import pytest

from tests.unit.worker.cli.conftest import Composed, Run


def test_pause_says_what_is_so_now_and_who_said_it(
    run: Run, composed: Composed
) -> None:
    """With the command that ends it, and a line in the log."""
    ended = run("pause", "--reason", "storage is moved")

    assert ended.code == 0
    fields = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert fields["work"] == "is paused"
    assert fields["reason"] == "storage is moved"
    assert fields["next"] == "recording-worker resume"
    assert fields["since"].endswith("(0 s ago)")
    (line,) = map(json.loads, ended.err.splitlines())
    assert (line["event"], line["reason"]) == ("work.paused", "storage is moved")
    assert line["by"] == fields["by"]
    assert list(composed.archive.objects) == ["control/000001.json"]


def test_what_is_so_already_is_told(run: Run) -> None:
    """Exit 0 and no line in the log: nothing was done."""
    run("pause", "--reason", "first")

    ended = run("pause", "--reason", "second")

    assert (ended.code, ended.err) == (0, "")
    assert "work    is paused already" in ended.out
    assert "reason  first" in ended.out


def test_resume_has_work_go_on(run: Run) -> None:
    """As JSON for a script."""
    run("pause", "--reason", "first")

    ended = run("resume", "--json")

    report = json.loads(ended.out)
    assert (ended.code, report["paused"], report["changed"]) == (0, False, True)
    assert json.loads(ended.err)["event"] == "work.resumed"
    again = run("resume").out
    assert "is going on already" in again
    assert again.rstrip().endswith("recording-worker doctor")


def test_dry_run_changes_nothing(run: Run, composed: Composed) -> None:
    """And says so."""
    ended = run("pause", "--reason", "x", "--dry-run")

    assert (ended.code, ended.err) == (0, "")
    assert "would be paused" in ended.out
    assert composed.archive.objects == {}


@pytest.mark.parametrize(
    "arguments", [["pause"], ["pause", "x"], ["pause", "--reason", " "]]
)
def test_pause_without_a_reason_is_no_pause(run: Run, arguments: list[str]) -> None:
    """Whoever finds it so must learn why."""
    assert run(*arguments).code == 2
