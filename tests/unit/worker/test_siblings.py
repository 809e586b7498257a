"""Looking at a recording: who was announced, who is archived, who is awaited or lost."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.factories import RETENTION, a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from tests.proofs import a_proof
from tests.tombs import a_tombstone
from worker import deadline, names, recording, siblings, tombstones
from worker.errors import ArchiveUnavailableError, NewerFormatError
from worker.model import Chunk, ChunkKey, ChunkState, Lease, RecordingKey
from worker.queues.entries import entry_id
from worker.recording import RecordingView
from worker.stored import MissingChunk, Receipt, StoredFormatError, encode


class Bench:
    """A queue and an archive, and chunks in them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.queue = MemoryQueue(clock=self.clock)
        self.archive = MemoryArchive(clock=self.clock)

    async def announce(self, *chunks: Chunk) -> None:
        """One delivery for each chunk."""
        for chunk in chunks:
            await self.queue.put(a_delivery(chunk))

    async def lease(self, *wanted: Chunk) -> None:
        """Have these chunks be at work; the others go back."""
        await self._split([chunk.key for chunk in wanted])

    async def bury(self, wanted: Chunk, reason: str = "source-expired") -> None:
        """Give a chunk up."""
        [lease] = await self._split([wanted.key])
        await self.queue.dead_letter(lease, reason=reason, error="gone")

    async def park(self, wanted: Chunk) -> None:
        """Have a chunk wait for its siblings."""
        [lease] = await self._split([wanted.key])
        again = START + timedelta(hours=1)
        await self.queue.reschedule(
            lease, not_before=again, reason="waits", error="", archived=True
        )

    async def _split(self, keys: list[ChunkKey]) -> list[Lease]:
        leases = await self.queue.lease(99)
        for lease in leases:
            if lease.chunk.key not in keys:
                await self.queue.release(lease)
        return [lease for lease in leases if lease.chunk.key in keys]

    async def archived(self, *chunks: Chunk) -> list[Receipt]:
        """Give each chunk its receipt."""
        receipts = [a_receipt(chunk) for chunk in chunks]
        for receipt in receipts:
            await self.archive.create(names.receipt_name(receipt.key), encode(receipt))
        return receipts

    async def view(
        self, chunk: Chunk, *, dead: str | None = None, whole: bool = False
    ) -> RecordingView:
        return await siblings.view(
            self.queue,
            self.archive,
            chunk,
            row=entry_id(chunk),
            dead=dead,
            whole=whole,
        )

    def looked_up(self) -> list[str]:
        """The receipts that were asked for, in order."""
        reads = [name for call, name in self.archive.calls if call == "read"]
        return [name for name in reads if name.startswith(names.RECEIPTS)]


def a_receipt(chunk: Chunk) -> Receipt:
    return replace(
        a_proof(chunk.document_id),
        key=chunk.key,
        index=chunk.index,
        end_reason=chunk.end_reason,
        announced=chunk.announced,
    )


def alone(chunk: Chunk) -> Chunk:
    """The chunk as announced by an event that speaks of it alone."""
    [own] = [sibling for sibling in chunk.announced if sibling.key == chunk.key]
    return replace(chunk, announced=(own,))


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_announced_is_the_union_of_all_that_the_queue_holds(bench: Bench) -> None:
    """Chunks announced one event at a time are one recording."""
    chunks = [alone(chunk) for chunk in some_chunks(3)]
    await bench.announce(*chunks)

    view = await bench.view(chunks[0])

    assert view.announced == {c.key: c.announced[0] for c in chunks}
    assert view.recording == chunks[0].recording
    assert view.announcement == chunks[0].announcement
    assert view.folder == names.recording_folder(view.announcement, view.recording)


