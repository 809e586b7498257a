"""What the operating system's errors mean."""

import errno

import pytest

from worker.archives.disk_errors import error_from_os
from worker.errors import (
    ArchiveForbiddenError,
    ArchiveFullError,
    ArchiveUnavailableError,
    RetryableError,
)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, ArchiveFullError),
        (errno.EDQUOT, ArchiveFullError),
        (errno.EACCES, ArchiveForbiddenError),
        (errno.EPERM, ArchiveForbiddenError),
        (errno.EROFS, ArchiveForbiddenError),
        (errno.EIO, ArchiveUnavailableError),
        (errno.ENOENT, ArchiveUnavailableError),
        (errno.ESTALE, ArchiveUnavailableError),
    ],
)
def test_error_number_decides(number: int, expected: type[RetryableError]) -> None:
    """Room, permission, or simply not there."""
    error = error_from_os(OSError(number, "text", "file"))

    assert type(error) is expected
    assert errno.errorcode[number] in str(error)
    assert "'file'" in str(error)


def test_error_without_a_number_is_unavailability() -> None:
    """An error that says nothing is still an archive's error."""
    assert type(error_from_os(OSError("odd"))) is ArchiveUnavailableError
