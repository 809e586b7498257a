"""One file of the operator's, written in any order beside its name, and named when whole."""

import asyncio
import fcntl
import glob
import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from worker.archives.objects import stored_object
from worker.archives.tiling import check_tiling
from worker.errors import AlreadyExistsError
from worker.model import BlockDigest, Stored

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class LocalFile:
    """Satisfies ports.BlockWriter. An async context manager: what is not committed is removed.

    Raises AlreadyExistsError at once if the name is taken; nothing is overwritten. What a
    process that was killed left beside it is removed by the next.
    """

    def __init__(self, path: Path, *, block_bytes: int) -> None:
        self._path = path
        self._block_bytes = block_bytes
        self._staged = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._descriptor = -1
        self._lengths: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._refuse_taken)
        await asyncio.to_thread(self._begin)
        return self

    async def __aexit__(self, *_: object) -> None:
        os.close(self._descriptor)
        with suppress(FileNotFoundError):
            self._staged.unlink()

    @property
    def block_bytes(self) -> int:
        return self._block_bytes

    async def held(self, origin: str) -> Sequence[BlockDigest]:  # noqa: ARG002 - the port's
        """A download that was cut short is begun anew."""
        return ()

    async def write(self, offset: int, block: bytearray | memoryview | bytes) -> str:
        digest = await asyncio.to_thread(self._write, offset, memoryview(block))
        self._lengths[offset] = len(block)
        return digest

    async def commit(self, *, size: int) -> Stored:
        check_tiling(self._lengths, size)
        await asyncio.to_thread(self._publish)
        return stored_object(str(self._path), size=size, at=datetime.now(UTC))

    async def sha256(self) -> str:
        """Of all of it, read back."""
        return await asyncio.to_thread(self._digest)

    def _begin(self) -> None:
        self._remove_left_over()
        self._descriptor = os.open(self._staged, _FLAGS, 0o600)
        # For as long as we live: nobody takes it for left over.
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _remove_left_over(self) -> None:
        name = re.escape(self._path.name)
        left_over = re.compile(rf"\.{name}\.[0-9a-f]{{8}}\.part")
        for each in self._path.parent.glob(f".{glob.escape(self._path.name)}.*.part"):
            if left_over.fullmatch(each.name):
                with suppress(OSError):
                    _remove_unless_written(each)

    def _write(self, offset: int, view: memoryview) -> str:
        digest = hashlib.sha256(view).hexdigest()
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written
        return digest

    def _publish(self) -> None:
        os.fsync(self._descriptor)
        try:
            os.link(self._staged, self._path)
        except FileExistsError as error:
            raise self._taken() from error
        except OSError:
            # A file system without links: nobody else writes there this moment, we hope.
            self._refuse_taken()
            self._staged.rename(self._path)

    def _refuse_taken(self) -> None:
        if os.path.lexists(self._path):
            raise self._taken()

    def _taken(self) -> AlreadyExistsError:
        return AlreadyExistsError(f"{self._path} exists already")

    def _digest(self) -> str:
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_unless_written(path: Path) -> None:
    """Raises OSError if somebody writes it, or if that can't be told here."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(descriptor)
