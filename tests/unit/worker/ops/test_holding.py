"""Legal holds: documents that every worker knows, and holds of the storage, read back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.archived import archive_chunk, archive_recording
from tests.factories import a_chunk, an_announcement
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START
from worker import holding, names
from worker.errors import AlreadyExistsError, ArchiveUnavailableError
from worker.holding import HoldOwedError
from worker.ops.holding import (
    HoldReport,
    NotHeldError,
    SeveralRecordingsError,
    Wanted,
    recordings_hold,
)
from worker.stored import Hold, StoredFormatError, decode

HOLD = Wanted(held=True, reason="case 4711", by="ann", at=START)
RELEASE = Wanted(held=False, reason="closed", by="bob", at=START + timedelta(days=1))
RECORDING = a_chunk().recording
FOLDER = names.recording_folder(an_announcement(), RECORDING)


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


async def change(archive: MemoryArchive, wanted: Wanted) -> HoldReport:
    report = await recordings_hold(archive, RECORDING, wanted)
    assert report is not None
    return report


async def test_hold_is_on_every_object_of_the_recording(archive: MemoryArchive) -> None:
    """Contents, metadata, manifests, receipts, and the document that says so."""
    receipts = await archive_recording(archive, [b"0", b"1"])
    deleted = names.source_deleted_name(receipts[0].key)
    await archive.create(deleted, b"{}")
    other = a_chunk(document_id="o", announcement=an_announcement(recording_id="o"))
    theirs = await archive_chunk(archive, other, b"x", {})

    report = await change(archive, HOLD)

    left = {theirs.content.name, names.receipt_name(theirs.key)}
    left |= {names.metadata_name(other)}
    assert archive.held == set(archive.objects) - left
    assert (report.objects, report.unlike, report.unknown) == (10, 0, 0)
    assert report.held
    assert report.changed
    document = await archive.read(names.hold_name(FOLDER, 1))
    assert document is not None
    assert decode(Hold, document) == Hold(
        worker_version=decode(Hold, document).worker_version,
        recording=RECORDING,
        held=True,
        reason="case 4711",
        at=START,
        by="ann",
    )


async def test_release_is_one_more_document_and_the_highest_counts(
    archive: MemoryArchive,
) -> None:
    """Who held it and why stays to be read."""
    await archive_recording(archive, [b"0"])
    await change(archive, HOLD)

    released = await change(archive, RELEASE)
    held_again = await change(archive, HOLD)

    assert (released.held, released.by, released.reason) == (False, "bob", "closed")
    assert held_again.changed
    number, hold = await holding.current(archive, FOLDER)
    assert number == 3
    assert hold is not None
    assert hold.held


async def test_holding_again_holds_what_came_meanwhile(archive: MemoryArchive) -> None:
    """And what the storage lost; no document is written, who held it first is told."""
    await archive_recording(archive, [b"0"])
    await change(archive, HOLD)
    archive.held = frozenset()
    before = set(archive.objects)

    report = await change(archive, replace(HOLD, by="eve", reason="other"))

    assert (report.changed, report.by, report.reason) == (False, "ann", "case 4711")
    assert set(archive.objects) == before == archive.held


async def test_release_that_was_cut_goes_on(archive: MemoryArchive) -> None:
    """The document is there, some objects are still held."""
    await archive_recording(archive, [b"0"])
    await change(archive, HOLD)
    archive.fail_next(ArchiveUnavailableError("gone"), on="hold")
    with pytest.raises(ArchiveUnavailableError):
        await change(archive, RELEASE)
    assert archive.held

    report = await change(archive, RELEASE)

    assert not report.changed
    assert not archive.held


async def test_what_was_never_held_by_us_is_not_released(
    archive: MemoryArchive,
) -> None:
    """Somebody else may have put the storage's hold there, for a reason of theirs."""
    receipts = await archive_recording(archive, [b"0"])
    archive.held = frozenset({receipts[0].content.name})

    with pytest.raises(NotHeldError, match="was never held here"):
        await change(archive, RELEASE)

    assert archive.held


async def test_storage_without_holds_is_told(archive: MemoryArchive) -> None:
    """The document is written all the same: our own commands obey it."""
    archive.knows_holds = False
    await archive_recording(archive, [b"0"])

    report = await change(archive, HOLD)

    assert report.unknown == report.objects == 6
    assert await archive.read(names.hold_name(FOLDER, 1))


async def test_dry_run_changes_nothing(archive: MemoryArchive) -> None:
    """It says whether something would change."""
    await archive_recording(archive, [b"0"])
    before = set(archive.objects)

    report = await change(archive, replace(HOLD, dry_run=True))

    assert (report.changed, report.dry_run, report.objects) == (True, True, 0)
    assert set(archive.objects) == before
    assert not archive.held


async def test_two_who_hold_at_once_write_one_document(
    archive: MemoryArchive,
) -> None:
    """The second finds what the first has written."""
    await archive_recording(archive, [b"0"])
    archive.fail_next(
        AlreadyExistsError("taken"), on="create", matching="hold.", late=True
    )

    report = await change(archive, HOLD)

    assert not report.changed
    assert (await holding.current(archive, FOLDER))[0] == 1


