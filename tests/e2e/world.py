"""Where workers run, the source that they fetch from, and what must hold there."""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from samples.acs import DEMO_CONNECTION_STRING, SeenRequest, StandIn
from tests.e2e import worker_process
from tests.e2e.events import Original
from tests.e2e.stores import Stores
from tests.e2e.worker_process import (
    COMMAND,
    PATIENCE_SECONDS,
    Ended,
    WorkerProcess,
)
from worker import names, opening
from worker.model import ChunkKey, ChunkState, QueuedChunk
from worker.opening import WholeQueue
from worker.settings import Settings
from worker.settings_rules import Use
from worker.stored import Manifest, Receipt, decode

OPEN_STATES = {ChunkState.PENDING, ChunkState.LEASED, ChunkState.ARCHIVED}
LOOK_AGAIN_SECONDS = 0.02
KEPT = ("receipts/", "recordings/", "quarantine/")
"""What an archive holds besides a queue's own announcements."""


class WatchfulStandIn(StandIn):
    """Looks into the archive, at every delete, for the proof that must be there by then."""

    def __init__(
        self,
        stores: Stores,
        *,
        bytes_per_second: float | None = None,
        connection_string: str = DEMO_CONNECTION_STRING,
    ) -> None:
        super().__init__(
            bytes_per_second=bytes_per_second, connection_string=connection_string
        )
        self._stores = stores
        self.unproven: list[str] = []
        self.sends_contents = asyncio.Event()
        self.sends_contents.set()

    async def _see(self, request: web.BaseRequest) -> SeenRequest:
        seen = await super()._see(request)
        if seen.method == "DELETE":
            document_id = document_of(seen)
            if not await _is_proven(self._stores, document_id):
                self.unproven.append(document_id)
        if _reads_content(seen):
            await self.sends_contents.wait()
        return seen

    def reads(self, document_id: str) -> int:
        """How often the content was sent, whole or in part."""
        return sum(
            _reads_content(seen)
            and document_of(seen) == document_id
            and seen.host == self.regional_host
            for seen in self.requests
        )

    async def wait_for_read(self, document_id: str) -> None:
        """Wait until the content is asked for."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.reads(document_id):
                await self.wait_for_requests(len(self.requests) + 1)


def _reads_content(seen: SeenRequest) -> bool:
    return seen.method == "GET" and seen.path.endswith("/video")


def document_of(seen: SeenRequest) -> str:
    """The document that a request is about."""
    return urlsplit(seen.path).path.split("/")[3]


async def _is_proven(stores: Stores, document_id: str) -> bool:
    """The whole recording has receipts, and a manifest, and the bytes agree."""
    receipt = await receipt_in(stores, ChunkKey(document_id))
    if receipt is None:
        return False
    for sibling in receipt.announced:
        other = await receipt_in(stores, sibling.key)
        if other is None or not await _agrees(stores, other):
            return False
    manifests = await stores.objects(f"{receipt.recording_folder}manifest.")
    return any(
        decode(Manifest, data).complete
        for name, (data, _) in manifests.items()
        if name.endswith(".json")
    )


async def receipt_in(stores: Stores, key: ChunkKey) -> Receipt | None:
    """The receipt of a chunk, if there is one."""
    data = await stores.read(names.receipt_name(key))
    return None if data is None else decode(Receipt, data)


async def _agrees(stores: Stores, receipt: Receipt) -> bool:
    content = await stores.read(receipt.content.name) or b""
    return receipt.content.sha256 == hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One folder, one source, one archive and queue."""

    folder: Path
    acs: WatchfulStandIn
    stores: Stores
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "WORKER_LISTEN": "127.0.0.1:0",
            "WORKER_ADMIN_LISTEN": "off",
            "WORKER_SOURCE_HOSTS": f"{self.acs.global_host},{self.acs.regional_host}",
            "WORKER_ARCHIVE_RESERVE_MIB": "1",
            "AZURE_COMMUNICATION_CONNECTION_STRING": self.acs.connection_string,
            **self.stores.settings,
            **self.settings,
        }

    def running(
        self, *arguments: str, command: tuple[str, ...] = COMMAND, **more: str
    ) -> AbstractAsyncContextManager[WorkerProcess]:
        """A process of the worker; `more` are settings."""
        return worker_process.running(
            *arguments,
            environment=self.environment | more,
            folder=self.folder,
            command=command,
        )

    async def run(self, *arguments: str, **more: str) -> Ended:
        """Run a command to its end."""
        return await worker_process.run(
            *arguments, environment=self.environment | more, folder=self.folder
        )

    @contextlib.asynccontextmanager
    async def queue(self) -> AsyncIterator[WholeQueue]:
        """The queue as one more process sees it."""
        embedded = {
            "WORKER_ARCHIVE": f"file:{self.folder / 'data/archive'}",
            "WORKER_QUEUE": f"sqlite:{self.folder / 'data/queue.db'}",
        }
        settings = Settings.load({**embedded, **self.environment}, use=Use.READ)
        async with opening.open_queue(settings, create=False) as queue:
            yield queue

    async def entries(self) -> list[QueuedChunk]:
        async with self.queue() as queue:
            return list(await queue.list(limit=1_000_000))

    async def objects(self, *prefixes: str) -> dict[str, bytes]:
        """What the archive holds below these prefixes, by name."""
        found: dict[str, bytes] = {}
        for prefix in prefixes:
            objects = await self.stores.objects(prefix)
            found |= {name: data for name, (data, _) in objects.items()}
        return found

    async def wait_until_settled(self, documents: Collection[str]) -> None:
        """Wait until these chunks are in the queue and nothing is left to do about any."""
        last = "nothing was seen"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS), self.queue() as queue:
                while True:
                    entries = await queue.list()
                    messages = await self.stores.messages()
                    if not messages and _are_settled(entries, documents):
                        return
                    last = f"{messages} messages, {_open(entries)}"
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
        pytest.fail(f"not settled: {last}")


