"""`python -m tests.bench`: every bound, measured in one run and shown side by side.

Exit: 0 all met, 1 one was missed or could not be measured.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from rich.console import Console

from tests.bench import (
    acks,
    blobs,
    figures,
    memory,
    parallel,
    proving,
    start,
    webhook_load,
)
from tests.bench.figures import Figure
from tests.bench.processes import BenchError
from tests.bench.scale import SMOKE, Scale

ROWS: dict[str, Callable[[Scale], Coroutine[Any, Any, list[Figure]]]] = {
    "start": start.measure,
    "acks": acks.measure,
    "load": webhook_load.measure,
    "parallel": parallel.measure,
    "memory": memory.measure,
    "blobs": blobs.measure,
    "verify": proving.measure_verify,
    "listing": proving.measure_listing,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, and show it."""
    options = _options(arguments)
    scale = SMOKE if options.smoke else Scale()
    errors = Console(stderr=True)
    found: list[Figure] = []
    broken = False
    for name in options.only or ROWS:
        errors.print(f"measuring {name} ...", style="dim")
        try:
            found += asyncio.run(ROWS[name](scale))
        except (BenchError, TimeoutError) as error:
            errors.print(
                f"error: {name}: {str(error) or 'it took too long'}", style="red"
            )
            broken = True
    if options.json:
        print(figures.as_json(found))
    else:
        figures.show(found, Console())
    return int(broken or (figures.missed(found) and not options.smoke))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--only", action="append", choices=list(ROWS), help="this row; may be repeated")
    add("--json", action="store_true", help="one JSON document instead of a table")
    add(
        "--smoke",
        action="store_true",
        help="next to nothing, unjudged: do the benchmarks work?",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
