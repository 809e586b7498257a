"""One process of a coverage-guided fuzzer over one target.

    python -m tests.fuzz.guided TARGET [LIBFUZZER_OPTION]... [FOLDER_OF_INPUTS]...

It ends the process by itself, with 77 when a promise is broken.
https://llvm.org/docs/LibFuzzer.html#options, https://github.com/google/atheris
"""

import importlib
import sys
from collections.abc import Sequence
from random import Random
from typing import Any

import structlog

from tests.fuzz.target import Target

INSTRUMENTED = ["worker", "handlers", "tests.fuzz.targets"]
"""The targets too: what they tell apart is worth telling apart."""
LONGEST_INPUT = 16 * 1024


def main(arguments: Sequence[str]) -> None:
    """Fuzz until libFuzzer has had enough, or a promise is broken."""
    name, *options = arguments
    # Linux on x86-64 alone has it, and what runs elsewhere must not need it.
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = _target(name)

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        changed = b""
        if random.randrange(4):
            changed = target.mutate(data, random)[:max_size]
        return changed or bytes(atheris.Mutate(data, max_size))

    silence()
    command = [sys.argv[0], f"-max_len={LONGEST_INPUT}", *options]
    atheris.Setup(command, target.check, custom_mutator=mutator)
    atheris.Fuzz()


def _target(name: str) -> Target:
    """Import as little as must be: all that is imported here is instrumented first."""
    if name == "planted":
        planted: Target = importlib.import_module("tests.fuzz.targets.planted").PLANTED
        return planted
    found: Target = importlib.import_module("tests.fuzz.table").find(name)
    return found


def silence() -> None:
    """Nobody reads the log lines of a million inputs."""
    structlog.configure(processors=[_drop])


def _drop(*_: object) -> Any:
    raise structlog.DropEvent


if __name__ == "__main__":
    main(sys.argv[1:])