def _open(entries: Collection[QueuedChunk]) -> list[str]:
    return [
        f"{entry.chunk.document_id} is {entry.state} ({entry.reason})"
        for entry in entries
        if entry.state in OPEN_STATES and entry.settled_at is None
    ]


def _are_settled(entries: Collection[QueuedChunk], documents: Collection[str]) -> bool:
    known = {entry.chunk.document_id for entry in entries}
    return known.issuperset(documents) and not _open(entries)


async def check_home(world: World, originals: Mapping[str, Original]) -> None:
    """All of these chunks are home, once, proven; gone at the source, and not too early."""
    held = await world.objects(*KEPT)
    receipts = _receipts(held)
    assert receipts.keys() == originals.keys()
    expected: set[str] = set()
    for document_id, original in originals.items():
        expected |= _check_chunk(held, receipts[document_id], original)
    for folder in {receipt.recording_folder for receipt in receipts.values()}:
        expected |= _check_recording(held, folder)
    assert {name for name in held if not name.startswith("receipts/")} == expected
    assert world.acs.deleted == originals.keys()
    assert world.acs.unproven == []


def _receipts(held: Mapping[str, bytes]) -> dict[str, Receipt]:
    """All receipts, by document."""
    beside = (".source-deleted.json", ".content.json")
    found = [
        decode(Receipt, data)
        for name, data in held.items()
        if name.startswith("receipts/") and not name.endswith(beside)
    ]
    return {receipt.document_id: receipt for receipt in found}


def _check_chunk(
    held: Mapping[str, bytes], receipt: Receipt, original: Original
) -> set[str]:
    content, metadata = receipt.content, receipt.metadata
    assert metadata is not None
    for proven, sent in ((content, original.content), (metadata, original.metadata)):
        assert held[proven.name] == sent
        assert proven.sha256 == hashlib.sha256(sent).hexdigest()
        assert proven.size_bytes == len(sent)
        assert proven.verified == "read-back"
        assert not re.search(r"\.r\d+\.", proven.name)
    assert receipt.flags == ()
    deleted = held[names.source_deleted_name(receipt.key)]
    assert json.loads(deleted)["answer"]["status"] in {200, 404}
    return {content.name, metadata.name}


def _check_recording(held: Mapping[str, bytes], folder: str) -> set[str]:
    """One complete manifest, and hashes as `sha256sum -c` would check them."""
    manifest, checksums = f"{folder}manifest.0001.json", f"{folder}manifest.0001.sha256"
    assert decode(Manifest, held[manifest]).complete
    listed = set()
    for line in held[checksums].decode().splitlines():
        sha256, name = line.split("  ")
        assert hashlib.sha256(held[folder + name]).hexdigest() == sha256
        listed.add(folder + name)
    below = {name for name in held if name.startswith(folder)}
    assert listed == below - {manifest, checksums}
    return {manifest, checksums}
