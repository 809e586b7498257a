"""Recordings that ACS exported to a container of the user's own: Azurite, the stand-in for
ACS, and a worker as it is wired.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from azure.storage.blob.aio import ContainerClient
from structlog.testing import capture_logs

from samples.acs import StandIn
from tests import azurite as emulator
from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.e2e.events import documents_in, sample, samples_of
from worker import app, names, opening, receiving
from worker.byos import IN_PLACE
from worker.model import ChunkKey, ChunkState, QueuedChunk
from worker.ops.recordings import recordings_show
from worker.settings import Settings
from worker.settings_rules import Use
from worker.stored import Manifest, Receipt, decode

EXPORTED, MIXED = "byos-exported.cloud-event.json", "byos-mixed.event-grid.json"
FAILED = "byos-failed-export.event-grid.json"
IN_SAMPLES = b"https://contosorecordings.blob.core.windows.net/calls"
PATIENCE_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a run left behind."""

    outcome: Mapping[str, object]
    entries: list[QueuedChunk]
    receipts: dict[int, Receipt]
    manifests: list[Manifest]
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A source, a container that ACS exports to, and settings that lead to both."""

    acs: StandIn
    container: ContainerClient
    url: str
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def body(self, name: str) -> bytes:
        """A sample event, addressed to this world."""
        body = self.acs.address(sample(name).read_bytes())
        return body.replace(IN_SAMPLES, self.url.encode())

    async def export(self, body: bytes, *, media: bytes | None = None) -> list[str]:
        """Have the exported chunks of an event in the container; returns their URLs."""
        originals = samples_of(documents_in(body))
        event = json.loads(body)
        (event,) = event if isinstance(event, list) else [event]
        written = []
        for chunk in event["data"]["recordingStorageInfo"]["recordingChunks"]:
            if not chunk["contentLocation"].startswith(self.url):
                continue
            original = originals[chunk["documentId"]]
            written.append(chunk["contentLocation"])
            await self._write(chunk["contentLocation"], media or original.content)
            await self._write(chunk["metadataLocation"], original.metadata)
        return written

    async def _write(self, location: str, data: bytes) -> None:
        blob = location.removeprefix(f"{self.url}/")
        await self.container.upload_blob(blob, data, overwrite=True)

    async def run(self, body: bytes, **more: str) -> Ended:
        """Receive a delivery and work until nothing is left to do."""
        settings = Settings.load(self.settings | more, use=Use.CONSUME)
        nudge, cut = asyncio.Event(), asyncio.Event()
        async with (
            asyncio.timeout(PATIENCE_S),
            opening.open_archive(settings) as archive,
            opening.open_queue(settings, create=True, archive=archive) as queue,
            app.open_consumer(
                settings, queue=queue, archive=archive, nudge=nudge, cut=cut
            ) as consumer,
        ):
            receiver = receiving.receiver_of(
                settings, queue=queue, archive=archive, nudge=nudge
            )
            with capture_logs() as logs:
                await receiver.receive(body, origin="inbox")
            await consumer.run(asyncio.Event(), until_empty=True)
            entries = list(await queue.list())
        (outcome,) = [line for line in logs if line["event"] == "delivery.accepted"]
        return Ended(
            outcome=outcome,
            entries=entries,
            receipts={receipt.index: receipt for receipt in self._receipts()},
            manifests=self._manifests(),
            folder=self.folder,
        )

    def _receipts(self) -> list[Receipt]:
        files = (self.folder / "archive/receipts").rglob("*.json")
        return [
            decode(Receipt, file.read_bytes())
            for file in files
            if not file.name.endswith(".source-deleted.json")
        ]

    def _manifests(self) -> list[Manifest]:
        files = sorted((self.folder / "archive/recordings").rglob("manifest.*.json"))
        return [decode(Manifest, file.read_bytes()) for file in files]

    def copied(self) -> list[str]:
        """Contents and metadata that lie in the archive."""
        files = (self.folder / "archive/recordings").rglob("0*")
        return sorted(file.name for file in files if file.is_file())


@pytest.fixture
async def world(
    azurite: Azurite, unique_name: UniqueName, tmp_path: Path
) -> AsyncIterator[World]:
    """The container is listed, and exported recordings are to be indexed."""
    name = unique_name("calls")
    url = azurite.container(name)
    async with (
        StandIn() as acs,
        ContainerClient.from_connection_string(
            azurite.connection_string, name
        ) as container,
    ):
        acs.serve_samples()
        await container.create_container()
        settings = {
            "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
            "WORKER_SOURCE_HOSTS": f"{acs.global_host},{acs.regional_host}",
            "WORKER_ARCHIVE": f"file:{tmp_path}/archive",
            "WORKER_ARCHIVE_RESERVE_MIB": "1",
            "WORKER_QUEUE": f"sqlite:{tmp_path}/queue.db",
            "WORKER_BYOS": "index",
            "WORKER_BYOS_CONTAINERS": url,
        }
        yield World(
            acs=acs, container=container, url=url, folder=tmp_path, settings=settings
        )


async def untouched(world: World) -> dict[str, str]:
    """Every blob of the container, with its etag."""
    return {blob.name: blob.etag async for blob in world.container.list_blobs()}


async def test_exported_recording_is_proven_where_it_lies(world: World) -> None:
    """Receipt and manifest name the blob; nothing is copied, changed, or asked of ACS."""
    body = world.body(EXPORTED)
    (url,) = await world.export(body)
    (original,) = samples_of(documents_in(body)).values()
    before = await untouched(world)

    ended = await world.run(body)

    assert [entry.state for entry in ended.entries] == [ChunkState.ARCHIVED]
    receipt = ended.receipts[0]
    assert receipt.content.name == url
    assert receipt.content.sha256 == hashlib.sha256(original.content).hexdigest()
    assert receipt.content.verified == IN_PLACE
    assert receipt.structure.startswith("mp3")
    assert receipt.metadata is not None
    assert receipt.metadata.sha256 == hashlib.sha256(original.metadata).hexdigest()
    assert receipt.flags == ()
    assert receipt.delete_location is None
    (manifest,) = ended.manifests
    assert manifest.complete
    assert manifest.chunks[0].content == url
    assert world.copied() == []
    assert world.acs.requests == []
    assert await untouched(world) == before


async def test_exported_recording_is_left_alone_by_default(world: World) -> None:
    """It is counted, not queued, and neither container nor ACS is asked for anything."""
    body = world.body(EXPORTED)

    ended = await world.run(body, WORKER_BYOS="ignore")

    assert ended.entries == []
    assert ended.outcome["outcome"] == "ignored"
    assert ended.outcome["exported"] == 1
    assert ended.receipts == {}
    assert world.acs.requests == []


@pytest.mark.parametrize("byos", ["index", "ignore"])
async def test_failed_export_comes_home(world: World, byos: str) -> None:
    """Whatever is said of exports, what lies at ACS is fetched and then deleted there."""
    ended = await world.run(world.body(FAILED), WORKER_BYOS=byos)

    assert [entry.state for entry in ended.entries] == [ChunkState.DELETED]
    assert len(world.acs.deleted) == 1
    assert len(world.copied()) == 2
    assert not names.is_external(ended.receipts[0].content.name)


async def test_mixed_recording_is_one(world: World) -> None:
    """One chunk exported, the other rescued: one manifest, and one delete."""
    body = world.body(MIXED)
    (url,) = await world.export(body)

    ended = await world.run(body)

    states = {entry.chunk.index: entry.state for entry in ended.entries}
    assert states == {0: ChunkState.ARCHIVED, 1: ChunkState.DELETED}
    (manifest,) = ended.manifests
    assert manifest.complete
    assert manifest.chunks[0].content == url
    assert world.acs.deleted == {ended.receipts[1].document_id}
    (checksums,) = (world.folder / "archive").rglob("manifest.0001.sha256")
    assert {line.split("  ")[1] for line in checksums.read_text().splitlines()} == set(
        world.copied()
    )
    settings = Settings.load(world.settings, use=Use.READ)
    async with opening.open_archive(settings) as archive:
        (shown,) = await recordings_show(archive, ended.receipts[1].document_id)
    assert [chunk.is_external for chunk in shown.chunks] == [True, False]


async def test_container_that_is_not_listed_is_not_read(
    world: World, azurite: Azurite, unique_name: UniqueName
) -> None:
    """An event can't make the worker read other containers of the account it has a key for."""
    body = world.body(EXPORTED)
    await world.export(body)
    listed = azurite.container(unique_name("another"))

    ended = await world.run(body, WORKER_BYOS_CONTAINERS=listed)

    (entry,) = ended.entries
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "host-not-allowed")
    assert "WORKER_BYOS_CONTAINERS" in str(entry.error)
    assert ended.receipts == {}