async def test_duration_of_the_whole_is_known_from_anyone(bench: Bench) -> None:
    """Events that come before the recording ends don't say how long it is."""
    unsaid = an_announcement(recording_duration_ms=None)
    first, second = some_chunks(2)
    first = alone(replace(first, announcement=unsaid))
    await bench.announce(first, alone(second))

    view = await bench.view(first)

    duration_ms = second.announcement.recording_duration_ms
    assert duration_ms is not None
    assert view.announcement == replace(unsaid, recording_duration_ms=duration_ms)


async def test_chunks_of_another_recording_are_not_siblings(bench: Bench) -> None:
    """The recording decides, not the queue."""
    other = a_chunk(
        document_id="other",
        recording=names.recording_key(
            recording_id="recording-2", call_id=None, started_at=None
        ),
    )
    await bench.announce(other)

    view = await bench.view(a_chunk())

    assert set(view.announced) == {a_chunk().key}
    assert view.alive == frozenset()


async def test_receipt_of_a_sibling_announces_others(bench: Bench) -> None:
    """What the queue has forgotten the archive still knows."""
    first, second, third = some_chunks(3)
    await bench.archived(second, third)

    known = replace(first, announced=first.announced[:2])
    view = await bench.view(known, whole=True)

    assert set(view.announced) == {first.key, second.key, third.key}
    assert set(view.receipts) == {second.key, third.key}


async def test_newest_manifest_announces_what_it_holds(bench: Bench) -> None:
    """A late chunk that was announced alone finds its recording by the manifest."""
    first, second, third = some_chunks(3)
    receipts = await bench.archived(first, second)
    await store_manifests(bench, second, receipts[:1], receipts)

    view = await bench.view(alone(third), whole=True)

    assert set(view.announced) == {first.key, second.key, third.key}
    assert set(view.receipts) == {first.key, second.key}


async def store_manifests(bench: Bench, chunk: Chunk, *states: list[Receipt]) -> None:
    """Manifests 1.. of the chunk's recording, each of these receipts."""
    view = await siblings.view(
        MemoryQueue(clock=bench.clock), MemoryArchive(), chunk, row=""
    )
    for number, receipts in enumerate(states, start=1):
        held = {receipt.key: receipt for receipt in receipts}
        manifest = recording.manifest_of(replace(view, receipts=held))
        name = names.manifest_name(view.folder, number)
        await bench.archive.create(name, encode(manifest))


async def test_current_manifest_is_the_one_with_the_highest_number(
    bench: Bench,
) -> None:
    """Older ones stay and are not read for what the recording is."""
    chunks = some_chunks(2)
    receipts = [a_receipt(chunk) for chunk in chunks]
    folder = names.recording_folder(chunks[0].announcement, chunks[0].recording)
    assert await siblings.current_manifest(bench.archive, folder) == (0, None)

    await store_manifests(bench, chunks[0], receipts[:1], receipts, receipts[1:])
    number, manifest = await siblings.current_manifest(bench.archive, folder)

    assert number == 3
    assert manifest is not None
    assert [chunk.key for chunk in manifest.chunks] == [chunks[1].key]


async def test_chunk_that_a_manifest_called_missing_may_be_home_by_now(
    bench: Bench,
) -> None:
    """The queue may have forgotten it; its receipt tells."""
    first, second = some_chunks(2)
    (held,) = await bench.archived(first)
    await store_manifests(bench, first, [held])
    await bench.archived(second)

    view = await bench.view(first)

    assert set(view.receipts) == {first.key, second.key}
    assert view.dead == {}


async def test_newer_manifest_is_left_to_a_newer_worker(bench: Bench) -> None:
    """A recording that a newer worker closed is not judged by an older one."""
    chunk = a_chunk()
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    await bench.archive.create(names.manifest_name(folder, 1), b'{"v": 2}')

    with pytest.raises(NewerFormatError):
        await bench.view(chunk)


