"""The fuzzers find what there is to find, and say how to see it again."""

import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz import blind, runs, table
from tests.fuzz.runs import Limits
from tests.fuzz.target import Target
from tests.isolation import isolated_logs

HAS_ATHERIS = (
    sys.platform == "linux"
    and platform.machine() == "x86_64"
    and sys.version_info < (3, 14)
)
"""As tests/requirements.in has it: there it has to be, and elsewhere it can't."""
GUIDED = pytest.mark.skipif(not HAS_ATHERIS, reason="atheris is not for this platform")
RUNS = 2000


@GUIDED
@pytest.mark.timeout(120)
def test_guided_run_over_all_targets_finds_nothing(tmp_path: Path) -> None:
    """Short, and the same each time: by its seed and its number of inputs, not by a clock."""
    run = runs.fuzz(table.ALL.name, Limits(runs=RUNS, seed=1), folder=tmp_path)

    assert run.why is None, f"{run.why}\nhint: {_hint(run.crash)}"
    assert run.inputs == RUNS
    assert run.edges is not None
    assert run.edges > 1000


def _hint(crash: Path | None) -> str:
    """A crash of all targets is one of the target that its first byte chooses."""
    return runs.command_for(table.ALL.name, crash) if crash else ""


@GUIDED
def test_planted_bug_is_found_and_can_be_seen_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, the traceback, and a command that ends in the same one."""
    arguments = ["--only", "planted", "--runs", "200000", "--seed", "1"]

    assert command.main([*arguments, "--folder", str(tmp_path)]) == 1

    out = capsys.readouterr().out
    assert "LookupError: the planted bug" in out
    found = re.search(r"^hint: \S+ (.+)$", out, re.MULTILINE)
    assert found is not None
    again = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, *shlex.split(found[1])],
        cwd=runs.ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=25,
    )
    assert again.returncode == 1
    assert "LookupError: the planted bug" in again.stderr


def test_input_that_keeps_the_promise_is_said_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once a bug is mended, the same command says so."""
    (tmp_path / "input").write_bytes(b"mended")

    with isolated_logs():
        code = command.main(["--reproduce", "planted", str(tmp_path / "input")])

    assert code == 0
    assert "planted keeps its promise" in capsys.readouterr().out


def test_blind_run_stands_in_where_none_is_guided(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It has luck alone, finds less, and reports as the other does."""
    with isolated_logs():
        code = blind.main(["mp3", "-runs=200", "-seed=1"])

    assert code == 0
    assert "number_of_executed_units: 200" in capsys.readouterr().err


def test_blind_run_keeps_what_breaks_a_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The input lies in a file, and the output says in which."""

    def check(data: bytes) -> None:
        assert len(data) < 9, "too long"

    target = Target(name="short", check=check, seeds=lambda: [b"12345678"])

    code = blind.run(target, {"seed": "1", "artifact_prefix": f"{tmp_path}/"})

    [kept] = tmp_path.iterdir()
    said = capsys.readouterr()
    assert code == blind.BROKEN
    assert len(kept.read_bytes()) >= 9
    assert f"Test unit written to {kept}" in said.err
    assert "AssertionError: too long" in said.out
