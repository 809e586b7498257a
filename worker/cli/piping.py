"""Standard output into a pipe whose reader leaves before the end, as `head` does."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

READER_LEFT = 141
"""What a shell says of any program that writes to nobody: 128 and SIGPIPE.

The signal itself would also come of a connection that breaks, and end a worker.
"""


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Have whoever then writes to standard output end, by SystemExit and without a word."""
    whole = sys.stdout
    with Path(os.devnull).open("w") as nowhere:
        sys.stdout = cast("TextIO", _Output(whole or nowhere))
        try:
            yield
        finally:
            sys.stdout = whole


class _Output:
    """A stream that is given up with its first failure: Python tries once more at its exit."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._given_up():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._given_up():
            self._stream.flush()

    @contextmanager
    def _given_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                raise SystemExit(READER_LEFT) from None
            raise
