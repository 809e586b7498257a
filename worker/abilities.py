"""What an archive may be able to do beside ports.Archive; whoever asks can do without."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from worker.model import Listed, Pick, ReadBack


@runtime_checkable
class FolderListing(Protocol):
    """What an archive may be able to do: list folders, with a document of each.

    Where a folder is open anyhow, as in a directory, that is far cheaper than `list` and a
    `read` for each.
    """

    def list_folders(self, prefix: str, *, pick: Pick) -> AsyncIterator[Listed]:
        """Folders that hold objects whose names start with `prefix`, in order.

        `prefix` ends in `/`. `pick` chooses of a folder's files which one is read.
        """
        ...

    async def subfolders(self, prefix: str) -> Sequence[str]:
        """Folders right below `prefix`, in order; both end in `/`."""
        ...


@runtime_checkable
class Digesting(Protocol):
    """What an archive may be able to do: hash an object the way that others read it.

    Through the caches of the machine, where `read_back` goes past them: far faster for a
    look at all of an archive, most of which no cache holds anyhow.
    """

    async def digest(self, name: str, *, block_bytes: int | None) -> ReadBack:
        """Hash the object; without `block_bytes` as a whole alone, with no blocks.

        IntegrityError if it is not there, or not all of it can be read.
        """
        ...
