"""`recordings verify`: what may be asked, what is printed, how it ends."""

import asyncio
import json
from collections.abc import Callable

import pytest

from tests.fakes.archive import MemoryArchive
from tests.unit.worker.cli.conftest import Composed, Run
from tests.unit.worker.ops.test_verifying import archived, tombstone_of
from worker import names
from worker.cli import printing
from worker.ops import verify_run
from worker.stored import Receipt


@pytest.fixture
def receipts(composed: Composed) -> list[Receipt]:
    return asyncio.run(archived(composed.archive))


@pytest.mark.usefixtures("receipts")
def test_whole_archive_is_verified(run: Run, composed: Composed) -> None:
    """In a few lines, the last of which says where the report is."""
    ended = run("recordings", "verify", "--all")

    lines = [line.split(maxsplit=1) for line in ended.out.splitlines()]
    assert ended.code == 0
    assert lines[:3] == [
        ["verified", "2 chunks, 1 recording"],
        ["hashed", "4 objects, 30 B"],
        ["problems", "none"],
    ]
    assert lines[3][0] == "report"
    assert [name for name in composed.archive.objects if name.startswith(lines[3][1])]


def test_problem_is_a_line_and_an_exit_code(
    run: Run, composed: Composed, receipts: list[Receipt]
) -> None:
    """As lines for people, as documents for machines; either ends with 3."""
    composed.archive.corrupt(receipts[0].content.name)
    composed.archive.lose(receipts[1].content.name)

    people = run("recordings", "verify", "--all")
    machine = run("recordings", "verify", "--all", "--json", "--no-report")

    assert (people.code, machine.code) == (3, 3)
    name = receipts[0].content.name
    assert f"altered     content    {name}: other bytes" in people.out
    assert "altered   1\nmissing   1\n" in people.out
    *problems, summary = map(json.loads, machine.out.splitlines())
    assert sorted(problem["kind"] for problem in problems) == ["altered", "missing"]
    assert summary["tally"]["problems"] == {"altered": 1, "missing": 1}
    assert (summary["scope"], summary["report"]) == ("all", None)
    assert '"event": "recordings.verified"' in machine.err


@pytest.mark.parametrize("problems", [0, 1])
def test_reader_that_leaves_takes_no_problem_with_it(
    run: Run,
    composed: Composed,
    receipts: list[Receipt],
    monkeypatch: pytest.MonkeyPatch,
    problems: int,
) -> None:
    """What was found by then is in a part of the report; where nothing was, all is said."""
    for receipt in receipts[:problems]:
        composed.archive.lose(receipt.content.name)

    def nobody_reads(_: str = "") -> None:
        raise SystemExit

    monkeypatch.setattr(printing, "print_line", nobody_reads)

    with pytest.raises(SystemExit):
        run("recordings", "verify", "--all")

    kept = [
        json.loads(data)
        for name, data in composed.archive.objects.items()
        if name.startswith(names.VERIFICATIONS) and "/0" in name
    ]
    assert sum(len(part["problems"]) for part in kept) == problems


@pytest.mark.parametrize("of", ["call-1", "--all", "--sample=2", "--sample=100%"])
@pytest.mark.usefixtures("receipts")
def test_verify_can_be_of_some(run: Run, of: str) -> None:
    """One recording by any id, a number of chunks, a share of them."""
    ended = run("recordings", "verify", of, "--no-report", "--json")

    assert ended.code == 0
    assert json.loads(ended.out)["tally"]["chunks"] == 2


@pytest.mark.usefixtures("receipts")
def test_since_is_a_day_or_a_span(run: Run) -> None:
    """What was archived before is passed over."""
    old = run("recordings", "verify", "--since", "2026-03-01", "--json").out
    new = run("recordings", "verify", "--since", "2026-03-02", "--json").out

    assert json.loads(old)["tally"]["chunks"] == 2
    assert json.loads(new)["tally"]["chunks"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["call-1", "--all"],
        ["--sample", "many"],
        ["--sample", "x%"],
        ["--all", "--kept-days", "0"],
    ],
)
def test_verify_says_what_it_wants(run: Run, arguments: list[str]) -> None:
    """Nothing never means everything."""
    ended = run("recordings", "verify", *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("hint: recording-worker recordings verify --help\n")


def test_unknown_id_is_not_verified(run: Run) -> None:
    """Not even as nothing to complain about."""
    ended = run("recordings", "verify", "nobody")

    assert ended.code == 1
    assert "knows no 'nobody'" in ended.err


def test_rule_of_the_operator_explains_what_is_gone(
    run: Run, composed: Composed, receipts: list[Receipt]
) -> None:
    """And tombstones what was erased: both are counted, neither is a problem."""
    composed.archive.lose(receipts[0].content.name)
    lost = receipts[1]
    assert lost.metadata
    for name in (lost.content.name, lost.metadata.name, names.receipt_name(lost.key)):
        composed.archive.lose(name)
    tombstone = composed.archive.create(names.erased_name(lost.key), tombstone_of(lost))
    asyncio.run(tombstone)

    ended = run("recordings", "verify", "--all", "--kept-days", "30")

    assert ended.code == 0
    assert "erased           1\nexpired by rule  1\n" in ended.out


@pytest.mark.usefixtures("receipts")
def test_run_that_was_killed_is_gone_on_with(
    run: Run, composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so; `--anew` begins another."""
    monkeypatch.setattr(verify_run, "PART_CHUNKS", 1)
    kill = kill_at_second_part(composed.archive)
    with monkeypatch.context() as killing:
        killing.setattr(composed.archive, "create", kill)
        assert run("recordings", "verify", "--all").code == 1

    again = run("recordings", "verify", "--all", "--json")
    anew = run("recordings", "verify", "--all", "--anew", "--json")

    assert "going on with the run of 20" in again.err
    assert json.loads(again.out)["tally"]["chunks"] == 2
    assert "going on" not in anew.err


def kill_at_second_part(archive: MemoryArchive) -> Callable[[str, bytes], object]:
    create = archive.create

    def killed(name: str, data: bytes) -> object:
        if "/000002-" in name:
            raise OSError("killed")
        return create(name, data)

    return killed


@pytest.mark.usefixtures("receipts")
def test_progress_shows_on_a_terminal_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr: stdout stays for what was found."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    ended = run("recordings", "verify", "--all")

    assert "100%" in ended.err
    assert "30 B" in ended.err
    assert "100%" not in ended.out
