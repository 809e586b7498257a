"""Objects in a directory as they are read: small ones, ranges, facts and names.

All of it blocks and runs in the archive's threads.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from worker.archives.object_names import STAGING, is_segment
from worker.archives.tree import Parts, Tree
from worker.model import Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a folder; a folder's name ends in `/`, so that names sort as in a blob store."""

    name: str
    parts: Parts

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


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


def entries(tree: Tree, base: Parts, below: Parts, prefix: str) -> list[Entry]:
    """What of the folder `below` may lead to names that start with `prefix`, in order."""
    try:
        with tree.folder((*base, *below)) as folder, os.scandir(folder) as found:
            listed = [_entry(below, each) for each in found if is_segment(each.name)]
    except FileNotFoundError:
        return []
    wanted = (each for each in listed if each and _leads_to(each, prefix))
    return sorted(wanted, key=lambda each: each.name)


def _entry(below: Parts, found: os.DirEntry[str]) -> Entry | None:
    parts = (*below, found.name)
    name = "/".join(parts)
    if found.is_dir(follow_symlinks=False):
        hidden = parts == (STAGING,)
        return None if hidden else Entry(name=name + "/", parts=parts)
    if found.is_file(follow_symlinks=False):
        return Entry(name=name, parts=parts)
    return None


def _leads_to(entry: Entry, prefix: str) -> bool:
    above = entry.is_folder and prefix.startswith(entry.name)
    return above or entry.name.startswith(prefix)


@contextmanager
def _opened(tree: Tree, parts: Parts) -> Iterator[int]:
    descriptor = tree.open_object(parts)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_exactly(descriptor: int, offset: int, length: int) -> bytes:
    # One pread stops at 2 GiB, or earlier at a signal.
    pieces = []
    while length:
        piece = os.pread(descriptor, length, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)
