"""What every queue does when a recording is erased."""

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.contract.queues import (
    WholeQueue,
    sqlite_rig,
    storage_rig,
)
from tests.factories import a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.tombs import a_tombstone
from worker import tombstones
from worker.errors import ArchiveUnavailableError, QueueUnavailableError
from worker.keeping import ForgettingQueue
from worker.model import Chunk, ChunkState, Forgotten

OTHER = a_chunk(
    document_id="0-eus-d1-other",
    announcement=an_announcement(recording_id="other", raw='{"other": 1}'),
)
RECORDING = a_chunk().recording


async def forget(
    queue: WholeQueue, *documents: str, dry_run: bool = False
) -> Forgotten:
    assert isinstance(queue, ForgettingQueue)
    return await queue.forget(RECORDING, documents, dry_run=dry_run)


async def settle_all(queue: WholeQueue) -> None:
    """One is deleted at the source, one is dead, one is archived; then in turn."""
    number = 0
    while leases := await queue.lease(1):
        for lease in leases:
            if number % 3 == 1:
                await queue.dead_letter(lease, reason="expired", error="404")
            else:
                state = ChunkState.ARCHIVED if number % 3 else ChunkState.DELETED
                await queue.complete(lease, state, note="n")
            number += 1


async def test_settled_and_dead_entries_are_forgotten(queue: WholeQueue) -> None:
    """With their bodies; a dry run counts the same and changes nothing."""
    await queue.put(a_delivery(*some_chunks(3)))
    await settle_all(queue)
    before = await queue.counts(at_risk_within=timedelta())

    would = await forget(queue, dry_run=True)
    unchanged = await queue.counts(at_risk_within=timedelta())
    did = await forget(queue)
    again = await forget(queue)

    assert would == did == Forgotten(entries=3, deliveries=1, shared=0, at_work=0)
    assert unchanged == before
    assert again == Forgotten(entries=0, deliveries=0, shared=0, at_work=0)
    assert await queue.list() == []
    assert await queue.announced(RECORDING) == []
    assert await queue.naming("0-eus-d1-doc1-0") == []
    assert await queue.find("0-eus-d1-doc1") == []
    counts = await queue.counts(at_risk_within=timedelta())
    assert sum(counts.by_state.values()) == 0
    assert counts.dead == {}


async def test_other_recordings_stay(queue: WholeQueue) -> None:
    """Also one that was announced in the same body."""
    chunks = some_chunks(2)
    await queue.put(a_delivery(*chunks, OTHER))
    await queue.put(a_delivery(OTHER, body=b"again"))
    await settle_all(queue)

    told = await forget(queue)

    assert (told.entries, told.at_work) == (2, 0)
    assert told.deliveries + told.shared == 1
    assert [entry.chunk for entry in await queue.announced(OTHER.recording)] == [OTHER]
    assert [entry.chunk for entry in await queue.naming(OTHER.document_id)] == [OTHER]


async def test_what_is_not_settled_stays_and_is_counted(queue: WholeQueue) -> None:
    """Somebody may be at work on it; its body stays readable, too."""
    chunk = a_chunk()
    await queue.put(a_delivery(chunk))
    (lease,) = await queue.lease(1)

    told = await forget(queue)

    assert (told.entries, told.at_work) == (0, 1)
    assert [entry.chunk for entry in await queue.announced(RECORDING)] == [chunk]
    await queue.complete(lease, ChunkState.DELETED, note="")
    assert (await forget(queue)).entries == 1


async def test_what_was_forgotten_can_be_announced_again(queue: WholeQueue) -> None:
    """By the same body: whoever brings it home finds the tombstone."""
    delivery = a_delivery(*some_chunks(1))
    await queue.put(delivery)
    await settle_all(queue)
    await forget(queue)

    await queue.put(delivery)

    assert [lease.chunk for lease in await queue.lease(1)] == list(some_chunks(1))


def event_body(*chunks: Chunk) -> bytes:
    events = [chunk.announcement.raw for chunk in chunks]
    return f"[{','.join(events)}]".encode()


def a_raw_chunk(document: str, recording: str) -> Chunk:
    raw = json.dumps({"recordingId": recording, "documentId": document})
    announcement = an_announcement(recording_id=recording, raw=raw)
    return a_chunk(document_id=document, announcement=announcement)


async def test_file_holds_nothing_of_it_any_more(tmp_path: Path) -> None:
    """Neither in its pages nor in its log; the other recording's event is kept as it was."""
    mine = a_raw_chunk("0-eus-d1-mine", "recording-1")
    other = a_raw_chunk("0-eus-d1-other", "other")
    async with sqlite_rig(ManualClock(), tmp_path) as rig:
        queue = rig.queue
        await queue.put(a_delivery(mine, other, body=event_body(mine, other)))
        # Said again in another body: no entry leads to that.
        again = event_body(mine).replace(b"[", b"[ ")
        await queue.put(a_delivery(mine, body=again))
        await queue.put(a_delivery(body=b"[" + b"x" * 9000 + b"0-eus-d1-mine"))
        await settle_all(queue)
        assert b"0-eus-d1-mine" in bytes_below(tmp_path)

        told = await forget(queue)

        assert told == Forgotten(entries=1, deliveries=3, shared=0, at_work=0)
        assert b"0-eus-d1-mine" not in bytes_below(tmp_path)
        assert b"recording-1" not in bytes_below(tmp_path)
        (kept,) = await queue.announced(other.recording)
        assert kept.chunk == other


