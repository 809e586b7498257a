"""What `recordings hold` and `recordings erase` need of an archive and of a queue.

Beside worker/ports.py, for no worker ever does it: adapters and fakes are held to these, too.
"""

from collections.abc import AsyncIterator, Collection
from typing import Protocol, runtime_checkable

from worker.model import Forgotten, Kept, RecordingKey


@runtime_checkable
class HoldingArchive(Protocol):
    """An archive whose storage may know legal holds."""

    async def hold(self, name: str, *, held: bool) -> bool | None:
        """Put one object under legal hold, or take it off; whether it is now, read back.

        None: this storage knows no holds. IntegrityError: there is no such object.
        """
        ...


@runtime_checkable
class ErasableArchive(Protocol):
    """The only way in which anything leaves an archive by our hand: `recordings erase`."""

    def kept(self, prefix: str) -> AsyncIterator[Kept]:
        """All that storage keeps under names that start so, in order of the names."""
        ...

    async def erase(self, name: str) -> None:
        """Remove an object with its versions and snapshots; nothing there is as good.

        ArchiveForbiddenError if a hold, a policy or a missing right keeps it.
        """
        ...


@runtime_checkable
class ForgettingQueue(Protocol):
    """A queue that can forget a recording, for `recordings erase`."""

    async def forget(
        self, recording: RecordingKey, documents: Collection[str], *, dry_run: bool
    ) -> Forgotten:
        """Remove the recording's settled and dead entries, and what was received of it.

        `documents` are its documentIds: a body that names one is of it, too. Entries that are
        not settled stay, and are counted. May be done again after a kill.
        """
        ...
