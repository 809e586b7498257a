"""Replay: saved events through the same handlers, and on to the archive, while one watches."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import aiohttp

from samples.acs import StandIn
from worker import app
from worker.attempt import Observer
from worker.errors import WorkerError
from worker.model import ChunkState
from worker.ports import QueueListing
from worker.settings import Settings

MAX_FILE_BYTES = 64 * 1024 * 1024
SHOW_BYTES_PER_S = 48 * 1024
SHOW_LATENCY_S = 0.05
"""The stand-in serves the small samples so slowly that the bars can be watched."""
SIMULATED = {
    "WORKER_LISTEN": "127.0.0.1:0",
    "WORKER_WEBHOOK_KEYS": "",
    "WORKER_WEBHOOK_AUTH": "",
    "WORKER_EVENT_TOPICS": "",
}


class ReplayFileError(WorkerError):
    """A file that can't be replayed."""

    reason = "replay-file"
    hint = "recording-worker replay samples/events/demo --simulate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One file, and what the handlers answered."""

    file: str
    status: int


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What a replay came to."""

    archive: Path
    posted: list[Posted] = field(default_factory=list)
    left: dict[ChunkState, int] = field(default_factory=dict)

    @property
    def needs_attention(self) -> bool:
        """A file was refused, or a chunk is dead."""
        refused = any(posted.status != HTTPStatus.OK for posted in self.posted)
        return refused or bool(self.left.get(ChunkState.DEAD))


class Watcher(Observer, Protocol):
    """Who is told what happens."""

    def posted(self, posted: Posted) -> None: ...


def event_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files, and the .json files in and below the folders, by name."""
    for path in paths:
        if path.is_dir():
            found = sorted(path.rglob("*.json"))
            if not found:
                raise ReplayFileError(f"no .json file in {str(path)!r}")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise ReplayFileError(f"there is no file {str(path)!r}")


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
    bodies: Sequence[tuple[str, bytes]],
    *,
    watcher: Watcher,
) -> Replayed:
    """Post each body to the webhook on loopback, then work until nothing is left to do."""
    nudge, cut = asyncio.Event(), asyncio.Event()
    keys = [key.get_secret_value() for key in settings.webhook_keys]
    headers = {"x-functions-key": keys[0]} if keys else {}
    replayed = Replayed(archive=settings.archive_directory)
    async with (
        app.open_queue(settings, create=True) as queue,
        app.open_archive(settings) as archive,
        app.open_consumer(
            settings,
            queue=queue,
            archive=archive,
            nudge=nudge,
            cut=cut,
            observer=watcher,
        ) as consumer,
    ):
        async with (
            app.open_webhook(
                settings, queue=queue, archive=archive, nudge=nudge
            ) as endpoint,
            aiohttp.ClientSession(headers=headers) as session,
        ):
            for name, body in bodies:
                async with session.post(endpoint.url, data=body) as answer:
                    posted = Posted(file=name, status=answer.status)
                replayed.posted.append(posted)
                watcher.posted(posted)
        await _show_queued(queue, watcher)
        await consumer.run(asyncio.Event(), until_empty=True)
        counts = await queue.counts(at_risk_within=settings.at_risk_within)
        replayed.left = counts.by_state
    return replayed


async def _show_queued(queue: QueueListing, watcher: Observer) -> None:
    for entry in await queue.list(state=ChunkState.PENDING):
        watcher.stage(entry.chunk, "queued")


def read_bodies(paths: Sequence[Path]) -> list[tuple[str, bytes]]:
    """File names and contents, in order."""
    bodies = []
    for path in event_files(paths):
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ReplayFileError(f"{str(path)!r} is too large to be a delivery")
        bodies.append((path.name, path.read_bytes()))
    return bodies