async def test_look_ends_at_a_sibling_that_is_at_work(bench: Bench) -> None:
    """Highest index first: the chunk that comes home last is asked for first, and once."""
    chunks = some_chunks(50)
    await bench.announce(*chunks)

    view = await bench.view(chunks[0])

    assert bench.looked_up() == [names.receipt_name(chunks[-1].key)]
    assert view.alive == {chunks[-1].key}
    assert recording.missing_of(view)


async def test_whole_look_asks_for_every_sibling_once(bench: Bench) -> None:
    """A manifest that says what is missing must know all of it."""
    chunks = some_chunks(5)
    await bench.announce(*chunks)
    await bench.archived(*chunks[1:3])

    view = await bench.view(chunks[0], whole=True)

    receipts = [names.receipt_name(chunk.key) for chunk in chunks]
    tombstone = names.erased_name(chunks[0].key)
    assert sorted(bench.looked_up()) == sorted([*receipts, tombstone])
    assert set(view.receipts) == {chunk.key for chunk in chunks[1:3]}


async def test_own_receipt_is_not_looked_up(bench: Bench) -> None:
    """Whoever has just written it knows it."""
    chunk = a_chunk()
    own = a_receipt(chunk)

    view = await siblings.view(
        bench.queue, bench.archive, chunk, row=entry_id(chunk), receipt=own
    )

    assert bench.looked_up() == []
    assert view.receipts == {chunk.key: own}
    assert recording.missing_of(view) == ()


async def test_pending_and_leased_siblings_are_alive(bench: Bench) -> None:
    """They may still come home; the chunk itself is not awaited."""
    first, pending, leased, parked, dead = some_chunks(5)
    await bench.announce(first, pending, leased, parked, dead)
    await bench.bury(dead)
    await bench.park(parked)
    await bench.lease(leased, first)

    view = await bench.view(first, whole=True)

    assert view.alive == {pending.key, leased.key}
    assert view.dead == {dead.key: "source-expired"}


async def test_archived_siblings_that_look_around_too_are_not_awaited(
    bench: Bench,
) -> None:
    """Chunks that all wait for a dead one and wake together must not wait for each other."""
    chunks = some_chunks(4)
    await bench.announce(*chunks)
    await bench.bury(chunks[3])
    await bench.archived(*chunks[:3])
    await bench.lease(*chunks[:3])

    view = await bench.view(chunks[0])

    assert view.alive == frozenset()
    assert view.dead == {chunks[3].key: "source-expired"}
    assert set(view.receipts) == {chunk.key for chunk in chunks[:3]}


async def test_sibling_with_a_receipt_is_neither_alive_nor_dead(bench: Bench) -> None:
    """A chunk may have several entries; the receipt says that it is home."""
    first, second, third = some_chunks(3)
    await bench.announce(first, second, third)
    await bench.bury(second)
    await bench.archived(second, third)

    view = await bench.view(first, whole=True)

    assert view.alive == frozenset()
    assert view.dead == {}


async def test_chunk_given_up_and_announced_anew_is_alive(bench: Bench) -> None:
    """A false announcement that died doesn't end the wait for the right one."""
    first, second = some_chunks(2)
    false = replace(second, metadata_location=None)
    await bench.announce(first, false)
    await bench.bury(false)
    await bench.announce(second)

    view = await bench.view(first)

    assert view.alive == {second.key}
    assert view.dead == {}


async def test_chunk_about_to_die_is_dead_with_its_reason(bench: Bench) -> None:
    """Its recording's manifest says so before the queue does."""
    first, second = some_chunks(2)
    await bench.announce(first, second)

    view = await bench.view(second, dead="host-not-allowed", whole=True)

    assert view.dead == {second.key: "host-not-allowed"}
    assert view.alive == {first.key}


async def test_dead_entry_without_a_reason_is_dead(bench: Bench) -> None:
    """The manifest never lacks a word for what is lost."""
    first, second = some_chunks(2)
    await bench.announce(first, second)
    await bench.bury(second, reason="")

    view = await bench.view(first)

    assert view.dead == {second.key: "dead"}


