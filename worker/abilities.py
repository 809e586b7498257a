"""What archives and queues may be able to do beside their ports; whoever asks can do without."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol, runtime_checkable

from worker.model import Deferred, Listed, Pick, ReadBack, Taken


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


@runtime_checkable
class Deferring(Protocol):
    """What a queue may be able to do: keep deliveries whole until somebody sorts them.

    That takes a fraction of what it takes to sort one. Trouble is QueueUnavailableError.
    """

    async def defer(self, delivery: Deferred) -> None:
        """Have it durable."""
        ...

    async def take_deferred(
        self,
        *,
        most: int,
        most_bytes: int,
        hide_seconds: float,
        behind: int = 0,
        up_to: int | None = None,
    ) -> Taken:
        """The first that nobody has, hidden from everybody else for so long.

        One may have more than `most_bytes`, several may not; one that was taken up often is
        alone, so that it harms no other. Their ids are beyond `behind`, and none is beyond
        `up_to`.
        """
        ...

    async def give_back_deferred(
        self, ids: Collection[int], *, hide_seconds: float = 0
    ) -> None:
        """Have them come back after so long; that they were taken up does not count."""
        ...

    async def drop_deferred(self, ids: Collection[int]) -> None:
        """Forget what is sorted; what is gone by now is no trouble."""
        ...
