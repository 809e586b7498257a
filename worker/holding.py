"""Legal holds: numbered documents in a recording's folder, and the storage's own holds.

A document is what every worker and every machine knows, also where storage knows no holds;
the storage's hold is what binds those who don't ask us.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import structlog

from worker import names
from worker.errors import RetryableError
from worker.keeping import HoldingArchive
from worker.model import ChunkKey
from worker.ports import Archive
from worker.stored import Hold, Receipt, decode

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class HoldOwedError(RetryableError):
    """All is done but the legal hold of a recording that is held."""

    reason = "hold-owed"


@dataclass(slots=True, kw_only=True)
class Applied:
    """What became of a hold, object by object."""

    objects: int = 0
    unlike: int = 0
    """Objects that, read back, are not as they should be."""
    unknown: int = 0
    """Objects in a storage that knows no holds."""

    def add(self, told: bool | None, *, held: bool) -> None:  # noqa: FBT001 - as read back
        self.objects += 1
        self.unknown += told is None
        self.unlike += told is not None and told is not held


async def current(archive: Archive, folder: str) -> tuple[int, Hold | None]:
    """The document with the highest number, and that number; (0, None): never held.

    Raises NewerFormatError or StoredFormatError if nobody can tell what it says.
    """
    number, latest = await last(archive, folder)
    return number, None if latest is None else decode(Hold, latest)


async def last(archive: Archive, folder: str) -> tuple[int, bytes | None]:
    """The same as it is stored."""
    number = 0
    latest: bytes | None = None
    while True:
        data = await archive.read(names.hold_name(folder, number + 1))
        if data is None:
            break
        number, latest = number + 1, data
    return number, latest


async def apply(archive: Archive, objects: Iterable[str], *, held: bool) -> Applied:
    """Hold all objects, or take the hold off them."""
    applied = Applied()
    for name in objects:
        told = (
            await archive.hold(name, held=held)
            if isinstance(archive, HoldingArchive)
            else None
        )
        applied.add(told, held=held)
    return applied


async def inherit(archive: Archive, receipt: Receipt) -> None:
    """Hold a chunk that came home to a recording under hold. HoldOwedError: come back.

    Whoever holds a recording writes the document first and lists its objects then; who
    brings a chunk home looks for the document last. One of them sees the other.
    """
    if not isinstance(archive, HoldingArchive):
        return
    folder = receipt.recording_folder
    try:
        _, hold = await current(archive, folder)
        if hold is None or not hold.held:
            return
        objects = [name async for name in objects_of(archive, folder, [receipt])]
        applied = await apply(archive, objects, held=True)
    except RetryableError as error:
        raise HoldOwedError(str(error), retry_after=error.retry_after) from error
    if applied.unlike or applied.unknown:
        lacking = applied.unlike + applied.unknown
        log.error("hold.missing", recording=receipt.recording, objects=lacking)


async def objects_of(
    archive: Archive, folder: str, receipts: Iterable[Receipt]
) -> AsyncIterator[str]:
    """All objects of a folder, and those of these receipts that lie elsewhere."""
    async for name in archive.list(folder):
        yield name
    for receipt in receipts:
        for proven in filter(None, (receipt.content, receipt.metadata)):
            is_elsewhere = not proven.name.startswith(folder)
            if is_elsewhere and not names.is_external(proven.name):
                yield proven.name
        async for name in records_of(archive, receipt.key):
            yield name


async def records_of(archive: Archive, key: ChunkKey) -> AsyncIterator[str]:
    """What is written of one chunk outside its recording's folder."""
    yield names.receipt_name(key)
    deleted = names.source_deleted_name(key)
    if await archive.stat(deleted) is not None:
        yield deleted
