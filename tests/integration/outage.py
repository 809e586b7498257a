"""A day of recordings on a test's clock: Event Grid, the worker, ACS, and their troubles.

Real are the webhook with its key, the SQLite queue, the archive, and the replay; stand-ins
are Event Grid's delivery and ACS, which forgets its media after a day of this clock.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from samples.acs import StandIn
from samples.acsmetadata import metadata_of
from samples.event_grid import (
    Conduct,
    DirectoryContainer,
    Dispatcher,
    EventGrid,
    JsonObject,
    Subscription,
)
from samples.grid.pending import Attempted, DeadLettered, Dropped, Happening
from samples.grid.subscription import DEMO_TOPIC
from tests import media
from tests.fakes.clock import ManualClock
from worker import app, opening, receiving, replaying
from worker.attempt import NoObserver
from worker.consumer import Consumer
from worker.posting import Posted
from worker.queues.sqlite import SqliteQueue
from worker.replaying import Replayed
from worker.settings import Settings
from worker.settings_rules import Use
from worker.stored import Receipt, decode

KEY = "a-key-of-the-endpoint"
MEDIA_LIVE = timedelta(hours=24)
LOOPBACK = "127.0.0.1"
PATIENCE_S = 20
TICK_S = 0.005
HURRY = 200
NO_LIMIT = 1_073_741_823


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadingClock:
    """Whose sleeps move the time for everybody else on the same clock."""

    clock: ManualClock

    def now(self) -> datetime:
        return self.clock.now()

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)


class Front:
    """The address that Event Grid knows: a relay to the process behind it, if there is one.

    At the next request, before the process has it, or at its answer, `dies_at` has the
    process die: the connection is cut, and so is every other until it is restarted.
    """

    def __init__(self) -> None:
        self.backend: int | None = None
        self.dies_at: Literal["", "request", "answer"] = ""
        self.is_dead = False
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://{LOOPBACK}:{port}/api/events?code={quote(KEY)}"
        async with server:
            yield

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.backend is None:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.backend)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._relay(reader, far_writer, "request"))
                group.create_task(self._relay(far_reader, writer, "answer"))
        except* OSError:
            pass
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: str
    ) -> None:
        while part := await reader.read(64 * 1024):
            if self.dies_at == what:
                self.dies_at, self.is_dead, self.backend = "", True, None
                break
            writer.write(part)
        raise ConnectionResetError(what)


@dataclass(slots=True, kw_only=True)
class Day:
    """Everything that is at work, and what has happened."""

    settings: Settings
    clock: ManualClock
    acs: StandIn
    front: Front
    dispatcher: Dispatcher
    dead_letters: Path
    told: list[Happening]
    process: AsyncExitStack = field(default_factory=AsyncExitStack)
    queue: SqliteQueue | None = None
    consumer: Consumer | None = None
    is_full: bool = False
    announced: dict[str, datetime] = field(default_factory=dict)

    async def start(self) -> None:
        """Start the worker behind the front."""
        enter = self.process.enter_async_context
        archive = await enter(opening.open_archive(self.settings))
        queue = await enter(
            opening.open_queue(self.settings, create=True, archive=archive)
        )
        assert isinstance(queue, SqliteQueue)
        self.queue = queue
        nudge = asyncio.Event()
        self.consumer = await enter(
            app.open_consumer(
                self.settings,
                queue=queue,
                archive=archive,
                nudge=nudge,
                cut=asyncio.Event(),
            )
        )
        endpoint = await enter(
            receiving.open_webhook(
                self.settings, queue=queue, archive=archive, nudge=nudge
            )
        )
        self.front.backend, self.front.is_dead = urlsplit(endpoint.url).port, False

    async def stop(self) -> None:
        """Stop it; who connects from now on is cut off."""
        self.front.backend = None
        self.consumer = self.queue = None
        await self.process.aclose()

    async def fill_disk(self) -> None:
        """From now on the queue can't grow, and nobody can work."""
        self.is_full = True
        await self._limit_pages(1)

    async def free_disk(self) -> None:
        self.is_full = False
        await self._limit_pages(NO_LIMIT)

    async def _limit_pages(self, count: int) -> None:
        # A look inside: SQLite's own limit makes its own error for a full disk.
        assert self.queue is not None
        pragma = f"PRAGMA max_page_count = {count}"
        await self.queue._commits.submit(lambda db: db.execute(pragma).close())

    def announce(self, calls: int = 1) -> None:
        """Calls have ended: ACS keeps their recordings, Event Grid is told once."""
        self.dispatcher.publish([self._end_call() for _ in range(calls)])

    def _end_call(self) -> JsonObject:
        number = len(self.announced)
        document_id = f"0-eus-d12-{number:032x}"
        now = self.clock.now()
        self.announced[document_id] = now
        began = f"{now - timedelta(seconds=4):%Y-%m-%dT%H:%M:%S}"
        metadata = metadata_of(document_id, duration_ms=4000)
        self.acs.put(
            document_id,
            content=media.mp4(media=number.to_bytes(4) * 250),
            metadata=metadata.replace(b"2026-02-03T09:15:27", began.encode()),
        )
        return self._event(document_id, now=now, began=began)

    def _event(self, document_id: str, *, now: datetime, began: str) -> JsonObject:
        locations = self.acs.locations(document_id)
        chunk = {
            "documentId": document_id,
            "index": 0,
            "endReason": "SessionEnded",
            "contentLocation": locations.content,
            "metadataLocation": locations.metadata,
            "deleteLocation": locations.delete,
        }
        return {
            "id": document_id,
            "topic": DEMO_TOPIC,
            "subject": f"/recording/call/{document_id}/recordingId/{document_id}",
            "data": {
                "recordingStorageInfo": {"recordingChunks": [chunk]},
                "recordingStartTime": f"{began}.0000000Z",
                "recordingDurationMs": 4000,
                "recordingContentType": "AudioVideo",
                "recordingFormatType": "Mp4",
            },
            "eventType": "Microsoft.Communication.RecordingFileStatusUpdated",
            "dataVersion": "1.0",
            "metadataVersion": "1",
            "eventTime": f"{now:%Y-%m-%dT%H:%M:%S}.0000000Z",
        }

    async def pass_until(self, moment: datetime) -> None:
        """Let Event Grid have its time, then the worker bring home what it has.

        Who has died is started again, over what it left.
        """
        await self.dispatcher.run(until=moment)
        if self.front.is_dead:
            await self.stop()
            await self.start()
        if self.consumer is not None and not self.is_full:
            work = self.consumer.run(asyncio.Event(), until_empty=True)
            await asyncio.wait_for(work, PATIENCE_S)

    async def replay(self) -> Replayed:
        """What an operator does: `recording-worker replay` of the container's files."""
        read = partial(replaying.read_bodies, [self.dead_letters])
        bodies = await asyncio.to_thread(read)
        passing = asyncio.create_task(self._let_time_pass(), name="time")
        try:
            return await replaying.replay(self.settings, bodies, watcher=Watcher())
        finally:
            passing.cancel()

    async def _let_time_pass(self) -> None:
        """In a hurry, for a worker that has to wait for something."""
        while True:
            await asyncio.sleep(TICK_S)
            self.clock.advance(TICK_S * HURRY)

    async def home(self) -> dict[str, Receipt]:
        """The receipts by document."""
        return await asyncio.to_thread(self._receipts)

    def _receipts(self) -> dict[str, Receipt]:
        folder = self.settings.archive_directory / "receipts"
        found = [
            decode(Receipt, path.read_bytes())
            for path in folder.rglob("*.json")
            if path.name.count(".") == 1
        ]
        return {receipt.document_id: receipt for receipt in found}

    def given_up(self) -> list[str]:
        """The documents whose events lie in the container."""
        letters = [told for told in self.told if isinstance(told, DeadLettered)]
        return [event for told in letters for event in told.events]

    def is_all_kept(self) -> bool:
        """Whether Event Grid has dropped nothing."""
        return not any(isinstance(told, Dropped) for told in self.told)

    def seen(self) -> set[str]:
        """All that Event Grid has seen of the endpoint."""
        attempts = [told for told in self.told if isinstance(told, Attempted)]
        return {told.outcome.seen for told in attempts}


