"""Fuzzers as processes of their own: started, read, and what they found kept."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import table

ROOT = Path(__file__).parents[2]
IS_GUIDED = importlib.util.find_spec("atheris") is not None
DRIVER = "tests.fuzz.guided" if IS_GUIDED else "tests.fuzz.blind"
LONGEST_INPUT_SECONDS = 20
"""Inputs take milliseconds; this is where one takes for ever."""
MOST_MEMORY_MIB = 1024
MOST_LINES = 60
_EXTRA_SECONDS = 300
_INPUTS = re.compile(r"^stat::number_of_executed_units:\s+(\d+)", re.MULTILINE)
_PACE = re.compile(r"^stat::average_exec_per_sec:\s+(\d+)", re.MULTILINE)
_KEPT = re.compile(r"Test unit written to (.+)$", re.MULTILINE)
_PROGRESS = re.compile(r"^#(\d+)\s", re.MULTILINE)
_EDGES = re.compile(r"^#\d+\s.*? cov: (\d+) ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long each target is fuzzed; what is None does not end it."""

    seconds: int | None = None
    runs: int | None = None
    seed: int | None = None

    def options(self) -> list[str]:
        named = {"max_total_time": self.seconds, "runs": self.runs, "seed": self.seed}
        if self.runs is not None:
            named["reload"] = 0  # every second, by the clock of the machine
        return [
            f"-{name}={value}" for name, value in named.items() if value is not None
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One target's run. Numbers are None where nothing counts them."""

    target: str
    inputs: int
    inputs_per_second: int | None
    edges: int | None
    why: str | None
    """Why it ended otherwise than it should."""
    crash: Path | None
    """The input that shows it."""


def fuzz(name: str, limits: Limits, *, folder: Path) -> Run:
    """Fuzz one target. What it learnt is kept in `folder` for the next run, crashes too.

    A run of so many inputs from a seed depends on nothing else: it keeps and takes nothing.
    """
    folder = folder.absolute()
    crashes = folder / "crashes" / name
    crashes.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as seeds:
        for number, data in enumerate(table.inputs_of(table.find(name))):
            Path(seeds, f"{number:04d}").write_bytes(data)
        learnt = folder / "learnt" / name
        if limits.runs is None:
            learnt.mkdir(parents=True, exist_ok=True)
        folders = [str(learnt)] * (limits.runs is None)
        done = subprocess.run(  # noqa: S603 - our own module
            [
                *(sys.executable, "-m", DRIVER, name),
                *limits.options(),
                f"-timeout={LONGEST_INPUT_SECONDS}",
                f"-rss_limit_mb={MOST_MEMORY_MIB}",
                f"-artifact_prefix={crashes}/",
                "-print_final_stats=1",
                *(*folders, seeds),
            ],
            cwd=ROOT,
            env=_environment() | {"PYTHONHASHSEED": "0", "HOME": str(folder)},
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=(limits.seconds or 0) + _EXTRA_SECONDS,
        )
    return Run(
        target=name,
        inputs=_inputs_in(done.stderr),
        inputs_per_second=_last(_PACE, done.stderr),
        edges=_last(_EDGES, done.stderr),
        crash=_crash_in(done.stderr),
        why=_why(done) if done.returncode else None,
    )


def _environment() -> dict[str, str]:
    """Ours, without what would have each input traced a second time."""
    return {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("COV_", "COVERAGE_"))
    }


def reproduce(name: str, file: Path) -> None:
    """Let the target have the input again; raises what it raises."""
    table.find(name).check(file.read_bytes())


def command_for(name: str, file: Path) -> str:
    """What reproduces a crash."""
    at = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    return f".venv/bin/python -m tests.fuzz --reproduce {name} {at}"


def _inputs_in(output: str) -> int:
    """As counted at the end, or where the last line of progress says they were."""
    return _last(_INPUTS, output) or _last(_PROGRESS, output) or 0


def _last(pattern: re.Pattern[str], output: str) -> int | None:
    found = pattern.findall(output)
    return int(found[-1]) if found else None


def _crash_in(output: str) -> Path | None:
    found = _KEPT.findall(output)
    return Path(found[-1]) if found else None


def _why(done: subprocess.CompletedProcess[str]) -> str:
    """The exception, or what libFuzzer said of an input that takes too much."""
    said = done.stdout.strip() or done.stderr.strip()
    return "\n".join(said.splitlines()[-MOST_LINES:])
