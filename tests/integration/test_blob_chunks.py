"""Chunks on their way into Azurite, by the engine as it is wired.

Time runs a hundred times faster, so that backoffs and pauses are waited out for real.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from random import Random

import pytest

from samples.acs import StandIn
from samples.acsmetadata import metadata_of
from tests import media
from tests.azurite import Azurite
from tests.blobs import blob_archive
from tests.conftest import UniqueName
from tests.factories import a_chunk, a_delivery, an_announcement
from tests.fakes.clock import HurriedClock
from tests.storage_proxy import Fault, Seen, StorageProxy
from worker import app, names
from worker.consumer import Consumer
from worker.model import Chunk, ChunkState
from worker.opening import WholeQueue, open_archive, open_queue
from worker.settings import Settings
from worker.settings_rules import Use
from worker.stored import Receipt, decode

PATIENCE_S = 20
DOCUMENT = "0-eus-d12-801b3f3fc462fe8a01e6810cbff729b8"
CONTENT_BYTES = 2_500_000
"""Of several blocks of the least size."""
FAULTS = [
    Fault.status(500, "InternalError"),
    Fault.status(503, "ServerBusy", retry_after=60),
    Fault.status(403, "AuthorizationFailure"),
    Fault.reset(),
    Fault.lost_answer(),
]
OPERATIONS = ["staged", "stage", "commit", "put", "head", "get"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HurriedClock:
    clock = HurriedClock()
    monkeypatch.setattr(app, "SystemClock", lambda: clock)
    monkeypatch.setattr("worker.opening.SystemClock", lambda: clock)
    return clock


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the settings name, open: the source and a proxy before the archive."""

    acs: StandIn
    proxy: StorageProxy
    queue: WholeQueue
    consumer: Consumer
    azurite: Azurite
    container: str

    async def bring(self) -> Chunk:
        """Announce a chunk of several blocks, and work until nothing is left to do."""
        chunk = a_chunk(
            document_id=DOCUMENT,
            host=f"http://{self.acs.global_host}",
            announcement=an_announcement(resource="contoso"),
        )
        content = media.mp4(media=Random(7).randbytes(CONTENT_BYTES))  # noqa: S311
        metadata = metadata_of(
            chunk.document_id, index=chunk.index, duration_ms=4000
        ).replace(b"2026-02-03T09:15:27", b"2026-03-01T11:59:56")
        self.acs.put(chunk.document_id, content=content, metadata=metadata)
        await self.queue.put(a_delivery(chunk))
        await self.work()
        return chunk

    async def work(self) -> None:
        work = self.consumer.run(asyncio.Event(), until_empty=True)
        await asyncio.wait_for(work, timeout=PATIENCE_S)

    async def receipt(self, chunk: Chunk) -> Receipt:
        async with blob_archive(self.azurite, self.container) as archive:
            data = await archive.read(names.receipt_name(chunk.key))
        assert data is not None
        return decode(Receipt, data)

    async def state(self, chunk: Chunk) -> ChunkState:
        (entry,) = await self.queue.announced(chunk.recording)
        return entry.state


Opening = Callable[..., AbstractAsyncContextManager[World]]


@asynccontextmanager
async def opened(
    clock: HurriedClock, azurite: Azurite, container: str, folder: Path, **more: str
) -> AsyncIterator[World]:
    async with StandIn(now=clock.now) as acs, StorageProxy(azurite.blob_url) as proxy:
        behind = Azurite(blob_url=proxy.url, queue_url=azurite.queue_url)
        settings = Settings.load(
            {
                "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
                "AZURE_STORAGE_CONNECTION_STRING": behind.connection_string,
                "WORKER_SOURCE_HOSTS": f"{acs.global_host},{acs.regional_host}",
                "WORKER_ARCHIVE": behind.container(container),
                "WORKER_QUEUE": f"sqlite:{folder / 'queue.db'}",
                "WORKER_UNSAFE_STORAGE": "allow",
                "WORKER_BLOCK_MIB": "1",
                "WORKER_INSTANCE": "test",
                **more,
            },
            use=Use.CONSUME,
        )
        async with (
            open_queue(settings, create=True) as queue,
            open_archive(settings) as archive,
            app.open_consumer(
                settings,
                queue=queue,
                archive=archive,
                nudge=asyncio.Event(),
                cut=asyncio.Event(),
            ) as consumer,
        ):
            proxy.seen.clear()
            yield World(
                acs=acs,
                proxy=proxy,
                queue=queue,
                consumer=consumer,
                azurite=azurite,
                container=container,
            )


