"""A pipe whose reader has left, as `head` does."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def nobody_reads(*, buffering: int = -1) -> Iterator[TextIO]:
    """Its writing end, buffered as `open` says it."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=buffering) as stream:
        yield stream
