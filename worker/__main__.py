"""Start of the command: runs the verb, and turns what failed into a line and a code."""

import sys
from collections.abc import Sequence

import typer

from worker.cli import failures, piping
from worker.cli.root import app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, and raises nothing but SystemExit."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(arguments, prog_name="recording-worker", standalone_mode=False)
        if code:
            piping.end_with(code)
        # What is not written yet may fail like what was.
        sys.stdout.flush()
    except typer.TyperException as error:
        return failures.report_usage(error)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return failures.report(
            error, verbose=not {"-v", "--verbose"}.isdisjoint(arguments)
        )
    return code if isinstance(code, int) else 0


def command() -> int:
    """The same as a process of its own."""
    with failures.nobody_elses(), piping.readers_may_leave():
        return main()


if __name__ == "__main__":
    sys.exit(command())
