"""The engine as it is wired: stand-in for ACS, signed requests, SQLite, a directory.

Time runs a hundred times faster, so that backoffs and pauses are waited out for real.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from samples.acs import SeenRequest, StandIn
from samples.acsmetadata import metadata_of
from samples.faults import Fault, FaultKind
from samples.objects import Part
from tests import media
from tests.factories import a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.clock import HurriedClock
from worker import app, names, opening
from worker.consumer import Consumer
from worker.model import Chunk, ChunkState, QueuedChunk
from worker.opening import WholeQueue
from worker.settings import Settings
from worker.settings_rules import Use
from worker.sources import session
from worker.stored import Manifest, Receipt, decode

PATIENCE_S = 20
PARTS: tuple[Part, ...] = ("content", "metadata", "delete")
FOREIGN = "https://evil.example.com/v1/objects/doc"
SIZES = {"small": 20_000, "of several ranges": 2_500_000}

EVERY_FAULT = [
    *(Fault.status(code) for code in (400, 401, 403, 404, 408, 410, 416, 500, 503)),
    Fault.status(429, retry_after=3),
    Fault.status(503, retry_after=60),
    Fault.html_400(),
    Fault.cut_after(-1),
    Fault.cut_after(0),
    Fault.cut_after(100),
    Fault.empty(),
    Fault.ignore_ranges(),
    Fault.no_length(),
    Fault.wrong_range(),
    Fault.wrong_total(),
    Fault.changed_last_modified(),
    Fault.redirect_to(FOREIGN),
    Fault.short_body(),
    Fault.wrong_bytes(),
    Fault.slow(0.05),
    Fault.hang(),
    Fault.hang(100),
    Fault.foreign_metadata(),
]
# What does not end as archived and deleted.
KEPT: dict[tuple[FaultKind, Part], str] = {
    (FaultKind.NO_LENGTH, "content"): "size-not-announced",
    (FaultKind.FOREIGN_METADATA, "metadata"): "metadata-names-another-document",
    (FaultKind.REDIRECT_TO, "delete"): "",
}
DEAD: set[tuple[FaultKind, Part]] = {
    (FaultKind.REDIRECT_TO, "content"),
    (FaultKind.REDIRECT_TO, "metadata"),
}


class WatchedRequests(list[SeenRequest]):
    """The stand-in's log; on the arrival of a delete it looks for the receipt."""

    def __init__(self, archive: Path) -> None:
        super().__init__()
        self.archive = archive
        self.unproven: list[str] = []

    def append(self, seen: SeenRequest) -> None:
        if seen.method == "DELETE":
            document_id = seen.path.split("/")[3]
            receipt = receipt_in(self.archive, document_id)
            if receipt is None or receipt.metadata is None or receipt.flags:
                self.unproven.append(seen.path)
        super().append(seen)


def receipt_in(archive: Path, key: str) -> Receipt | None:
    path = archive / f"receipts/{names.digest(key)[:2]}/{key}.json"
    return decode(Receipt, path.read_bytes()) if path.exists() else None


@dataclass(slots=True, kw_only=True)
class World:
    """What the settings name, open; and the stand-in that they point to."""

    acs: StandIn
    requests: WatchedRequests
    queue: WholeQueue
    consumer: Consumer
    archive: Path
    contents: dict[str, bytes] = field(default_factory=dict)

    def offer(self, *chunks: Chunk, size: int = SIZES["small"]) -> None:
        for chunk in chunks:
            content = media.mp4(media=Random(chunk.key).randbytes(size))  # noqa: S311
            self.contents[chunk.key] = content
            metadata = metadata_of(
                chunk.document_id, index=chunk.index, duration_ms=4000
            ).replace(b"2026-02-03T09:15:27", b"2026-03-01T11:59:56")
            self.acs.put(chunk.document_id, content=content, metadata=metadata)

    async def announce(self, *chunks: Chunk) -> None:
        await self.queue.put(a_delivery(*chunks))

    async def work(self, consumer: Consumer | None = None) -> None:
        work = (consumer or self.consumer).run(asyncio.Event(), until_empty=True)
        await asyncio.wait_for(work, timeout=PATIENCE_S)

    async def queued(self, chunk: Chunk) -> QueuedChunk:
        entries = await self.queue.announced(chunk.recording)
        return next(entry for entry in entries if entry.chunk.key == chunk.key)

    def files(self, chunk: Chunk) -> dict[str, bytes]:
        folder = names.recording_folder(chunk.announcement, chunk.recording)
        found = (self.archive / folder).iterdir()
        return {path.name: path.read_bytes() for path in found if path.is_file()}

    def asked(self, chunk: Chunk, path: str) -> list[SeenRequest]:
        """The requests for a path of the chunk's that reached the regional listener."""
        return [
            seen
            for seen in self.requests
            if seen.path == f"/v1/objects/{chunk.document_id}{path}"
            and seen.host == self.acs.regional_host
        ]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HurriedClock:
    clock = HurriedClock()
    monkeypatch.setattr(app, "SystemClock", lambda: clock)
    monkeypatch.setattr(opening, "SystemClock", lambda: clock)
    monkeypatch.setattr(session, "READ_SECONDS", 0.2)
    return clock


