"""How a failed command says so: one line, a hint that is a command, an exit code."""

import sys
import traceback

import typer

from worker.errors import ConfigError, WorkerError

FAILED = 1
USAGE = 2
NEEDS_ATTENTION = 3
CONFIGURATION = 78


def report_usage(error: typer.TyperException) -> int:
    """Say what is wrong with the command line."""
    command = getattr(getattr(error, "ctx", None), "command_path", "recording-worker")
    message = error.format_message().strip().rstrip(".")
    _say(f"error: {message[:1].lower()}{message[1:]}")
    _say(f"hint: {command} --help")
    return USAGE


def report(error: Exception, *, verbose: bool) -> int:
    """Say what went wrong; the traceback only on demand."""
    # The cost of these lines is paid only when something failed.
    from worker.log import Redaction

    redacted = Redaction().redacted
    cause = _first_of(error)
    if verbose:
        _say(redacted("".join(traceback.format_exception(error))).rstrip())
    for line in _lines_of(cause):
        _say(f"error: {redacted(line)}")
    hint = cause.hint if isinstance(cause, WorkerError) else None
    if isinstance(cause, WorkerError | OSError):
        _say(f"hint: {hint or 'recording-worker config'}")
    else:
        _say("hint: recording-worker -v VERB shows where")
    return CONFIGURATION if isinstance(cause, ConfigError) else FAILED


def _first_of(error: Exception) -> Exception:
    """A task group wraps what failed; the first failure is the cause of the others."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _lines_of(error: Exception) -> list[str]:
    if isinstance(error, ConfigError):
        return error.problems
    message = " ".join(str(error).split())
    if isinstance(error, WorkerError):
        return [message or error.reason]
    return [f"{type(error).__name__}: {message}" if message else type(error).__name__]


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
