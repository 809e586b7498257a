"""Output whose reader leaves before the end, as `head` does, or that takes no more."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from worker.errors import WorkerError

READER_LEFT = 141
"""What a shell says of any program that writes to nobody: 128 and SIGPIPE.

The signal itself would also come of a connection that breaks, and end a worker.
"""


class OutputError(WorkerError):
    """What was to be printed is not: a full disk, mostly."""

    reason = "output"


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Have whoever then writes to standard output end, by SystemExit and without a word.

    What can't be written for another cause is an OutputError. What can't be written to
    standard error is forgotten: no hint and no line of a log is worth the work.
    """
    out, err = sys.stdout, sys.stderr
    with Path(os.devnull).open("w") as nowhere:
        sys.stdout = cast("TextIO", _Output(out or nowhere))
        words = _Words(err or nowhere)
        sys.stderr = cast("TextIO", words)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = out, err
            words.end()


def end_with(code: int) -> None:
    """The exit code from now on if the reader leaves: what was found is not lost with it."""
    if isinstance(sys.stdout, _Output):
        sys.stdout.code = code


class _Stream:
    """One of the process's own, and in all but its failures the stream that it was."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        """Python tries once more at its exit, and nobody is there to be told."""
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class _Words(_Stream):
    """Standard error: a reader that left stays away, where a disk may have room again."""

    def write(self, text: str) -> int:
        with self._forgotten():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._forgotten():
            self._stream.flush()

    def end(self) -> None:
        """Have nothing left that fails at Python's exit, whose code would be 120."""
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    @contextmanager
    def _forgotten(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self._give_up()
        except OSError:
            pass


class _Output(_Stream):
    """Standard output: it is given up with its first failure."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._failure: OSError | None = None
        self.code = READER_LEFT

    def write(self, text: str) -> int:
        with self._given_up():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._given_up():
            self._stream.flush()

    @contextmanager
    def _given_up(self) -> Iterator[None]:
        """Whoever writes again is told again: typer passes over what its first try met."""
        if self._failure is not None:
            self._end(self._failure)
        try:
            yield
        except OSError as error:
            self._failure = error
            self._give_up()
            self._end(error)

    def _end(self, error: OSError) -> NoReturn:
        if isinstance(error, BrokenPipeError):
            raise SystemExit(self.code) from None
        why = f"write error on standard output: {error.strerror}"
        raise OutputError(why, hint="df -h") from None
