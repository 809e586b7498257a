"""Replay: saved events through the same handlers, and on to the archive, while one watches."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from samples.acs import StandIn
from worker import app, opening, posting, receiving, siblings
from worker.attempt import Observer
from worker.errors import ConfigError, WorkerError
from worker.model import ChunkState
from worker.ports import Archive, QueueListing
from worker.posting import Bodies, Posted, Posting
from worker.settings import Settings
from worker.settings_fields import CONNECTION_STRING, ENDPOINT
from worker.settings_process import APPLICATION_INSIGHTS, METRICS_EXPORTER
from worker.telemetry.setup import open_telemetry
from worker.telling import open_notices

MAX_FILE_BYTES = 64 * 1024 * 1024
SHOW_BYTES_PER_S = 48 * 1024
SHOW_LATENCY_S = 0.05
"""The stand-in serves the small samples so slowly that the bars can be watched."""
SIMULATED = {
    "WORKER_LISTEN": "127.0.0.1:0",
    "WORKER_WEBHOOK_KEYS": "",
    "WORKER_WEBHOOK_AUTH": "",
    "WORKER_WEBHOOK_ENTRA_TENANT": "",
    "WORKER_WEBHOOK_ENTRA_AUDIENCES": "",
    "WORKER_WEBHOOK_ENTRA_CALLERS": "",
    "WORKER_WEBHOOK_ENTRA_ROLE": "",
    "WORKER_WEBHOOK_ENTRA_AUTHORITY": "",
    "WORKER_EVENT_TOPICS": "",
    "WORKER_INBOX": "",
    "WORKER_NOTIFY": "",
    APPLICATION_INSIGHTS: "",
    METRICS_EXPORTER: "none",
    ENDPOINT: "",
}
STORES = ("WORKER_QUEUE", "WORKER_ARCHIVE")


class SimulateError(ConfigError):
    """The environment is that of a real source: no place for a simulation."""

    reason = "simulate-beside-real"
    hint = (
        "env -u WORKER_QUEUE -u WORKER_ARCHIVE -u AZURE_COMMUNICATION_CONNECTION_STRING"
        " -u AZURE_COMMUNICATION_ENDPOINT recording-worker replay FILE --simulate"
    )


class ReplayFileError(WorkerError):
    """A file that can't be replayed."""

    reason = "replay-file"
    hint = "recording-worker replay --help"


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What a replay came to."""

    archive: str
    """Where: a folder, or the URL of a container."""
    posted: list[Posted] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Documents of this replay that are dead and not in the archive."""
    waiting: int = 0
    """Chunks that an operator's pause has wait."""

    @property
    def refused(self) -> list[Posted]:
        """The files that the webhook did not take."""
        return [posted for posted in self.posted if not posted.is_taken]

    @property
    def needs_attention(self) -> bool:
        """A file was refused, or a chunk is lost, or has to wait."""
        return bool(self.refused or self.lost or self.waiting)


class Watcher(Observer, Protocol):
    """Who is told what happens."""

    def posted(self, posted: Posted) -> None: ...