class ChangedMeanwhile(MemoryArchive):
    """Somebody else decides otherwise while the storage is told of the first object."""

    def __init__(self, other: Wanted) -> None:
        super().__init__()
        self.others: list[Wanted] = [other]

    async def hold(self, name: str, *, held: bool) -> bool | None:
        if self.others and self.held:
            await change(self, self.others.pop())
        return await super().hold(name, held=held)


async def test_hold_while_another_releases_stays_a_hold() -> None:
    """Whoever decided first acts last, and finds that it was overruled."""
    archive = ChangedMeanwhile(HOLD)
    others, archive.others = archive.others, []
    await archive_recording(archive, [b"0"])
    await change(archive, HOLD)
    archive.others = others

    report = await change(archive, RELEASE)

    number, hold = await holding.current(archive, FOLDER)
    assert (number, hold is not None and hold.held) == (3, True)
    assert (report.held, report.by) == (True, "ann")
    assert archive.held == set(archive.objects)


async def test_release_while_another_holds_stays_a_release() -> None:
    """The other way round."""
    archive = ChangedMeanwhile(RELEASE)
    await archive_recording(archive, [b"0"])

    report = await change(archive, HOLD)

    assert (report.held, report.by) == (False, "bob")
    assert not archive.held


@pytest.mark.parametrize("damage", [b'{"v": 2}', b"torn"])
async def test_damaged_receipt_keeps_nothing_from_being_held(
    archive: MemoryArchive, damage: bytes
) -> None:
    """Nor is what is damaged let go."""
    receipts = await archive_recording(archive, [b"0", b"1"])
    archive.objects[names.receipt_name(receipts[0].key)] = damage
    await archive.create(names.source_deleted_name(receipts[0].key), b"{}")

    await change(archive, HOLD)

    assert archive.held == set(archive.objects)


@pytest.mark.parametrize("damage", [b"", b"torn"])
@pytest.mark.parametrize("wanted", [HOLD, RELEASE])
async def test_damaged_document_is_mended_by_saying_it_again(
    archive: MemoryArchive, wanted: Wanted, damage: bytes
) -> None:
    """Nobody can tell what it said; what comes behind it counts."""
    await archive_recording(archive, [b"0"])
    await archive.create(names.hold_name(FOLDER, 1), damage)
    with pytest.raises(StoredFormatError):
        await holding.current(archive, FOLDER)

    report = await change(archive, wanted)

    number, hold = await holding.current(archive, FOLDER)
    assert (number, hold is not None and hold.held) == (2, wanted.held)
    assert (report.changed, report.held) == (True, wanted.held)


async def test_id_that_means_several_recordings_holds_none(
    archive: MemoryArchive,
) -> None:
    """A call that was recorded twice; which one is for a person to say."""
    await archive_recording(archive, [b"0"])
    other = a_chunk(document_id="o", announcement=an_announcement(recording_id="o"))
    await archive_chunk(archive, other, b"x", {})

    with pytest.raises(SeveralRecordingsError, match="means 2 recordings"):
        await recordings_hold(archive, "call-1", HOLD)

    assert not archive.held
    assert await recordings_hold(archive, "nobody", HOLD) is None


async def test_all_folders_of_a_recording_are_held(archive: MemoryArchive) -> None:
    """An announcement that told another call has one of its own."""
    await archive_recording(archive, [b"0"])
    other = a_chunk(document_id="o", announcement=an_announcement(call_id="call-2"))
    await archive_chunk(archive, other, b"x", {})

    report = await change(archive, HOLD)

    assert len(report.folders) == 2
    assert archive.held == set(archive.objects)


async def test_object_in_another_folder_is_held_with_its_receipt(
    archive: MemoryArchive,
) -> None:
    """A receipt may prove what another announcement has put elsewhere."""
    (receipt,) = await archive_recording(archive, [b"0"])
    elsewhere = "recordings/2026/01/01/c/r/0000-doc.mp4"
    await archive.create(elsewhere, b"0")
    moved = replace(receipt, content=replace(receipt.content, name=elsewhere))

    found = [name async for name in holding.objects_of(archive, FOLDER, [moved])]

    assert elsewhere in found
    assert names.receipt_name(receipt.key) in found


async def test_trouble_while_a_chunk_inherits_the_hold_brings_it_back(
    archive: MemoryArchive,
) -> None:
    """It is home and proven; only its hold is owed."""
    (receipt,) = await archive_recording(archive, [b"0"])
    await change(archive, HOLD)
    archive.fail_next(ArchiveUnavailableError("gone"), on="hold")

    with pytest.raises(HoldOwedError):
        await holding.inherit(archive, receipt)


async def test_only_what_is_not_as_it_should_be_is_unlike() -> None:
    """None is of a storage that knows no holds; of the others, what was read back counts."""
    applied = holding.Applied()
    for told in (True, False, None):
        applied.add(told, held=True)

    assert applied == holding.Applied(objects=3, unlike=1, unknown=1)


async def test_archive_that_can_not_hold_inherits_nothing() -> None:
    """A directory: the document is enough."""

    class Bare:
        pass

    archive = MemoryArchive()
    (receipt,) = await archive_recording(archive, [b"0"])

    await holding.inherit(Bare(), receipt)  # type: ignore[arg-type]
    applied = await holding.apply(Bare(), ["a"], held=True)  # type: ignore[arg-type]

    assert applied == holding.Applied(objects=1, unknown=1)