@pytest.fixture
def opening(
    clock: HurriedClock, azurite: Azurite, unique_name: UniqueName, tmp_path: Path
) -> Opening:
    """Opens a world; what is given are settings."""
    return partial(opened, clock, azurite, unique_name("chunk"), tmp_path)


@pytest.fixture
async def world(opening: Opening) -> AsyncIterator[World]:
    async with opening() as world:
        yield world


async def assert_home(world: World, chunk: Chunk) -> None:
    """Archived, proven, deleted at the source, under its first name."""
    receipt = await world.receipt(chunk)
    assert receipt.flags == ()
    assert receipt.content.name == names.content_name(chunk)
    assert receipt.content.verified == "read-back"
    assert receipt.content.protection == {"tier": "hot"}
    assert receipt.content.etag is not None
    assert world.acs.deleted == {chunk.document_id}
    assert await world.state(chunk) is ChunkState.DELETED


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_chunk_comes_home_whatever_the_archive_does_once(
    world: World, operation: str, fault: Fault
) -> None:
    """With this fault once, the same end: nothing lost, nothing twice."""
    world.proxy.plan(fault, on=operation)

    chunk = await world.bring()

    await assert_home(world, chunk)


@pytest.mark.parametrize(
    ("setting", "value", "flag"),
    [
        ("WORKER_BLOB_IMMUTABLE_DAYS", "30", "immutability-missing"),
        ("WORKER_BLOB_ENCRYPTION_SCOPE", "team", "encryption-scope-missing"),
    ],
)
async def test_source_of_what_is_not_protected_is_kept(
    opening: Opening, setting: str, value: str, flag: str
) -> None:
    """Azurite ignores a policy and a scope in silence: archived, flagged, never deleted."""
    async with opening(**{setting: value}) as world:
        chunk = await world.bring()

        assert (await world.receipt(chunk)).flags == (flag,)
        assert world.acs.deleted == set()
        assert await world.state(chunk) is ChunkState.ARCHIVED


async def test_chunk_comes_home_into_a_tier(opening: Opening) -> None:
    """What is asked for and is there keeps nothing from the delete."""
    async with opening(WORKER_BLOB_TIER="cool") as world:
        chunk = await world.bring()

        receipt = await world.receipt(chunk)
        assert receipt.content.protection == {"tier": "cool"}
        assert await world.state(chunk) is ChunkState.DELETED


async def test_chunk_is_archived_for_good_after_its_proof(opening: Opening) -> None:
    """Read back, deleted at the source, and only then moved where it can't be read."""
    async with opening(WORKER_BLOB_TIER="archive") as world:
        chunk = await world.bring()

        assert await world.state(chunk) is ChunkState.DELETED
        *before, last = [seen for seen in world.proxy.seen if seen.method == "PUT"]
        assert "tier" not in [seen.operation for seen in before]
        assert last.path.endswith(names.content_name(chunk))
        assert last.headers["x-ms-access-tier"] == "Archive"


async def test_life_of_a_chunk_changes_nothing(world: World) -> None:
    """A container under an immutability policy refuses nothing that a worker does."""
    made: set[str] = set()
    changing = {"stage", "put", "commit", "tier", "metadata", "tags", "delete"}

    def changes(seen: Seen) -> bool:
        made.update(
            each.path
            for each in world.proxy.seen
            if each.operation in {"put", "commit"} and each.status == HTTPStatus.CREATED
        )
        return seen.operation in changing and seen.path in made

    immutable = Fault.status(409, "BlobImmutableDueToPolicy")
    world.proxy.plan(immutable, matches=changes, times=99, optional=True)

    chunk = await world.bring()
    await world.queue.put(a_delivery(chunk))
    await world.work()

    await assert_home(world, chunk)
    assert 409 not in [seen.status for seen in world.proxy.seen]


async def test_chunk_outlasts_an_outage_of_the_archive(world: World) -> None:
    """Attempts that end in an outage cost time, and nothing else."""
    world.proxy.plan(Fault.status(503, "ServerBusy"), times=12)

    chunk = await world.bring()

    await assert_home(world, chunk)
