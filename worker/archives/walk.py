"""A walk through the folders of a directory, in the order of names, some steps at a time.

Each folder is opened below the one that it lies in, which stays open meanwhile: far cheaper
than finding the way from the root for each, and no symbolic link is ever followed. All of it
blocks and runs in the archive's threads.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from worker.archives.object_names import STAGING, is_segment
from worker.archives.objects import read_below
from worker.archives.tree import Parts, Tree
from worker.model import Listed, Pick

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_BYTES = 1024 * 1024
"""Of the documents that one step reads; it ends behind the one that goes beyond."""


@dataclass(slots=True)
class _Level:
    """One open folder: `path` ends in `/`, or is empty; what lies in it comes in order."""

    descriptor: int
    path: str
    names: list[str]
    rest: Iterator[str]
    """Of the names, or, once `is_told`, of the folders among them."""
    is_told: bool = False


class Walk:
    """Goes through what lies below `base` and starts with `prefix`; its end closes all folders.

    Holds the entries of one folder per level, no more.
    """

    def __init__(self, tree: Tree, base: Parts, prefix: str) -> None:
        self._tree = tree
        self._base = base
        self._prefix = prefix
        self._levels: list[_Level] = []

    def start(self) -> None:
        """Look into the first folder; one that is not there is an end, not an error."""
        *above, rest = self._prefix.split("/")
        if not all(is_segment(part) for part in above):
            return
        with (
            suppress(FileNotFoundError),
            self._tree.folder((*self._base, *above)) as folder,
        ):
            path = "".join(f"{part}/" for part in above)
            self._add(os.dup(folder), path, rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._levels:
            self._leave()

    def subfolders(self) -> list[str]:
        """The folders in the first one, none entered."""
        return [
            level.path + name
            for level in self._levels
            for name in level.names
            if name.endswith("/")
        ]

    def names(self, most: int) -> list[str]:
        """The next names, at most so many; none: that was all."""
        found: list[str] = []
        while self._levels and len(found) < most:
            level = self._levels[-1]
            name = next(level.rest, None)
            if name is None:
                self._leave()
            elif name.endswith("/"):
                self._enter(level, name)
            else:
                found.append(level.path + name)
        return found

    def folders(self, most: int, pick: Pick) -> list[Listed]:
        """The next folders that hold files; one that holds folders too comes before these.

        Fewer where what was picked is long.
        """
        found: list[Listed] = []
        room = MOST_BYTES
        while self._levels and len(found) < most and room > 0:
            level = self._levels[-1]
            if not level.is_told and (listed := _told(level, pick)):
                found.append(listed)
                room -= len(listed.picked or b"")
            name = next(level.rest, None)
            if name is None:
                self._leave()
            else:
                self._enter(level, name)
        return found

    def _enter(self, above: _Level, name: str) -> None:
        try:
            descriptor = os.open(name[:-1], _FOLDER, dir_fd=above.descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return  # gone since it was listed
        self._add(descriptor, above.path + name, "")

    def _add(self, descriptor: int, path: str, prefix: str) -> None:
        try:
            names = _sorted(descriptor, prefix, is_root=not path)
        except BaseException:
            os.close(descriptor)
            raise
        self._levels.append(_Level(descriptor, path, names, iter(names)))

    def _leave(self) -> None:
        os.close(self._levels.pop().descriptor)


def _told(level: _Level, pick: Pick) -> Listed | None:
    """What lies in the folder; its own folders are what is left to enter."""
    level.is_told = True
    files = [name for name in level.names if name[-1] != "/"]
    level.rest = iter([name for name in level.names if name[-1] == "/"])
    if not files:
        return None
    picked = pick(files)
    data = read_below(level.descriptor, picked) if picked else None
    return Listed(folder=level.path, files=files, picked=data)


def _sorted(descriptor: int, prefix: str, *, is_root: bool) -> list[str]:
    """A folder's name ends in `/`, so that names sort as in a blob store."""
    names: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            name = entry.name
            if not is_segment(name) or (is_root and name == STAGING):
                continue
            if entry.is_file(follow_symlinks=False):
                names.append(name)
            elif entry.is_dir(follow_symlinks=False):
                names.append(name + "/")
    if prefix:
        names = [name for name in names if name.startswith(prefix)]
    names.sort()
    return names
