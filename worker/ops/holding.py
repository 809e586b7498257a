"""Recordings that must not go: held, and released again."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from worker import __version__, holding, names
from worker.errors import (
    AlreadyExistsError,
    IntegrityError,
    NewerFormatError,
    WorkerError,
)
from worker.keeping import HoldingArchive
from worker.model import RecordingKey
from worker.ops import finding
from worker.ops.finding import Folder
from worker.ports import Archive
from worker.stored import Hold, Receipt, StoredFormatError, decode, encode


class SeveralRecordingsError(WorkerError):
    """An id that means more than one recording, where one is to be changed."""

    reason = "several-recordings"


class NotHeldError(WorkerError):
    """There is no hold of ours to be taken off."""

    reason = "not-held"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReport:
    """What a recording's hold is now; JSON fields of `recordings hold|unhold --json`:
    additions only.
    """

    recording: str
    folders: tuple[str, ...]
    held: bool
    changed: bool
    """Whether a document was written: it was not as it should be, or would be changed."""
    reason: str
    since: datetime
    by: str
    objects: int
    unlike: int
    """Objects that the storage was told of and that, read back, are not as they should be."""
    unknown: int
    """Objects in a storage that knows no holds: only the document protects them."""
    storage_holds: bool
    """Whether this kind of archive can have its objects held by the storage at all."""
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an operator wants, and who it is."""

    held: bool
    reason: str
    by: str
    at: datetime
    dry_run: bool = False


async def one_recording(archive: Archive, text: str) -> Sequence[Folder]:
    """All folders of the one recording that an id means; none: the archive knows no such.

    Raises SeveralRecordingsError: whoever changes something says which.
    """
    found = [folder async for folder in finding.find(archive, text)]
    meant = {folder.recording for folder in found}
    if len(meant) > 1:
        some = ", ".join(sorted(meant)[:5])
        raise SeveralRecordingsError(
            f"{text!r} means {len(meant)} recordings: {some}",
            hint=f"recording-worker recordings show {text}",
        )
    # Announcements that tell different calls or days have a folder each.
    every = {
        folder.path: folder
        for key in meant
        async for folder in finding.find(archive, key)
        if folder.recording == key
    }
    # What was proven in the user's own storage alone has no files here to be found by.
    return list(every.values()) or found


async def recordings_hold(
    archive: Archive, text: str, wanted: Wanted
) -> HoldReport | None:
    """Hold all of a recording, or release it; None: the archive knows no such.

    Done again, it does again what the storage lacks. Raises NotHeldError, for a release of
    what we never held: somebody else may have had a reason.
    """
    folders = await one_recording(archive, text)
    if not folders:
        return None
    latest: list[Hold] = []
    changed = False
    applied = holding.Applied()
    for folder in folders:
        hold, is_new = await _document(archive, folder, wanted)
        latest.append(hold)
        changed |= is_new
    for position, folder in enumerate(() if wanted.dry_run else folders):
        latest[position], done = await _apply_latest(archive, folder)
        applied.objects += done.objects
        applied.unlike += done.unlike
        applied.unknown += done.unknown
    # Somebody else may have decided otherwise meanwhile.
    counts = next((hold for hold in latest if hold.held), latest[0])
    return HoldReport(
        recording=folders[0].recording,
        folders=tuple(folder.path for folder in folders),
        held=counts.held,
        changed=changed,
        reason=counts.reason,
        since=counts.at,
        by=counts.by,
        objects=applied.objects,
        unlike=applied.unlike,
        unknown=applied.unknown,
        storage_holds=isinstance(archive, HoldingArchive),
        dry_run=wanted.dry_run,
    )


async def _document(
    archive: Archive, folder: Folder, wanted: Wanted
) -> tuple[Hold, bool]:
    """The document that counts, written unless it is there; whether it was written."""
    while True:
        number, data = await holding.last(archive, folder.path)
        if data is None and not wanted.held:
            raise NotHeldError(
                f"{folder.recording} was never held here",
                hint=f"recording-worker recordings show {folder.recording}",
            )
        current = _readable(data)
        if current is not None and current.held == wanted.held:
            return current, False
        hold = Hold(
            worker_version=__version__,
            recording=RecordingKey(folder.recording),
            held=wanted.held,
            reason=wanted.reason,
            at=wanted.at,
            by=wanted.by,
        )
        if wanted.dry_run:
            return hold, True
        try:
            await archive.create(names.hold_name(folder.path, number + 1), encode(hold))
        except AlreadyExistsError:
            # Somebody else decided meanwhile: look again.
            continue
        return hold, True


def _readable(data: bytes | None) -> Hold | None:
    """None for what is damaged: whoever says it again mends that. Raises NewerFormatError."""
    with suppress(StoredFormatError):
        return None if data is None else decode(Hold, data)
    return None


async def _apply_latest(
    archive: Archive, folder: Folder
) -> tuple[Hold, holding.Applied]:
    """Do what the last document says; again if there is another one by then.

    Else of two who hold and release at once, whoever decided first might act last.
    """
    while True:
        number, hold = await holding.current(archive, folder.path)
        if hold is None:
            raise IntegrityError(f"the archive lost the holds of {folder.recording}")
        applied = await _apply(archive, folder, held=hold.held)
        if await archive.read(names.hold_name(folder.path, number + 1)) is None:
            return hold, applied


async def _apply(archive: Archive, folder: Folder, *, held: bool) -> holding.Applied:
    receipts: list[Receipt] = []
    objects: list[str] = []
    for key in folder.keys:
        name = names.receipt_name(key)
        try:
            receipt = await finding.stored(archive, name, Receipt)
        except (NewerFormatError, StoredFormatError):
            # Its chunk has a file here, and damage must keep nothing from being held.
            objects += [each async for each in holding.records_of(archive, key)]
            continue
        if receipt is not None and receipt.recording == folder.recording:
            receipts.append(receipt)
    objects += [
        each async for each in holding.objects_of(archive, folder.path, receipts)
    ]
    return await holding.apply(archive, objects, held=held)