def settings_for(acs: StandIn, folder: Path, **more: str) -> Settings:
    return Settings.load(
        {
            "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
            "WORKER_SOURCE_HOSTS": f"{acs.global_host},{acs.regional_host}",
            "WORKER_ARCHIVE": f"file:{folder / 'archive'}",
            "WORKER_QUEUE": f"sqlite:{folder / 'queue.db'}",
            "WORKER_ARCHIVE_RESERVE_MIB": "0",
            "WORKER_UNSAFE_STORAGE": "allow",
            "WORKER_BLOCK_MIB": "1",
            "WORKER_INSTANCE": "test",
            **more,
        },
        use=Use.CONSUME,
    )


@asynccontextmanager
async def another(acs: StandIn, folder: Path, **more: str) -> AsyncIterator[Consumer]:
    """One more process over the same, with connections of its own."""
    settings = settings_for(acs, folder, **more)
    async with (
        opening.open_queue(settings, create=False) as queue,
        opening.open_archive(settings) as archive,
        app.open_consumer(
            settings,
            queue=queue,
            archive=archive,
            nudge=asyncio.Event(),
            cut=asyncio.Event(),
        ) as consumer,
    ):
        yield consumer


@asynccontextmanager
async def opened(
    clock: HurriedClock, folder: Path, **more: str
) -> AsyncIterator[World]:
    """A fresh process over what lies in the folder, and a stand-in of its own."""
    async with StandIn(now=clock.now) as acs:
        settings = settings_for(acs, folder, **more)
        requests = WatchedRequests(settings.archive_directory)
        acs.requests = requests
        async with (
            opening.open_queue(settings, create=True) as queue,
            opening.open_archive(settings) as archive,
            app.open_consumer(
                settings,
                queue=queue,
                archive=archive,
                nudge=asyncio.Event(),
                cut=asyncio.Event(),
            ) as consumer,
        ):
            yield World(
                acs=acs,
                requests=requests,
                queue=queue,
                consumer=consumer,
                archive=settings.archive_directory,
            )
        assert requests.unproven == []