def event_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files, and the .json files in and below the folders, by name."""
    for path in paths:
        if path.is_dir():
            found = sorted(each for each in path.rglob("*.json") if not each.is_dir())
            if not found:
                raise ReplayFileError(f"no .json file in {str(path)!r}")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise ReplayFileError(f"there is no file {str(path)!r}")


def refuse_real_stores(variables: Mapping[str, str]) -> None:
    """Raise SimulateError where queue or archive may be those of a real source.

    The stand-in knows none of the chunks that wait there: each would end dead.
    """
    stores = [name for name in STORES if name in variables]
    identities = [name for name in (CONNECTION_STRING, ENDPOINT) if name in variables]
    if stores and identities:
        named = " and ".join([*stores, *identities])
        raise SimulateError(
            [f"--simulate would work on real chunks, as {named} are set"]
        )


@asynccontextmanager
async def simulated() -> AsyncIterator[tuple[StandIn, Mapping[str, str]]]:
    """Start the stand-in for ACS with all samples; yields it and the settings to reach it."""
    async with StandIn(
        bytes_per_second=SHOW_BYTES_PER_S, latency_s=SHOW_LATENCY_S
    ) as stand_in:
        stand_in.serve_samples()
        yield (
            stand_in,
            {
                **SIMULATED,
                "AZURE_COMMUNICATION_CONNECTION_STRING": stand_in.connection_string,
                "WORKER_SOURCE_HOSTS": f"{stand_in.global_host},{stand_in.regional_host}",
            },
        )


async def replay(
    settings: Settings,
    bodies: Bodies,
    *,
    watcher: Watcher,
    post: Posting = posting.as_saved,
) -> Replayed:
    """Post each body to the webhook on loopback, then work until nothing is left to do."""
    nudge, cut = asyncio.Event(), asyncio.Event()
    own_key = secrets.token_urlsafe()
    place = settings.archive_place
    replayed = Replayed(archive=place.url if place else str(settings.archive_directory))
    async with (
        open_telemetry(settings, lambda _: (), scraped=False),
        opening.open_archive(settings) as archive,
        opening.open_queue(settings, create=True, archive=archive) as queue,
        open_notices(settings, archive, cut=cut) as notices,
        app.open_consumer(
            settings,
            queue=queue,
            archive=archive,
            nudge=nudge,
            cut=cut,
            notices=notices,
            observer=watcher,
        ) as consumer,
    ):
        async with receiving.open_webhook(
            settings, queue=queue, archive=archive, nudge=nudge, own_key=own_key
        ) as endpoint:
            async for posted in post(endpoint.url, bodies, own_key):
                replayed.posted.append(posted)
                watcher.posted(posted)
        rows = await _tell_the_start(queue, watcher)
        await consumer.run(asyncio.Event(), until_empty=True)
        await _tell_the_end(queue, watcher, rows)
        if await consumer.is_paused():
            replayed.waiting = len(rows & await _pending(queue))
        replayed.lost = await _lost(queue, archive, rows)
    return replayed


async def _tell_the_start(queue: QueueListing, watcher: Watcher) -> set[str]:
    """All that waits now, whoever announced it."""
    started = await queue.list(state=ChunkState.PENDING)
    for entry in started:
        watcher.stage(entry.chunk, "queued")
    return {entry.row for entry in started}


async def _pending(queue: QueueListing) -> set[str]:
    return {entry.row for entry in await queue.list(state=ChunkState.PENDING)}


async def _tell_the_end(
    queue: QueueListing, watcher: Watcher, rows: Collection[str]
) -> None:
    """Who left the queue to its siblings was last seen waiting, and ended with them."""
    for entry in await queue.list(state=ChunkState.DELETED):
        if entry.row in rows:
            watcher.stage(entry.chunk, "deleted")


async def _lost(
    queue: QueueListing, archive: Archive, rows: Collection[str]
) -> list[str]:
    """What is dead without being home: a replay that was cut short leaves entries behind
    that point to a stand-in which is gone, while the chunks come home by newer ones.
    """
    lost = []
    for entry in await queue.list(state=ChunkState.DEAD):
        if entry.row in rows:
            chunk, receipt = await siblings.identified(archive, entry.chunk)
            if receipt is None:
                lost.append(chunk.document_id)
    return lost


@dataclass(frozen=True, slots=True)
class SavedBodies:
    """Names and contents of files, read one at a time."""

    files: tuple[Path, ...]

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for path in self.files:
            yield path.name, path.read_bytes()


def read_bodies(paths: Sequence[Path]) -> SavedBodies:
    """What lies there, once all of it is seen to be there. Raises ReplayFileError."""
    files = tuple(event_files(paths))
    for path in files:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ReplayFileError(f"{str(path)!r} is too large to be a delivery")
    return SavedBodies(files)
