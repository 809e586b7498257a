"""A worker that is told lies: its source, its handlers, its engine, and what must hold.

Everything is real but the time: the stand-in for ACS, the handlers, a queue, a directory.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

import pytest

from handlers.receiver import Received, ReceivedKind
from samples.acs import SeenRequest, StandIn
from samples.acsmetadata import metadata_of
from tests import media
from tests.factories import TOPIC
from tests.fakes.clock import START, ManualClock
from worker import app, exporting, names, opening, receiving
from worker.consumer import Consumer
from worker.model import ChunkState, QueuedChunk
from worker.opening import WholeQueue
from worker.settings import Settings
from worker.settings_rules import Use
from worker.stored import Manifest, Receipt, decode

CONTENT_BYTES = 20_000
LEASE_SECONDS = 3600
LONGEST_SHORT_SLEEP = 600
MOST_TURNS = 5000
Json = dict[str, Any]


class SteppedClock(ManualClock):
    """Time passes for whoever waits within an attempt; what waits longer waits for a step."""

    async def sleep(self, seconds: float) -> None:
        if seconds > LONGEST_SHORT_SLEEP:
            await super().sleep(seconds)
            return
        self.advance(seconds)
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What the source has of a document."""

    content: bytes
    metadata: bytes


class WatchedRequests(list[SeenRequest]):
    """The stand-in's log; at every delete it looks whether the archive has it all."""

    def __init__(self, archive: Path, originals: dict[str, Original]) -> None:
        super().__init__()
        self.unproven: list[str] = []
        self._archive = archive
        self._originals = originals

    def append(self, seen: SeenRequest) -> None:
        if seen.method == "DELETE":
            document = unquote(seen.path.split("/")[3])
            if not is_proven(self._archive, document, self._originals[document]):
                self.unproven.append(seen.path)
        super().append(seen)


def is_proven(archive: Path, document: str, original: Original) -> bool:
    """Whether a receipt says, and says truly, that all of the document is in the archive."""
    return any(
        receipt.metadata is not None
        and (archive / receipt.content.name).read_bytes() == original.content
        and (archive / receipt.metadata.name).read_bytes() == original.metadata
        for receipt in receipts_of(archive, document)
    )


def receipts_of(archive: Path, document: str) -> list[Receipt]:
    """All receipts for a document, under whatever key."""
    found = [
        decode(Receipt, path.read_bytes())
        for path in sorted(archive.glob("receipts/*/*.json"))
        if not path.name.endswith((".source-deleted.json", ".content.json"))
    ]
    return [receipt for receipt in found if receipt.document_id == document]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The parts, and the documents that the source has."""

    acs: StandIn
    clock: SteppedClock
    queue: WholeQueue
    consumer: Consumer
    archive: Path
    receive: Callable[[bytes], Awaitable[Received]]
    requests: WatchedRequests
    originals: dict[str, Original]

    def have(self, document: str, *, index: int = 0, says: str | None = None) -> str:
        """Have a document at the source; its metadata may say that it is another."""
        content = media.mp4(media=Random(document).randbytes(CONTENT_BYTES))  # noqa: S311
        metadata = metadata_of(says or document, index=index, duration_ms=4000)
        metadata = metadata.replace(b"2026-02-03T09:15:27", b"2026-03-01T11:59:56")
        self.acs.put(document, content=content, metadata=metadata)
        self.originals[document] = Original(content=content, metadata=metadata)
        return document

    def chunk(self, document: str, index: int = 0, **fields: Any) -> Json:
        """A chunk as an event tells of it; what is None is left out."""
        where = self.acs.locations(document)
        told = {
            "documentId": document,
            "index": index,
            "endReason": "SessionEnded",
            "contentLocation": where.content,
            "metadataLocation": where.metadata,
            "deleteLocation": where.delete,
        } | fields
        return {name: value for name, value in told.items() if value is not None}

    async def deliver(self, *events: Json) -> None:
        """One delivery through the handlers, answered as one that is durable."""
        received = await self.receive(json.dumps(events).encode())
        assert received.kind is ReceivedKind.ACCEPTED, received

    async def work_off(self, *, minutes: float) -> None:
        """Do what is due, attempt by attempt, for so long or until nothing is due."""
        until = self.clock.now() + timedelta(minutes=minutes)
        for _ in range(MOST_TURNS):
            due = await self.queue.next_due()
            if due is None or due > until:
                break
            self.clock.advance(max((due - self.clock.now()).total_seconds(), 0))
            leases = await self.queue.lease(4)
            runs = [self.consumer.runner.run(lease) for lease in leases]
            async with asyncio.timeout(20):
                await asyncio.gather(*runs)
        else:
            raise AssertionError("the work has no end")
        self.clock.advance(max((until - self.clock.now()).total_seconds(), 0))

    async def entries(self, document: str) -> list[QueuedChunk]:
        found = await self.queue.list()
        return [entry for entry in found if entry.chunk.document_id == document]

    async def open_entries(self) -> list[QueuedChunk]:
        """What is neither home nor given up."""
        found = await self.queue.list()
        return [
            entry
            for entry in found
            if entry.state in {ChunkState.PENDING, ChunkState.LEASED}
        ]

    def is_home(self, document: str) -> bool:
        return is_proven(self.archive, document, self.originals[document])

    def manifests(self, folder: str) -> Iterator[Manifest]:
        """Of one recording, by number."""
        for path in sorted((self.archive / folder).glob("manifest.*.json")):
            yield decode(Manifest, path.read_bytes())

    def files(self) -> set[str]:
        """What the archive holds, by name."""
        found = (path for path in self.archive.rglob("*") if path.is_file())
        return {path.relative_to(self.archive).as_posix() for path in found}


def event(
    *chunks: Json,
    recording: str,
    call: str = "call-1",
    resource: str = "contoso",
    started_at: datetime = START - timedelta(minutes=10),
    at: datetime = START,
    **data: Any,
) -> Json:
    """An announcement of these chunks; `data` is more of the event's data."""
    return {
        "id": f"event-{recording}",
        "topic": f"{TOPIC}{resource}",
        "subject": f"/recording/call/{call}/recordingId/{recording}",
        "eventType": "Microsoft.Communication.RecordingFileStatusUpdated",
        "dataVersion": "1.0",
        "metadataVersion": "1",
        "eventTime": at.isoformat(),
        "data": {
            "recordingStorageInfo": {"recordingChunks": list(chunks)},
            "recordingStartTime": started_at.isoformat(),
            "recordingContentType": "AudioVideo",
            "recordingChannelType": "Mixed",
            "recordingFormatType": "Mp4",
        }
        | data,
    }


