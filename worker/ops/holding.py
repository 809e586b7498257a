"""Recordings that must not go: held, and released again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from worker import __version__, holding, names
from worker.errors import AlreadyExistsError, WorkerError
from worker.keeping import HoldingArchive
from worker.model import RecordingKey
from worker.ops import finding
from worker.ops.finding import Folder
from worker.ports import Archive
from worker.stored import Hold, Receipt, encode


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
    meant = {folder.recording async for folder in finding.find(archive, text)}
    if len(meant) > 1:
        some = ", ".join(sorted(meant)[:5])
        raise SeveralRecordingsError(
            f"{text!r} means {len(meant)} recordings: {some}",
            hint=f"recording-worker recordings show {text}",
        )
    # Announcements that tell different calls or days have a folder each.
    return [
        folder
        for key in meant
        async for folder in finding.find(archive, key)
        if folder.recording == key
    ]


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
    for folder in () if wanted.dry_run else folders:
        done = await _apply(archive, folder, held=wanted.held)
        applied.objects += done.objects
        applied.unlike += done.unlike
        applied.unknown += done.unknown
    return HoldReport(
        recording=folders[0].recording,
        folders=tuple(folder.path for folder in folders),
        held=wanted.held,
        changed=changed,
        reason=latest[0].reason,
        since=latest[0].at,
        by=latest[0].by,
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
        number, current = await holding.current(archive, folder.path)
        if current is None and not wanted.held:
            raise NotHeldError(
                f"{folder.recording} was never held here",
                hint=f"recording-worker recordings show {folder.recording}",
            )
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


async def _apply(archive: Archive, folder: Folder, *, held: bool) -> holding.Applied:
    receipts = [
        receipt
        for key in folder.keys
        if (receipt := await finding.stored(archive, names.receipt_name(key), Receipt))
        if receipt.recording == folder.recording
    ]
    objects = [
        name async for name in holding.objects_of(archive, folder.path, receipts)
    ]
    return await holding.apply(archive, objects, held=held)
