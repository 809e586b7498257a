"""Objects in a directory as they are erased; blocks, and runs in the archive's threads."""

import errno
import os
from contextlib import suppress

from worker.archives.tree import Parts, Tree

_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}


def erase(tree: Tree, parts: Parts, *, keep: int) -> None:
    """Unlink an object durably, then each folder above it that is empty.

    The first `keep` folders stay, and so does that below them (`recordings`, `receipts`),
    which every worker makes again.
    """
    with suppress(FileNotFoundError), tree.folder(parts[:-1]) as folder:
        with suppress(FileNotFoundError):
            os.unlink(parts[-1], dir_fd=folder)
        os.fsync(folder)
    for depth in range(len(parts) - 1, keep + 1, -1):
        if not _removed(tree, parts[:depth]):
            return


def _removed(tree: Tree, path: Parts) -> bool:
    """Whether the folder is gone, durably."""
    with suppress(FileNotFoundError), tree.folder(path[:-1]) as above:
        try:
            os.rmdir(path[-1], dir_fd=above)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in _NOT_EMPTY:
                return False
            raise
        os.fsync(above)
    return True
