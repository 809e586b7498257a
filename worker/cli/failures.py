"""How a failed command says so: one line, a hint that is a command, an exit code."""

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from worker.errors import ConfigError, WorkerError

_LONGEST_USAGE = 300
_OF_A_PARSER = "Value error, "
"""What pydantic puts in front of an exception's words."""
_EXTRA = re.compile(r"(?<=unexpected extra argument)(?:s|\(s\))? \(.*", re.DOTALL)

DONE = 0
FAILED = 1
USAGE = 2
NEEDS_ATTENTION = 3
CONFIGURATION = 78


def report_usage(error: typer.TyperException) -> int:
    """Say what is wrong with the command line."""
    from worker.log import redaction

    command = getattr(getattr(error, "ctx", None), "command_path", "recording-worker")
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message.replace(_OF_A_PARSER, "", 1)
    # It quotes what was typed, which may be a URL with its key.
    message = redaction().redacted(message[:1].lower() + message[1:])
    _say(f"error: {_EXTRA.sub('', message)[:_LONGEST_USAGE]}")
    _say(f"hint: {command} --help")
    return USAGE


def report(error: Exception, *, verbose: bool) -> int:
    """Say what went wrong; the traceback only on demand."""
    # The cost of these lines is paid only when something failed.
    from worker import tracebacks
    from worker.log import redaction

    redacted = redaction().redacted
    cause = _first_of(error)
    if verbose:
        _say(redacted(tracebacks.as_text(error)))
    for line in _lines_of(cause):
        _say(f"error: {redacted(line)}")
    hint = cause.hint if isinstance(cause, WorkerError) else None
    if isinstance(cause, WorkerError | OSError):
        _say(f"hint: {hint or 'recording-worker config'}")
    else:
        _say("hint: recording-worker -v VERB shows where")
    return CONFIGURATION if isinstance(cause, ConfigError) else FAILED


@contextmanager
def nobody_elses() -> Iterator[None]:
    """Have what threads and finalizers raise told as all else, and not as Python would."""
    of_threads, of_finalizers = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda raised: _tell(raised.exc_value)
    sys.unraisablehook = lambda raised: _tell(raised.exc_value)
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = of_threads, of_finalizers


def _tell(error: BaseException | None) -> None:
    import structlog

    if error is None:
        return
    if structlog.is_configured():
        log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
        log.error("process.crashed", exc_info=error)
    elif isinstance(error, Exception):
        report(error, verbose=True)


def _first_of(error: Exception) -> Exception:
    """A task group wraps what failed; the first failure is the cause of the others."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _lines_of(error: Exception) -> list[str]:
    if isinstance(error, ConfigError):
        return error.problems
    from worker import tracebacks

    if isinstance(error, WorkerError):
        return [" ".join(str(error).split()) or error.reason]
    return [tracebacks.words_of(error)]


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
