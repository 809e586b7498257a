"""Erasure: all of one recording goes, tombstones stay, and a kill changes nothing of the end."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.archived import archive_chunk, archive_manifest, archive_recording, chunks_of
from tests.factories import RETENTION, a_chunk, a_delivery, an_announcement
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from worker import holding, names
from worker.errors import AlreadyExistsError, ArchiveUnavailableError
from worker.model import ChunkState, ErasureReason, RecordingKey
from worker.ops.erasing import (
    AtWorkError,
    CantEraseError,
    EraseReport,
    LockedError,
    Order,
    UnderHoldError,
    recordings_erase,
)
from worker.ops.holding import SeveralRecordingsError, Wanted, recordings_hold
from worker.ops.recordings import recordings_erased
from worker.stored import Erased, Notice, ProvenObject, decode, encode

CHUNKS = chunks_of(3)
RECORDING = CHUNKS[0].recording
FOLDER = names.recording_folder(CHUNKS[0].announcement, RECORDING)
ORDER = Order(reason=ErasureReason.REQUEST, by="ann", at=START)
OTHER = a_chunk(
    document_id="0-eus-d1-other", announcement=an_announcement(recording_id="other")
)


class World:
    """An archive and a queue with one recording that is home, and another's chunk."""

    def __init__(self) -> None:
        self.archive = MemoryArchive()
        self.queue = MemoryQueue(clock=ManualClock())

    async def fill(self) -> None:
        """Two chunks home, the third lost at the source; all that is written about them."""
        receipts = await archive_recording(
            self.archive, [b"0", b"11", None], metadata=[{"a": 1}, {}, {}]
        )
        await self.archive.create(names.source_deleted_name(receipts[0].key), b"{}")
        await self.archive.create(
            names.content_proof_name(CHUNKS[2]),
            encode(replace(receipts[0].content, name=names.content_name(CHUNKS[2]))),
        )
        second = names.content_name(CHUNKS[1], candidate=2)
        await self.archive.create(second, b"another try")
        await archive_chunk(self.archive, OTHER, b"other", {})
        for name, notice in self._notices():
            await self.archive.create(name, encode(notice))
            await self.archive.create(names.notice_sent_name(name), b"")
        await self.queue.put(a_delivery(*CHUNKS))
        while leases := await self.queue.lease(1):
            await self.queue.complete(leases[0], ChunkState.DELETED, note="")
        await self.queue.put(a_delivery(OTHER, body=b"other"))

    def _notices(self) -> Sequence[tuple[str, Notice]]:
        notices = [
            (f"recording-archived-{names.digest(FOLDER)[:32]}-0001", RECORDING),
            (f"recording-at-risk-{RECORDING}-20260301", RECORDING),
            ("chunk-dead-lettered-" + "1" * 32, RECORDING),
            ("chunk-dead-lettered-" + "2" * 32, OTHER.recording),
            (f"recording-at-risk-{OTHER.recording}-20260301", OTHER.recording),
        ]
        return [
            (
                names.notice_name(id_, START),
                Notice(
                    id=id_,
                    type="T",
                    subject="s",
                    time=START,
                    data={"recording": recording},
                ),
            )
            for id_, recording in notices
        ]

    def of_others(self) -> set[str]:
        """What is not of the recording."""
        return {
            name
            for name in self.archive.objects
            if OTHER.recording in name or OTHER.key in name or "2" * 32 in name
        }

    async def erase(self, text: str = RECORDING, order: Order = ORDER) -> EraseReport:
        report = await recordings_erase(self.archive, self.queue, text, order)
        assert report is not None
        return report


@pytest.fixture
async def world() -> World:
    world = World()
    await world.fill()
    return world


TOMBSTONES = {names.erased_name(chunk.key) for chunk in CHUNKS}


async def test_all_of_the_recording_goes_and_tombstones_stay(world: World) -> None:
    """Every try of a content, metadata, manifests, receipts, records, proofs, notices, rows."""
    others = world.of_others()
    before = set(world.archive.objects)

    report = await world.erase()

    assert set(world.archive.objects) == others | TOMBSTONES
    assert set(report.objects) == before - others
    assert report.chunks == 3
    assert (report.queue_entries, report.deliveries) == (3, 1)
    assert (report.came_meanwhile, report.shared_deliveries) == (0, 0)
    assert [entry.chunk for entry in await world.queue.list()] == [OTHER]