async def test_deadline_is_of_the_latest_sibling(bench: Bench) -> None:
    """The recording is open as long as any of its chunks may come."""
    first, second = some_chunks(2)
    late = replace(second, expires_at=START + 3 * RETENTION)

    async def found() -> datetime:
        return (await bench.view(first)).deadline

    assert await found() == START + RETENTION
    await bench.announce(late)
    assert await found() == START + 3 * RETENTION
    assert deadline.LATE_SIBLINGS < RETENTION


async def test_receipt_is_found_by_the_key_alone(bench: Bench) -> None:
    """One look, no listing."""
    [receipt] = await bench.archived(a_chunk())

    assert await siblings.read_receipt(bench.archive, receipt.key) == receipt
    assert await siblings.read_receipt(bench.archive, ChunkKey("other")) is None
    assert {call for call, _ in bench.archive.calls} == {"create", "read"}


async def test_damaged_receipt_is_no_proof(bench: Bench) -> None:
    """It is neither taken for one nor for none."""
    name = names.receipt_name(ChunkKey("k"))
    await bench.archive.create(name, b"{}")

    with pytest.raises(StoredFormatError):
        await siblings.read_receipt(bench.archive, ChunkKey("k"))


async def test_receipt_of_another_chunk_is_no_proof(bench: Bench) -> None:
    """A file system that ignores case shows one id's receipt under another's name."""
    (receipt,) = await bench.archived(a_chunk(document_id="abc"))
    name = names.receipt_name(ChunkKey("ABC"))
    await bench.archive.create(name, encode(receipt))

    with pytest.raises(StoredFormatError):
        await siblings.read_receipt(bench.archive, ChunkKey("ABC"))


async def test_trouble_of_the_archive_is_not_a_missing_receipt(bench: Bench) -> None:
    """Nobody is declared missing because the archive did not answer."""
    first, second = some_chunks(2)
    await bench.announce(second)
    bench.archive.fail_next(ArchiveUnavailableError(), matching=names.RECEIPTS)

    with pytest.raises(ArchiveUnavailableError):
        await bench.view(first)


def test_what_is_missing_is_said_in_one_bounded_line() -> None:
    """A log line names the first few and counts the rest."""
    lacks = [MissingChunk(index=n, key=None, reason="x") for n in range(7)]

    assert siblings.described([]) == ""
    assert siblings.described(lacks[:2]) == "chunk 0: x; chunk 1: x"
    assert siblings.described(lacks[:5]).endswith("chunk 4: x")
    assert siblings.described(lacks) == (
        "chunk 0: x; chunk 1: x; chunk 2: x; chunk 3: x; chunk 4: x; 2 more"
    )


def test_states_of_the_queue_are_all_accounted_for() -> None:
    """A new state must be told alive, waiting or dead."""
    assert set(ChunkState) == {"pending", "leased", "archived", "deleted", "dead"}


async def test_erased_sibling_is_waited_for_by_nobody(bench: Bench) -> None:
    """It counts as given up, also if only the others' announcement knows of it."""
    chunks = some_chunks(3)
    await bench.archived(chunks[2])
    for chunk in chunks[:2]:
        await tombstones.make(bench.archive, a_tombstone(chunk))

    view = await bench.view(chunks[2])

    assert view.dead == {chunk.key: "erased" for chunk in chunks[:2]}
    assert not view.alive
    told = [(gap.index, gap.reason) for gap in recording.missing_of(view)]
    assert told == [(0, "erased"), (1, "erased")]


async def test_tombstone_of_another_recording_is_none(bench: Bench) -> None:
    """That one was erased, which happened to name the same document."""
    chunks = some_chunks(2)
    await bench.archived(chunks[1])
    other = replace(a_tombstone(chunks[0]), recording=RecordingKey("other"))
    await tombstones.make(bench.archive, other)

    view = await bench.view(chunks[1])

    assert view.dead == {}
    assert chunks[0].key not in view.receipts
