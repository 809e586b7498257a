"""The same as tests.fuzz.guided where that can't run: changes of the seeds, led by nothing.

It takes the options of libFuzzer that `python -m tests.fuzz` gives, and no others.
"""

import hashlib
import itertools
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from tests.fuzz import guided, table
from tests.fuzz.target import Target

BROKEN = 77
"""The code that libFuzzer ends with."""
MOST_CHANGES = 8


def main(arguments: Sequence[str]) -> int:
    """Fuzz for so many runs or seconds, or until a promise is broken."""
    name, *others = arguments
    given = (
        option.removeprefix("-").partition("=") for option in others if "=" in option
    )
    options = {option: value for option, _, value in given}
    guided.silence()
    return run(table.find(name), options)


def run(target: Target, options: Mapping[str, str]) -> int:
    random = Random(int(options.get("seed", 0)))
    runs = int(options.get("runs", -1))
    ends_at = time.monotonic() + float(options.get("max_total_time", "inf"))
    seeds = table.inputs_of(target)
    for done in itertools.count():
        if done == runs or time.monotonic() >= ends_at:
            break
        data = seeds[done] if done < len(seeds) else _changed(target, seeds, random)
        if not _keeps_promises(target, data, options.get("artifact_prefix", "")):
            return BROKEN
    print(f"stat::number_of_executed_units: {done}", file=sys.stderr)
    return 0


def _changed(target: Target, seeds: Sequence[bytes], random: Random) -> bytes:
    data = random.choice(seeds)
    for _ in range(random.randint(1, MOST_CHANGES)):
        data = target.mutate(data, random)
    return data[: guided.LONGEST_INPUT]


def _keeps_promises(target: Target, data: bytes, prefix: str) -> bool:
    try:
        target.check(data)
    except Exception:  # noqa: BLE001 - whatever it is, it was not declared
        traceback.print_exc(file=sys.stdout)
        kept = Path(
            f"{prefix}crash-{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"
        )
        kept.write_bytes(data)
        print(f"Test unit written to {kept}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