async def test_tombstone_says_what_who_when_and_nothing_of_people(world: World) -> None:
    """Sizes of what was there, none of what never came home; no id that leads to a call."""
    await world.erase()

    stones = [
        decode(Erased, world.archive.objects[name]) for name in sorted(TOMBSTONES)
    ]
    by_key = {stone.key: stone for stone in stones}
    assert by_key[CHUNKS[1].key] == Erased(
        worker_version=by_key[CHUNKS[1].key].worker_version,
        key=CHUNKS[1].key,
        recording=RECORDING,
        index=1,
        content_bytes=2,
        metadata_bytes=2,
        reason="data-subject-request",
        erased_at=START,
        erased_by="ann",
    )
    assert by_key[CHUNKS[2].key].content_bytes is None
    left = b"".join(world.archive.objects[name] for name in TOMBSTONES)
    assert b"call-1" not in left
    assert b"recording-1" not in left


async def test_dry_run_tells_and_changes_nothing(world: World) -> None:
    """What would go, by name; also from the queue."""
    before = dict(world.archive.objects)

    would = await world.erase(order=replace(ORDER, dry_run=True))

    assert world.archive.objects == before
    assert len(await world.queue.list()) == 4
    did = await world.erase()
    assert replace(did, dry_run=True) == would


async def test_killed_at_any_line_it_ends_the_same() -> None:
    """Each call that changes something is cut once, before and after it took effect."""
    whole = World()
    await whole.fill()
    await whole.erase()
    changes = [c for c in whole.archive.calls if c[0] in {"create", "erase"}]
    begun = next(i for i, c in enumerate(changes) if "erasing" in c[1])
    cuts = changes[begun:]
    assert len(cuts) > 20

    for operation, name in cuts:
        for late in (False, True):
            cut = World()
            await cut.fill()
            cut.archive.fail_next(
                ArchiveUnavailableError("killed"),
                on=operation,
                matching=name,
                late=late,
            )
            with pytest.raises(ArchiveUnavailableError):
                await cut.erase()

            report = await cut.erase()

            assert report.came_meanwhile == 0
            assert cut.archive.objects == whole.archive.objects
            assert [entry.chunk for entry in await cut.queue.list()] == [OTHER]


async def test_held_recording_is_not_erased(world: World) -> None:
    """Neither by our document nor by the storage's own hold."""
    held = Wanted(held=True, reason="case 4711", by="bob", at=START)
    await recordings_hold(world.archive, RECORDING, held)
    before = dict(world.archive.objects)

    with pytest.raises(UnderHoldError, match=r"since 2026-03-01 by bob: 'case 4711'"):
        await world.erase()
    with pytest.raises(UnderHoldError):
        await world.erase(order=replace(ORDER, dry_run=True))
    await recordings_hold(world.archive, RECORDING, replace(held, held=False))
    world.archive.held = frozenset({names.receipt_name(CHUNKS[0].key)})
    with pytest.raises(UnderHoldError, match="the storage holds 'receipts/"):
        await world.erase()
    number, _ = await holding.current(world.archive, FOLDER)
    assert number == 2
    assert before.keys() <= world.archive.objects.keys()

    world.archive.held = frozenset()
    assert (await world.erase()).came_meanwhile == 0
    assert not [name for name in world.archive.objects if "hold." in name]


async def test_locked_recording_is_refused_with_the_date(world: World) -> None:
    """The latest of all; a policy that is over keeps nothing."""
    world.archive.locked = {
        names.content_name(CHUNKS[0]): START + timedelta(days=30),
        names.metadata_name(CHUNKS[0]): START + timedelta(days=20),
    }
    before = dict(world.archive.objects)

    with pytest.raises(LockedError, match="keeps it until 2026-03-31 12:00:00Z"):
        await world.erase()
    assert world.archive.objects == before

    world.archive.locked = {}
    report = await world.erase(order=replace(ORDER, at=START + timedelta(days=31)))
    assert report.chunks == 3


async def test_chunk_at_work_is_refused_with_the_command_that_shows_it(
    world: World,
) -> None:
    """Whoever has it may be writing what would be erased."""
    late = chunks_of(4)[3]
    await world.queue.put(a_delivery(late))

    with pytest.raises(
        AtWorkError, match="1 of its chunks are still at work"
    ) as raised:
        await world.erase()

    assert raised.value.hint is not None
    assert raised.value.hint.startswith("recording-worker queue show 0-eus-d1-doc1-")


async def test_erasure_that_was_begun_is_finished_though_a_chunk_came_back(
    world: World,
) -> None:
    """It finds its tombstone; that it came is said."""
    world.archive.fail_next(ArchiveUnavailableError("killed"), on="erase")
    with pytest.raises(ArchiveUnavailableError):
        await world.erase()
    await world.queue.put(a_delivery(CHUNKS[0], body=b"again"))

    report = await world.erase()

    assert report.came_meanwhile == 1
    assert set(world.archive.objects) == world.of_others() | TOMBSTONES