@pytest.fixture
async def world(clock: HurriedClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as world:
        yield world


def recording_for(world: World, part: str) -> Chunk:
    """A recording of one chunk, as long a documentId as real ones."""
    return a_chunk(
        document_id=f"0-eus-d12-{hashlib.md5(part.encode()).hexdigest()}",  # noqa: S324
        host=f"http://{world.acs.global_host}",
        announcement=an_announcement(recording_id=part, resource="contoso"),
    )


async def assert_archived_once(world: World, chunk: Chunk) -> Receipt:
    """One content, one metadata, one receipt; whole, but for what was sent wrong."""
    receipt = receipt_in(world.archive, chunk.key)
    assert receipt is not None
    assert receipt.metadata is not None
    held = world.files(chunk)
    assert sorted(held) == [
        f"0000-{chunk.key}.metadata.json",
        f"0000-{chunk.key}.mp4",
        "manifest.0001.json",
        "manifest.0001.sha256",
    ]
    content = held[f"0000-{chunk.key}.mp4"]
    assert len(content) == len(world.contents[chunk.key])
    assert hashlib.sha256(content).hexdigest() == receipt.content.sha256
    assert decode(Manifest, held["manifest.0001.json"]).complete
    return receipt


def assert_deletes(world: World, chunk: Chunk, *, is_deleted: bool) -> None:
    """The record of the delete is there if, and only if, it was done."""
    stem = f"receipts/{names.digest(chunk.key)[:2]}/{chunk.key}"
    assert (world.archive / f"{stem}.source-deleted.json").exists() == is_deleted
    if not is_deleted:
        assert chunk.document_id not in world.acs.deleted


@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
async def test_chunk_survives_a_fault_of_the_service(
    world: World, fault: Fault
) -> None:
    """Met once, on any part, no fault costs a chunk or deletes it unproven."""
    chunks = {part: recording_for(world, part) for part in PARTS}
    world.offer(*chunks.values())
    for part, chunk in chunks.items():
        world.acs.plan(chunk.document_id, part, [fault])
        await world.announce(chunk)

    await world.work()

    for part, chunk in chunks.items():
        entry = await world.queued(chunk)
        if (fault.kind, part) in DEAD:
            assert (entry.state, entry.reason) == (ChunkState.DEAD, "host-not-allowed")
            assert_deletes(world, chunk, is_deleted=False)
            continue
        receipt = await assert_archived_once(world, chunk)
        flag = KEPT.get((fault.kind, part))
        assert receipt.flags == (() if not flag else (flag,))
        assert_deletes(world, chunk, is_deleted=flag is None)
        expected = ChunkState.DELETED if flag is None else ChunkState.ARCHIVED
        assert entry.state is expected
        assert entry.settled_at is not None


def test_every_kind_of_fault_is_met() -> None:
    """No kind of trouble that the stand-in knows is left out."""
    assert {fault.kind for fault in EVERY_FAULT} == set(FaultKind)


async def test_chunk_of_several_ranges_survives_a_row_of_faults(world: World) -> None:
    """Each request meets another fault, and the bytes are right in the end."""
    chunk = recording_for(world, "large")
    world.offer(chunk, size=SIZES["of several ranges"])
    faults = [
        Fault.wrong_total(),
        Fault.cut_after(700_000),
        Fault.changed_last_modified(),
        Fault.short_body(),
        Fault.status(503),
        Fault.hang(1000),
        Fault.ignore_ranges(),
        Fault.status(404),
    ]
    world.acs.plan(chunk.document_id, "content", faults)
    await world.announce(chunk)

    await world.work()

    await assert_archived_once(world, chunk)
    held = world.files(chunk)[f"0000-{chunk.key}.mp4"]
    assert held == world.contents[chunk.key]
    assert (await world.queued(chunk)).state is ChunkState.DELETED


async def test_recording_comes_home_in_parallel(world: World) -> None:
    """All chunks, one manifest in their order, every delete after every receipt."""
    chunks = some_chunks(
        6,
        host=f"http://{world.acs.global_host}",
        announcement=an_announcement(resource="contoso"),
    )
    world.offer(*chunks)
    await world.announce(*chunks)

    with capture_logs() as logs:
        await world.work()

    assert {(await world.queued(chunk)).state for chunk in chunks} == {
        ChunkState.DELETED
    }
    held = world.files(chunks[0])
    assert len(held) == 6 * 2 + 2
    manifest = decode(Manifest, held["manifest.0001.json"])
    assert [chunk.key for chunk in manifest.chunks] == [chunk.key for chunk in chunks]
    lines = held["manifest.0001.sha256"].decode().splitlines()
    for line in lines:
        sha256, name = line.split("  ")
        assert hashlib.sha256(held[name]).hexdigest() == sha256
    methods = [seen.method for seen in world.requests]
    assert "GET" not in methods[methods.index("DELETE") :]
    finished = [each for each in logs if each["event"] == "chunk.finished"]
    assert sum(each["outcome"] == "deleted" for each in finished) == 6


async def test_second_run_downloads_nothing(world: World) -> None:
    """A recording that is announced again is looked at, and left."""
    chunk = recording_for(world, "twice")
    world.offer(chunk)
    await world.announce(chunk)
    await world.work()
    before = len(world.requests)
    held = world.files(chunk)

    await world.announce(chunk)
    await world.work()

    assert len(world.requests) == before
    assert world.files(chunk) == held
    assert (await world.queued(chunk)).state is ChunkState.DELETED


async def test_two_processes_on_one_queue_agree(
    clock: HurriedClock, tmp_path: Path
) -> None:
    """Two consumers, each with its own connections, share out a recording."""
    async with opened(clock, tmp_path) as world:
        chunks = some_chunks(
            8,
            host=f"http://{world.acs.global_host}",
            announcement=an_announcement(resource="contoso"),
        )
        world.offer(*chunks)
        await world.announce(*chunks)
        async with another(world.acs, tmp_path, WORKER_INSTANCE="other") as other:
            await asyncio.gather(world.work(), world.work(other))

        states = [(await world.queued(chunk)).state for chunk in chunks]
        assert states == [ChunkState.DELETED] * 8
        held = world.files(chunks[0])
        assert len(held) == 8 * 2 + 2
        workers = {
            receipt.worker_instance
            for chunk in chunks
            if (receipt := receipt_in(world.archive, chunk.key))
        }
        assert workers <= {"test", "other"}
        assert len(world.acs.deleted) == 8


async def test_stop_in_the_middle_is_gone_on_with(world: World) -> None:
    """Stopped and cut while it downloads, the consumer gives back; the next one finishes."""
    chunks: Sequence[Chunk] = [recording_for(world, f"cut-{n}") for n in range(3)]
    world.offer(*chunks)
    for chunk in chunks:
        world.acs.plan(chunk.document_id, "content", [Fault.hang(100)])
        await world.announce(chunk)
    stopping = asyncio.Event()
    work = asyncio.ensure_future(world.consumer.run(stopping))
    async with asyncio.timeout(PATIENCE_S):
        await world.acs.wait_for_requests(10)
        stopping.set()
        world.consumer.cut.set()
        await work

    for chunk in chunks:
        entry = await world.queued(chunk)
        assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)
    running = {task.get_name() for task in asyncio.all_tasks()}
    assert not any(name.startswith(("chunk", "transfer", "extend")) for name in running)
    world.consumer.cut.clear()
    await world.work()
    for chunk in chunks:
        await assert_archived_once(world, chunk)