def folder_of(recording: str, *, call: str = "call-1") -> str:
    """Where a recording of that day lies."""
    key = names.recording_key(recording_id=recording, call_id=None, started_at=None)
    return f"recordings/2026/03/01/{call}/{key}/"


@asynccontextmanager
async def lied_to(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    clock: SteppedClock | None = None,
    queue: WholeQueue | None = None,
    **more: str,
) -> AsyncIterator[World]:
    """A worker over what lies in the folder; no delete in it went without proof.

    `queue`, which has the same clock, stands in for that of the settings; `more` are these.
    """
    clock = clock or SteppedClock()
    for module in (app, opening, receiving, exporting):
        monkeypatch.setattr(module, "SystemClock", lambda: clock)
    async with StandIn(now=clock.now) as acs:
        settings = settings_for(acs, folder, **more)
        originals: dict[str, Original] = {}
        requests = WatchedRequests(settings.archive_directory, originals)
        acs.requests = requests
        async with (
            opening.open_archive(settings) as archive,
            opening.open_queue(settings, create=True, archive=archive) as embedded,
            app.open_consumer(
                settings,
                queue=queue or embedded,
                archive=archive,
                nudge=asyncio.Event(),
                cut=asyncio.Event(),
            ) as consumer,
        ):
            receiver = receiving.receiver_of(
                settings,
                queue=queue or embedded,
                archive=archive,
                nudge=asyncio.Event(),
            )

            async def receive(body: bytes) -> Received:
                return await receiver.receive(body, origin="webhook")

            yield World(
                acs=acs,
                clock=clock,
                queue=queue or embedded,
                consumer=consumer,
                archive=settings.archive_directory,
                receive=receive,
                originals=originals,
                requests=requests,
            )
        assert requests.unproven == []


def settings_for(acs: StandIn, folder: Path, **more: str) -> Settings:
    return Settings.load(
        {
            "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
            "WORKER_SOURCE_HOSTS": f"{acs.global_host},{acs.regional_host}",
            "WORKER_SOURCE_RETENTION_HOURS": "2",
            "WORKER_ARCHIVE": f"file:{folder / 'archive'}",
            "WORKER_QUEUE": f"sqlite:{folder / 'queue.db'}",
            "WORKER_ARCHIVE_RESERVE_MIB": "0",
            "WORKER_UNSAFE_STORAGE": "allow",
            "WORKER_BLOCK_MIB": "1",
            "WORKER_LEASE_SECONDS": f"{LEASE_SECONDS}",
            **more,
        },
        use=Use.CONSUME,
    )