@pytest.mark.parametrize(
    "text", [RECORDING, "recording-1", CHUNKS[0].document_id, CHUNKS[2].document_id]
)
async def test_erased_recording_can_be_erased_again(world: World, text: str) -> None:
    """By any id that leads to its tombstones: what came since goes from the queue."""
    await world.erase()
    await world.queue.put(a_delivery(CHUNKS[0], body=b"again"))
    for lease in await world.queue.lease(2):
        if lease.chunk == OTHER:
            await world.queue.release(lease)
        else:
            await world.queue.complete(lease, ChunkState.DELETED, note="erased")

    report = await world.erase(text)

    assert (report.objects, report.queue_entries) == ((), 1)
    assert [entry.chunk for entry in await world.queue.list()] == [OTHER]
    (erased,) = await recordings_erased(world.archive, RECORDING)
    assert [stone.erased_by for stone in erased.erased] == ["ann"] * 3


async def test_late_chunk_of_an_erased_recording_is_erased_as_well(
    world: World,
) -> None:
    """Its tombstone is one more; those of the others are as they were."""
    await world.erase()
    late = chunks_of(4)[3]
    receipt = await archive_chunk(world.archive, late, b"late", {})
    await archive_manifest(world.archive, [late], [receipt])

    report = await world.erase(order=replace(ORDER, by="bob"))

    stones = {*TOMBSTONES, names.erased_name(late.key)}
    assert set(world.archive.objects) == world.of_others() | stones
    assert report.chunks == 4
    stone = decode(Erased, world.archive.objects[names.erased_name(CHUNKS[0].key)])
    assert stone.erased_by == "ann"


async def test_chunk_of_another_recording_is_left_alone(world: World) -> None:
    """Its receipt is the other's, whatever a false announcement put into this manifest."""
    false = replace(OTHER, recording=RECORDING, announcement=CHUNKS[0].announcement)
    await world.queue.put(a_delivery(false, body=b"false"))
    while leases := await world.queue.lease(1):
        await world.queue.complete(leases[0], ChunkState.DELETED, note="")
    others = {name: world.archive.objects[name] for name in world.of_others()}

    report = await world.erase()

    assert report.chunks == 3
    left = {name: world.archive.objects[name] for name in world.of_others()}
    assert left == others
    assert names.erased_name(OTHER.key) not in world.archive.objects


async def test_all_folders_of_a_recording_are_erased(world: World) -> None:
    """One announcement told another call; its chunk is as much of the recording."""
    other_call = a_chunk(
        document_id="elsewhere", announcement=an_announcement(call_id="call-2")
    )
    await archive_chunk(world.archive, other_call, b"x", {})

    await world.erase()

    stones = {*TOMBSTONES, names.erased_name(other_call.key)}
    assert set(world.archive.objects) == world.of_others() | stones


async def test_what_lies_elsewhere_is_told(world: World) -> None:
    """A content in the user's own storage is theirs to erase; its receipt goes."""
    chunk = chunks_of(4)[3]
    receipt = await archive_chunk(world.archive, chunk, b"x", {})
    url = "https://own.blob.core.windows.net/c/0.mp4"
    far = "recordings/2026/01/01/c/r/0003-x.metadata.json"
    await world.archive.create(far, b"{}")
    world.archive.lose(names.receipt_name(chunk.key))
    assert receipt.metadata is not None
    moved = replace(
        receipt,
        content=replace(receipt.content, name=url),
        metadata=replace(receipt.metadata, name=far),
    )
    await world.archive.create(names.receipt_name(chunk.key), encode(moved))

    report = await world.erase()

    assert report.elsewhere == (url,)
    assert far in report.objects
    assert far not in world.archive.objects


async def test_what_soft_delete_keeps_is_told(world: World) -> None:
    """With the days that are left; it goes by itself."""
    world.archive.has_soft_delete = True

    report = await world.erase()

    assert report.soft_deleted == len([*report.objects, "what was written down"])
    assert report.soft_deleted_days == 7


async def test_copy_at_the_source_is_told(world: World) -> None:
    """Chunk 1 was never deleted there: ACS drops it by itself."""
    report = await world.erase()
    assert report.source_keeps_until == START + RETENTION

    again = World()
    await again.fill()
    late = await again.erase(order=replace(ORDER, at=START + 2 * RETENTION))
    assert late.source_keeps_until is None