async def test_body_is_found_by_a_document_that_no_entry_names(tmp_path: Path) -> None:
    """What was pruned left its delivery behind, perhaps."""
    async with sqlite_rig(ManualClock(), tmp_path) as rig:
        await rig.queue.put(a_delivery(body=b"0-eus-d1-pruned"))

        told = await forget(rig.queue, "0-eus-d1-pruned")

        assert told.deliveries == 1
        with closing(sqlite3.connect(tmp_path / "queue.db")) as db:
            assert db.execute("SELECT count(*) FROM deliveries").fetchone() == (0,)


def bytes_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_ledger_names_nothing_of_it_any_more(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """A delivery that another recording is in stays, and is said."""
    clock = ManualClock()
    archive = MemoryArchive(clock=clock)
    name = unique_name("forget")
    async with storage_rig(clock, azurite, name, archive=archive) as rig:
        await rig.queue.put(a_delivery(*some_chunks(2)))
        await settle_all(rig.queue)
        assert (await forget(rig.queue)).shared == 0
        assert archive.objects == {}

        await rig.queue.put(a_delivery(*some_chunks(2), OTHER))
        await settle_all(rig.queue)
        told = await forget(rig.queue)

        assert told == Forgotten(entries=2, deliveries=0, shared=1, at_work=0)
        folder = f"announced/recordings/{RECORDING}/"
        assert not [each for each in archive.objects if each.startswith(folder)]


async def test_delivery_that_came_in_several_hours_is_forgotten_in_all(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """The ledger keeps it once for each hour."""
    clock = ManualClock()
    archive = MemoryArchive(clock=clock)
    name = unique_name("forget")
    async with storage_rig(clock, azurite, name, archive=archive) as rig:
        for hours in (0, 1):
            at = START + timedelta(hours=hours)
            await rig.queue.put(a_delivery(*some_chunks(1), received_at=at))
            await settle_all(rig.queue)

        told = await forget(rig.queue)

        assert (told.deliveries, told.shared) == (2, 0)
        assert archive.objects == {}


async def test_entry_whose_deadline_moved_is_found(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """While it is at work under another time, and when it is done."""
    clock = ManualClock()
    archive = MemoryArchive(clock=clock)
    chunk = a_chunk()
    name = unique_name("forget")
    async with storage_rig(clock, azurite, name, archive=archive) as rig:
        await rig.queue.put(a_delivery(chunk))
        (lease,) = await rig.queue.lease(1)
        await rig.queue.reschedule(
            lease,
            not_before=START,
            reason="r",
            error="",
            expires_at=START + timedelta(hours=2),
        )

        assert (await forget(rig.queue)).at_work == 1
        lease = await rig.lease_after(0)
        await rig.queue.complete(lease, ChunkState.ARCHIVED, note="")
        assert (await forget(rig.queue)).entries == 1
        assert archive.objects == {}


async def test_outstanding_entry_with_a_tombstone_is_not_at_work(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Whoever receives its message finds the tombstone; one that waits is at work."""
    clock = ManualClock()
    archive = MemoryArchive(clock=clock)
    name = unique_name("forget")
    async with storage_rig(clock, azurite, name, archive=archive) as rig:
        await rig.queue.put(a_delivery(*some_chunks(1)))
        (lease,) = await rig.queue.lease(1)
        await rig.queue.reschedule(
            lease, not_before=START, reason="siblings", error="", archived=True
        )
        assert (await forget(rig.queue, dry_run=True)).at_work == 1
        await tombstones.make(archive, a_tombstone(some_chunks(1)[0]))

        assert (await forget(rig.queue)).entries == 1


async def test_ledger_is_forgotten_though_it_was_killed_at_any_line(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """What leads to the rest goes last; run again, it ends the same."""
    clock = ManualClock()
    archive = MemoryArchive(clock=clock)
    name = unique_name("forget")
    async with storage_rig(clock, azurite, name, archive=archive) as rig:
        for number in range(100):
            await rig.queue.put(a_delivery(*some_chunks(2)))
            await settle_all(rig.queue)
            erases = await erased_until(archive, rig.queue, number)
            await forget(rig.queue)
            assert archive.objects == {}
            if erases <= number:
                assert number > 10
                return
    raise AssertionError("it never came to an end")


async def erased_until(archive: MemoryArchive, queue: WholeQueue, number: int) -> int:
    """Forget until so many objects are gone; how many there were to erase, if all went."""
    real, done = archive.erase, 0

    async def erase(name: str) -> None:
        nonlocal done
        if done == number:
            raise ArchiveUnavailableError("killed")
        done += 1
        await real(name)

    archive.erase = erase  # type: ignore[method-assign]
    try:
        await forget(queue)
    except QueueUnavailableError:
        return number + 1
    else:
        return done
    finally:
        archive.erase = real  # type: ignore[method-assign]


async def test_delivery_that_can_not_be_read_stays(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Nobody knows who else is in it; what leads to it goes."""
    clock = ManualClock()
    archive = MemoryArchive(clock=clock)
    name = unique_name("forget")
    async with storage_rig(clock, azurite, name, archive=archive) as rig:
        await rig.queue.put(a_delivery(*some_chunks(1)))
        await settle_all(rig.queue)
        (delivery,) = [
            n for n in archive.objects if n.endswith(".01.20260302T120000Z.json")
        ]
        archive.lose(delivery)
        await archive.create(delivery, b"{")
        await archive.create(delivery.replace(".json", ".foreign"), b"")
    async with storage_rig(clock, azurite, name, archive=archive) as rig:
        told = await forget(rig.queue)

        assert (told.deliveries, told.shared) == (0, 1)
        assert await rig.queue.announced(RECORDING) == []
        assert delivery in archive.objects
