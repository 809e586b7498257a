"""`python -m tests.fuzz`: every parser against bytes that nobody meant, side by side.

Exit: 0 every promise was kept, 1 one was broken; the input that breaks it is kept, and the
command that reproduces it is printed.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz import guided, runs, table
from tests.fuzz.runs import ROOT, Limits, Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz what is asked for, and show what came of it."""
    options = _options(arguments)
    if options.reproduce:
        name, file = options.reproduce
        guided.silence()
        runs.reproduce(name, Path(file))
        print(f"{name} keeps its promise with {file}")
        return 0
    limits = Limits(seconds=options.seconds, runs=options.runs, seed=options.seed)
    found = _fuzz(options.only or list(table.TARGETS), limits, options)
    _show(found)
    return int(any(run.why is not None for run in found))


def _fuzz(
    names: Sequence[str], limits: Limits, options: argparse.Namespace
) -> Sequence[Run]:
    errors = Console(stderr=True)

    def one(name: str) -> Run:
        errors.print(f"fuzzing {name} ...", style="dim")
        return runs.fuzz(name, limits, folder=options.folder)

    if not runs.IS_GUIDED:
        errors.print("without atheris: inputs are led by no coverage", style="yellow")
    with ThreadPoolExecutor(options.jobs) as pool:
        return list(pool.map(one, names))


def _show(found: Sequence[Run]) -> None:
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column("target")
    for name in ("inputs", "inputs/s", "edges", "crashes"):
        shown.add_column(name, justify="right")
    for run in found:
        counted = (run.inputs, run.inputs_per_second, run.edges)
        cells = ("" if number is None else f"{number:,}" for number in counted)
        shown.add_row(run.target, *cells, str(int(run.why is not None)))
    shown.add_row("all", f"{sum(run.inputs for run in found):,}", style="bold")
    Console().print(shown)
    for run in found:
        if run.why is not None:
            print(f"\n{run.target}: {run.why}")
        if run.crash is not None:
            print(f"hint: {runs.command_for(run.target, run.crash)}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    add = parser.add_argument
    add("--only", action="append", help="this target; may be repeated")
    add("--seconds", type=int, help="for each target")
    add("--runs", type=int, help="inputs for each target; with --seed always the same")
    add("--seed", type=int)
    add("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    add("--folder", type=Path, default=ROOT / ".fuzz", help="what is kept between runs")
    add("--reproduce", nargs=2, metavar=("TARGET", "FILE"), help="one input, once")
    options = parser.parse_args(arguments)
    if options.seconds is None and options.runs is None and not options.reproduce:
        parser.error("say --seconds or --runs")
    return options


if __name__ == "__main__":
    sys.exit(main())