class Watcher(NoObserver):
    """Whoever replays looks on."""

    def posted(self, posted: Posted) -> None:
        assert posted.status == 200, posted


@asynccontextmanager
async def a_day(
    clock: ManualClock,
    folder: Path,
    *,
    subscribed: Callable[[str], Subscription],
    conduct: Conduct,
) -> AsyncIterator[Day]:
    """The worker is up, and `subscribed` makes a subscription of its URL."""
    front, told, dead_letters = Front(), list[Happening](), folder / "dead-letters"
    async with (
        front.listening(),
        StandIn(now=clock.now, retention=MEDIA_LIVE) as acs,
        EventGrid(subscribed(front.url), answer_seconds=PATIENCE_S) as grid,
    ):
        day = Day(
            settings=_settings(acs, folder),
            clock=clock,
            acs=acs,
            front=front,
            dispatcher=Dispatcher(
                grid,
                clock=LeadingClock(clock=clock),
                container=DirectoryContainer(dead_letters),
                conduct=conduct,
                tell=told.append,
            ),
            dead_letters=dead_letters,
            told=told,
        )
        await day.start()
        try:
            handshake = await grid.handshake()
            assert handshake.is_passed, handshake.problems
            yield day
        finally:
            await day.stop()


def _settings(acs: StandIn, folder: Path) -> Settings:
    return Settings.load(
        {
            "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
            "WORKER_SOURCE_HOSTS": f"{acs.global_host},{acs.regional_host}",
            "WORKER_ARCHIVE": f"file:{folder / 'archive'}",
            "WORKER_QUEUE": f"sqlite:{folder / 'queue.db'}",
            "WORKER_LISTEN": f"{LOOPBACK}:0",
            "WORKER_WEBHOOK_KEYS": KEY,
            "WORKER_ARCHIVE_RESERVE_MIB": "0",
            "WORKER_UNSAFE_STORAGE": "allow",
            "WORKER_INSTANCE": "rehearsal",
        },
        use=Use.SERVE,
    )
