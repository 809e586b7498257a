"""Wires the replay of a container of dead letters: where they lie, and where they go."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from handlers.receiver import ReceivedKind, Receiver
from handlers.statuses import status_of
from worker import opening, receiving
from worker.archives.letter_blobs import LetterBlobs
from worker.clock import SystemClock
from worker.errors import QueueUnavailableError
from worker.ops.letters import Taken
from worker.ports import Archive
from worker.settings import Settings
from worker.storage_clients import open_identity
from worker.storage_places import Place


@asynccontextmanager
async def open_letters(settings: Settings, place: Place) -> AsyncIterator[LetterBlobs]:
    """The dead letters at a place."""
    async with (
        open_identity(settings.storage_account) as identity,
        LetterBlobs(
            place, identity, clock=SystemClock(), random=random.SystemRandom()
        ) as letters,
    ):
        yield letters


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTaker:
    """Feeds bodies to the handlers, as if delivered. Satisfies ops.letters.Taker."""

    receiver: Receiver
    to: str = "queue"

    async def take(self, name: str, body: bytes) -> Taken:  # noqa: ARG002 - it is known by what it says
        """Raises QueueUnavailableError: nothing more could be stored either."""
        received = await self.receiver.receive(body, origin="replay")
        if received.kind is ReceivedKind.UNAVAILABLE:
            raise QueueUnavailableError(f"nothing can be queued: {received.reason}")
        return Taken(
            is_taken=received.kind is not ReceivedKind.MALFORMED,
            status=status_of(received.kind),
            events=received.events,
            chunks=received.chunks,
            error=received.reason,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Nobody:
    """Whom a dry run would give them to."""

    to: str = "queue"

    async def take(self, name: str, body: bytes) -> Taken:
        raise NotImplementedError


@asynccontextmanager
async def open_queue_taker(
    settings: Settings,
) -> AsyncIterator[tuple[Archive, QueueTaker]]:
    """The archive and the queue of the workers, which bring home what is queued."""
    async with (
        opening.open_archive(settings) as archive,
        opening.open_queue(settings, create=True, archive=archive) as queue,
    ):
        receiver = receiving.receiver_of(
            settings, queue=queue, archive=archive, nudge=asyncio.Event()
        )
        yield archive, QueueTaker(receiver=receiver)