async def test_blob_that_was_changed_is_no_longer_proven(world: World) -> None:
    """The receipt is for one version; a later look finds another."""
    body = world.body(EXPORTED)
    await world.export(body)
    first = await world.run(body)
    (original,) = samples_of(documents_in(body)).values()
    await world.export(body, media=original.content[:-1] + b"!")

    second = await world.run(body)

    assert [entry.state for entry in first.entries] == [ChunkState.ARCHIVED]
    (entry,) = second.entries
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "archive-lost")
    assert second.receipts == first.receipts


async def test_announced_twice_it_is_hashed_once(world: World) -> None:
    """A second announcement finds the receipt, and the blob as it was."""
    body = world.body(EXPORTED)
    await world.export(body)
    first = await world.run(body)

    second = await world.run(body)

    assert [entry.state for entry in second.entries] == [ChunkState.ARCHIVED]
    assert second.receipts == first.receipts
    assert second.manifests == first.manifests


async def test_right_to_read_one_container_is_enough(world: World) -> None:
    """A signature in the listed URL is who we are there; no account key is needed."""
    sas = emulator.container_signature(world.container.container_name, permission="r")
    body = world.body(EXPORTED)
    await world.export(body)

    ended = await world.run(
        body,
        WORKER_BYOS_CONTAINERS=f"{world.url}?{sas}",
        AZURE_STORAGE_CONNECTION_STRING="",
    )

    assert [entry.state for entry in ended.entries] == [ChunkState.ARCHIVED]
    assert "sig=" not in repr(ended.receipts)


async def test_chunk_of_another_document_id_has_its_own_receipt(world: World) -> None:
    """The key of an exported chunk is a hash: its path bears no identity."""
    body = world.body(EXPORTED)
    await world.export(body)

    ended = await world.run(body)

    (document,) = documents_in(body)
    receipt = ended.receipts[0]
    assert receipt.document_id == document
    assert receipt.key == names.chunk_key(document, receipt.content.name)
    assert receipt.key != ChunkKey(document)
