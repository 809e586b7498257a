"""A file of an operator's that is there as a whole or not at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from worker.errors import WorkerError


class FileTakenError(WorkerError):
    """The file is there already, and nobody said that it may go."""

    reason = "file-taken"
    hint = "recording-worker recordings export --help"


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Write beside the file, and give it its name at the end. `force`: in another's place.

    What a killed process left beside it is written over by the next. Raises FileTakenError.
    """
    refuse_taken(path, force=force)
    beside = path.with_name(f".{path.name}.partial")
    with open(os.open(beside, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:  # noqa: PTH123 - a file that may be there
        _lock(file, path, beside)
        file.truncate()
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            refuse_taken(path, force=force)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def refuse_taken(path: Path, *, force: bool) -> None:
    """Raise FileTakenError if something would be overwritten."""
    if path.exists() and not force:
        raise FileTakenError(f"{path.name!r} is there already: --force writes over it")


def _lock(file: BinaryIO, path: Path, beside: Path) -> None:
    """Or two that write one file would mix."""
    taken = FileTakenError(f"{path.name!r} is being written by another")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have ended since it was opened here: then this is their file.
        is_ours = os.path.samestat(os.fstat(file.fileno()), beside.stat())
    except (BlockingIOError, FileNotFoundError):
        raise taken from None
    if not is_ours:
        raise taken
