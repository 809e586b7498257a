"""On what kind of file system a path lies; Linux tells in /proc/self/mountinfo."""

import re
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
UNSAFE = {
    "overlay": "is lost with the container",
    "tmpfs": "is lost when the machine stops",
    "ramfs": "is lost when the machine stops",
    "nfs": "does not keep SQLite's and our promises of durability",
    "nfs4": "does not keep SQLite's and our promises of durability",
    "cifs": "does not keep SQLite's and our promises of durability",
    "smb3": "does not keep SQLite's and our promises of durability",
}
"""Kinds on which an acknowledged event or a proven chunk can vanish, and why."""

_OCTAL = re.compile(r"\\([0-7]{3})")
_MOUNT_POINT = 4
"""The field of a line that names the mount point; see proc(5)."""


def kind_at(path: Path, mountinfo: str) -> str | None:
    """Return the kind of file system that holds the absolute `path`; None: can't tell.

    The deepest mount point wins; of several on one point, the last, which hides the others.
    """
    best: tuple[int, str] | None = None
    for line in mountinfo.splitlines():
        before, found, after = line.partition(" - ")
        fields = before.split(" ")
        if not found or len(fields) <= _MOUNT_POINT:
            continue
        point = Path(_unescaped(fields[_MOUNT_POINT]))
        if path.is_relative_to(point) and (not best or len(point.parts) >= best[0]):
            best = (len(point.parts), after.split(" ")[0])
    return best[1] if best else None


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def why_unsafe(path: Path, mountinfo: str) -> str | None:
    """Say on what `path` lies if that is no place for recordings, links followed."""
    kind = kind_at(path.resolve(), mountinfo)
    return f"is on {kind}, which {UNSAFE[kind]}" if kind in UNSAFE else None


def read_mountinfo() -> str:
    """Return the mounts of this process; empty where the system doesn't tell."""
    try:
        return MOUNTINFO.read_text(errors="surrogateescape")
    except OSError:
        return ""