async def test_incomplete_recording_is_closed_at_its_deadline(
    clock: HurriedClock, tmp_path: Path
) -> None:
    """With a gap the manifest says what is missing; nothing is deleted."""
    async with opened(clock, tmp_path) as world:
        first, _, last = some_chunks(
            3,
            host=f"http://{world.acs.global_host}",
            announcement=an_announcement(resource="contoso"),
        )
        past = clock.now() - timedelta(minutes=15)
        gap = [
            replace(
                chunk,
                received_at=past,
                expires_at=past,
                announced=(first.announced[0], last.announced[2]),
            )
            for chunk in (first, last)
        ]
        world.offer(*gap)
        await world.announce(*gap)

        await world.work()

        manifest = decode(Manifest, world.files(first)["manifest.0001.json"])
        assert (manifest.complete, [each.index for each in manifest.missing]) == (
            False,
            [1],
        )
        assert world.acs.deleted == set()


async def test_foreign_location_is_never_asked(world: World) -> None:
    """A chunk on a host off the list is dead, and not a byte was sent there."""
    chunk = replace(
        recording_for(world, "foreign"),
        content_location="http://127.0.0.1:9/v1/objects/doc/content/video",
    )
    await world.announce(chunk)

    await world.work()

    entry = await world.queued(chunk)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "host-not-allowed")
    assert list(world.requests) == []


async def test_chunk_of_an_unknown_resource_is_dead_by_name(
    clock: HurriedClock, tmp_path: Path
) -> None:
    """No key for its resource: dead, and the resource is named."""
    async with StandIn(now=clock.now) as acs:
        keys = f"{acs.connection_string} {acs.connection_string.replace('contoso', 'fabrikam')}"
    async with opened(
        clock, tmp_path, AZURE_COMMUNICATION_CONNECTION_STRING=keys
    ) as world:
        chunk = replace(
            recording_for(world, "unknown"),
            announcement=an_announcement(recording_id="unknown", resource="litware"),
        )
        world.offer(chunk)
        await world.announce(chunk)

        await world.work()

        entry = await world.queued(chunk)
        assert (entry.state, entry.reason) == (ChunkState.DEAD, "no-credential")
        assert "litware" in (entry.error or "")
