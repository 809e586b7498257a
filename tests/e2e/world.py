"""A folder where workers run, the source that they fetch from, and what must hold there."""

import asyncio
import contextlib
import hashlib
import json
import random
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from samples.acs import SeenRequest, StandIn
from tests.e2e import worker_process
from tests.e2e.events import Original
from tests.e2e.worker_process import (
    COMMAND,
    PATIENCE_SECONDS,
    Ended,
    WorkerProcess,
)
from worker.clock import SystemClock
from worker.model import ChunkState, QueuedChunk
from worker.queues.sqlite import SqliteQueue
from worker.stored import Manifest, Receipt, decode

OPEN_STATES = {ChunkState.PENDING, ChunkState.LEASED, ChunkState.ARCHIVED}
LOOK_AGAIN_SECONDS = 0.02


class WatchfulStandIn(StandIn):
    """Looks into the archive, at every delete, for the proof that must be there by then."""

    def __init__(self, archive: Path, *, bytes_per_second: float | None = None) -> None:
        super().__init__(bytes_per_second=bytes_per_second)
        self._archive = archive
        self.unproven: list[str] = []

    async def _see(self, request: web.BaseRequest) -> SeenRequest:
        seen = await super()._see(request)
        if seen.method == "DELETE" and not _is_proven(self._archive, document_of(seen)):
            self.unproven.append(document_of(seen))
        return seen

    def reads(self, document_id: str) -> int:
        """How often the content was sent, whole or in part."""
        return sum(
            seen.method == "GET"
            and document_of(seen) == document_id
            and seen.path.endswith("/video")
            and seen.host == self.regional_host
            for seen in self.requests
        )

    async def wait_for_read(self, document_id: str) -> None:
        """Wait until the content is asked for."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.reads(document_id):
                await self.wait_for_requests(len(self.requests) + 1)


def document_of(seen: SeenRequest) -> str:
    """The document that a request is about."""
    return urlsplit(seen.path).path.split("/")[3]


def _is_proven(archive: Path, document_id: str) -> bool:
    """The whole recording has receipts, and a manifest, and the bytes agree."""
    receipts = _receipts(archive)
    if document_id not in receipts:
        return False
    for sibling in receipts[document_id].announced:
        receipt = receipts.get(sibling.key)
        if receipt is None or not _agrees(archive, receipt):
            return False
    folder = archive / receipts[document_id].recording_folder
    return any(_manifest(path).complete for path in folder.glob("manifest.*.json"))


def _receipts(archive: Path) -> dict[str, Receipt]:
    """All receipts, by document."""
    names = [
        path
        for path in (archive / "receipts").glob("*/*.json")
        if not path.name.endswith((".source-deleted.json", ".content.json"))
    ]
    found = [decode(Receipt, path.read_bytes()) for path in names]
    return {receipt.document_id: receipt for receipt in found}


def _agrees(archive: Path, receipt: Receipt) -> bool:
    content = (archive / receipt.content.name).read_bytes()
    return receipt.content.sha256 == hashlib.sha256(content).hexdigest()


def _manifest(path: Path) -> Manifest:
    return decode(Manifest, path.read_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One folder, one source. Settings are the embedded defaults."""

    folder: Path
    acs: WatchfulStandIn
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def archive(self) -> Path:
        return self.folder / "data/archive"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "WORKER_LISTEN": "127.0.0.1:0",
            "WORKER_SOURCE_HOSTS": f"{self.acs.global_host},{self.acs.regional_host}",
            "WORKER_ARCHIVE_RESERVE_MIB": "1",
            "AZURE_COMMUNICATION_CONNECTION_STRING": self.acs.connection_string,
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
    async def queue(self) -> AsyncIterator[SqliteQueue]:
        """The queue as one more process sees it."""
        async with SqliteQueue(
            self.folder / "data/queue.db",
            clock=SystemClock(),
            worker="test",
            random=random.Random(1),  # noqa: S311 - jitter
            create=False,
        ) as queue:
            yield queue

    async def entries(self) -> list[QueuedChunk]:
        async with self.queue() as queue:
            return list(await queue.list(limit=1_000_000))

    async def wait_until_settled(self, documents: Collection[str]) -> None:
        """Wait until these chunks are in the queue and nothing is left to do about any."""
        async with asyncio.timeout(PATIENCE_SECONDS), self.queue() as queue:
            while not _are_settled(  # noqa: ASYNC110 - it happens in another process
                await queue.list(), documents
            ):
                await asyncio.sleep(LOOK_AGAIN_SECONDS)


def files_in(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of everything below a folder, by name."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def _are_settled(entries: Collection[QueuedChunk], documents: Collection[str]) -> bool:
    known = {entry.chunk.document_id for entry in entries}
    is_open = any(
        entry.state in OPEN_STATES and entry.settled_at is None for entry in entries
    )
    return known.issuperset(documents) and not is_open


def check_home(world: World, originals: Mapping[str, Original]) -> None:
    """All of these chunks are home, once, proven; gone at the source, and not too early."""
    receipts = _receipts(world.archive)
    assert receipts.keys() == originals.keys()
    expected: set[str] = set()
    for document_id, original in originals.items():
        expected |= _check_chunk(world, receipts[document_id], original)
    folders = {receipt.recording_folder for receipt in receipts.values()}
    for folder in folders:
        expected |= _check_recording(world.archive / folder, folder)
    archived = files_in(world.archive)
    there = {name for name in archived if not name.startswith("receipts/")}
    assert there == expected
    assert world.acs.deleted == originals.keys()
    assert world.acs.unproven == []


def _check_chunk(world: World, receipt: Receipt, original: Original) -> set[str]:
    content, metadata = receipt.content, receipt.metadata
    assert metadata is not None
    for proven, sent in ((content, original.content), (metadata, original.metadata)):
        assert (world.archive / proven.name).read_bytes() == sent
        assert proven.sha256 == hashlib.sha256(sent).hexdigest()
        assert proven.size_bytes == len(sent)
        assert proven.verified == "read-back"
        assert not re.search(r"\.r\d+\.", proven.name)
    assert receipt.flags == ()
    stem = f"receipts/*/{receipt.key}"
    (deleted,) = world.archive.glob(f"{stem}.source-deleted.json")
    assert json.loads(deleted.read_bytes())["answer"]["status"] in {200, 404}
    return {content.name, metadata.name}


def _check_recording(path: Path, folder: str) -> set[str]:
    """One complete manifest, and hashes as `sha256sum -c` would check them."""
    assert _manifest(path / "manifest.0001.json").complete
    checksums = path / "manifest.0001.sha256"
    listed = set()
    for line in checksums.read_text().splitlines():
        sha256, name = line.split("  ")
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == sha256
        listed.add(name)
    assert listed == {
        file.name for file in path.iterdir() if not file.name.startswith("manifest.")
    }
    return {f"{folder}manifest.0001.json", f"{folder}manifest.0001.sha256"}