async def test_object_that_came_while_it_was_erased_is_told(world: World) -> None:
    """The folder is looked at again at the end."""
    archive = world.archive
    real = archive.erase

    async def erase(name: str) -> None:
        await real(name)
        if "erasing" in name:
            archive.store(f"{FOLDER}late", b"x")

    archive.erase = erase  # type: ignore[method-assign]

    assert (await world.erase()).came_meanwhile == 1


async def test_two_who_erase_at_once_do_not_write_over_each_other(
    world: World,
) -> None:
    """The second writes down its own list, and both go at the end."""
    archive = world.archive
    theirs = names.erasing_name(FOLDER, 1)
    real = archive.create

    async def create(name: str, data: bytes) -> object:
        if name == theirs and theirs not in archive.objects:
            await real(name, data)
            raise AlreadyExistsError("theirs")
        return await real(name, data)

    archive.create = create  # type: ignore[method-assign, assignment]

    await world.erase()

    assert set(archive.objects) == world.of_others() | TOMBSTONES


async def test_ids_of_several_recordings_erase_none(world: World) -> None:
    """While they are there, and when tombstones alone tell of them."""
    before = dict(world.archive.objects)
    with pytest.raises(SeveralRecordingsError, match="means 2 recordings"):
        await world.erase("call-1")
    assert world.archive.objects == before
    nobody = await recordings_erase(world.archive, world.queue, "nobody", ORDER)
    assert nobody is None

    stone = Erased(
        worker_version="1",
        key=CHUNKS[0].key,
        recording=RecordingKey("a"),
        index=0,
        content_bytes=1,
        metadata_bytes=None,
        reason="unlawful",
        erased_at=START,
        erased_by="ann",
    )
    empty = MemoryArchive()
    await empty.create(names.erased_name(stone.key), encode(stone))
    await empty.create(
        names.erased_name(stone.key, candidate=2),
        encode(replace(stone, recording=RecordingKey("b"))),
    )
    with pytest.raises(SeveralRecordingsError, match="meant 2 recordings: a, b"):
        await recordings_erase(empty, world.queue, CHUNKS[0].document_id, ORDER)


async def test_adapters_without_the_ability_are_told(world: World) -> None:
    """One line each, before anything is looked at."""

    class Bare:
        pass

    with pytest.raises(CantEraseError, match="archive can't erase"):
        await recordings_erase(Bare(), world.queue, "x", ORDER)  # type: ignore[arg-type]
    with pytest.raises(CantEraseError, match="queue can't forget"):
        await recordings_erase(world.archive, Bare(), "x", ORDER)  # type: ignore[arg-type]


async def test_proof_of_theirs_try_is_left(world: World) -> None:
    """Another recording may be waiting for the metadata of a document that ours named."""
    (receipt,) = [
        decode(ProvenObject, data)
        for name, data in world.archive.objects.items()
        if name == names.content_proof_name(CHUNKS[2])
    ]
    theirs = names.receipt_name(CHUNKS[2].key).removesuffix("json")
    theirs += "00000000.content.json"
    elsewhere = replace(receipt, name=names.content_name(OTHER))
    await world.archive.create(theirs, encode(elsewhere))

    await world.erase()

    assert theirs in world.archive.objects
    assert names.content_proof_name(CHUNKS[2]) not in world.archive.objects


async def test_damaged_manifest_keeps_nobody_from_erasing(world: World) -> None:
    """Files, receipts and the queue know the same chunks."""
    name = names.manifest_name(FOLDER, 1)
    world.archive.lose(name)
    await world.archive.create(name, b"not a manifest")

    assert (await world.erase()).chunks == 3

    assert set(world.archive.objects) == world.of_others() | TOMBSTONES


async def test_recording_that_lies_elsewhere_leaves_no_record_here(
    world: World,
) -> None:
    """It was proven in the user's own storage: there is a receipt, and no folder."""
    chunk = a_chunk(
        document_id="0-eus-d1-own", announcement=an_announcement(recording_id="own")
    )
    receipt = await archive_chunk(MemoryArchive(), chunk, b"x", {})
    url = "https://own.blob.core.windows.net/c/0.mp4"
    content = replace(receipt.content, name=url)
    external = replace(receipt, content=content, metadata=None)
    await world.archive.create(names.receipt_name(chunk.key), encode(external))

    report = await world.erase(chunk.document_id)

    assert report.elsewhere == (url,)
    assert [n for n in world.archive.objects if "d1-own" in n] == [
        names.erased_name(chunk.key)
    ]
    assert report.source_keeps_until is None


async def test_notice_that_can_not_be_read_is_left(world: World) -> None:
    """Nobody knows whose it is."""
    name = names.notice_name("chunk-dead-lettered-" + "3" * 32, START)
    await world.archive.create(name, b"no notice")

    await world.erase()

    assert name in world.archive.objects
