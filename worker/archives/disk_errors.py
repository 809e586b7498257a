"""What the operating system's errors mean for an archive: the one table."""

import errno
import os

from worker.errors import (
    ArchiveForbiddenError,
    ArchiveFullError,
    ArchiveUnavailableError,
    RetryableError,
)

_MEANING: dict[int, type[RetryableError]] = {
    errno.ENOSPC: ArchiveFullError,
    errno.EDQUOT: ArchiveFullError,
    errno.EACCES: ArchiveForbiddenError,
    errno.EPERM: ArchiveForbiddenError,
    errno.EROFS: ArchiveForbiddenError,
}


def error_from_os(error: OSError) -> RetryableError:
    """Return the archive's error for `error`; whatever the table lacks is unavailability."""
    number = error.errno or 0
    kind = _MEANING.get(number, ArchiveUnavailableError)
    name = errno.errorcode.get(number, type(error).__name__)
    subject = f" at {error.filename!r}" if error.filename is not None else ""
    return kind(f"{os.strerror(number).lower()} ({name}){subject}")
