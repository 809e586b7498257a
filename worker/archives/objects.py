"""Objects in a directory as they are read: small ones, ranges, facts and names.

All of it blocks and runs in the archive's threads.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from worker.archives.tree import Parts, Tree, open_below
from worker.model import Stored


def read(
    tree: Tree, parts: Parts, *, offset: int = 0, length: int | None = None
) -> bytes | None:
    """Bytes of an object, up to its end; None if there is no such object."""
    try:
        with _opened(tree, parts) as descriptor:
            rest = max(os.fstat(descriptor).st_size - offset, 0)
            wanted = rest if length is None else min(length, rest)
            return _read_exactly(descriptor, offset, wanted)
    except FileNotFoundError:
        return None


def read_below(folder: int, name: str) -> bytes | None:
    """All of an object in an open folder; None if it has gone."""
    try:
        descriptor, size = open_below(folder, name)
    except FileNotFoundError:
        return None
    try:
        return _read_exactly(descriptor, 0, size)
    finally:
        os.close(descriptor)


def stat(tree: Tree, parts: Parts, name: str) -> Stored | None:
    """What is stored, or None."""
    try:
        with _opened(tree, parts) as descriptor:
            status = os.fstat(descriptor)
    except FileNotFoundError:
        return None
    at = datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC)
    return stored_object(name, size=status.st_size, at=at)


def stored_object(name: str, *, size: int, at: datetime) -> Stored:
    """A directory knows neither etags nor versions nor holds."""
    return Stored(name=name, size_bytes=size, etag=None, version=None, last_modified=at)


@contextmanager
def _opened(tree: Tree, parts: Parts) -> Iterator[int]:
    descriptor = tree.open_object(parts)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_exactly(descriptor: int, offset: int, length: int) -> bytes:
    # One pread stops at 2 GiB, or earlier at a signal.
    pieces: list[bytes] = []
    while length:
        piece = os.pread(descriptor, length, offset)
        if len(piece) == length and not pieces:
            return piece
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)
