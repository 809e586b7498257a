"""What may name an object: the rule for every archive, checked again at its door."""

import re

from worker.errors import PermanentError

STAGING = ".staging"
"""Where a directory archive keeps what is not yet an object."""
MAX_NAME_CHARS = 1024
"""The limit of a blob's name; a directory keeps to it so that archives stay exchangeable."""
MAX_SEGMENT_BYTES = 255
"""The limit of one name on every common file system."""
_PLAIN = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,254}")


class ArchiveNameError(PermanentError, ValueError):
    """A name that could leave the archive, or that some archive can't hold."""

    reason = "archive-name"


def segments(name: str) -> tuple[str, ...]:
    """Split `a/b/c.ext` into harmless segments, or raise ArchiveNameError."""
    parts = tuple(name.split("/"))
    if len(name) > MAX_NAME_CHARS or parts[0] == STAGING:
        raise ArchiveNameError(f"not a name for an object: {name[:80]!r}")
    if not all(is_segment(part) for part in parts):
        raise ArchiveNameError(f"not a name for an object: {name[:80]!r}")
    return parts


def is_segment(part: str) -> bool:
    """Whether `part` names one directory entry and nothing else, on any system."""
    if _PLAIN.fullmatch(part):
        return True  # nearly every name, and a listing asks for each
    if part in {"", ".", ".."} or "\\" in part or not part.isprintable():
        return False
    # isprintable refuses NUL, controls and lone surrogates, so that this can't fail.
    return "/" not in part and len(part.encode()) <= MAX_SEGMENT_BYTES
