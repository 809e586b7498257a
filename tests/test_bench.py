"""The benchmarks work: each runs at a scale that says nothing, so that it never rots."""

import json
import subprocess
import sys

import pytest

from tests.bench import figures
from tests.bench.figures import Figure
from tests.bench.processes import ROOT


@pytest.mark.parametrize(
    "row", ["start", "acks", "load", "parallel", "blobs", "verify", "listing"]
)
def test_benchmark_measures(row: str) -> None:
    """A benchmark at smoke scale ends by itself, with figures, and loses no ack."""
    command = [sys.executable, "-m", "tests.bench", "--smoke", "--json", "--only", row]

    done = subprocess.run(  # noqa: S603 - our own module
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=25
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {figure["row"] for figure in found} == {row}
    assert all(
        figure["value"] == 0 for figure in found if "lost" in str(figure["what"])
    )


def test_missed_bound_fails_the_run() -> None:
    """A figure without a bound never fails; one on the wrong side of its bound does."""

    def figure(value: float, sense: figures.Sense, bound: float | None) -> Figure:
        return Figure(row="r", what="w", value=value, unit="", sense=sense, bound=bound)

    good = [figure(5, "at least", 5), figure(4, "below", 5), figure(9, "below", None)]

    assert not figures.missed(good)
    assert figures.missed([*good, figure(5, "below", 5)])
    assert figures.missed([*good, figure(4.9, "at least", 5)])
