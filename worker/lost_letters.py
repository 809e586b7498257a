"""Dead letters as what they announce, from a container or from files; nothing is fed in."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from handlers import envelope, recordings, registry
from handlers.envelope import MalformedEvent
from handlers.registry import EventKind
from worker import letterbox, replaying
from worker.errors import MalformedEventError
from worker.model import Chunk
from worker.ops.reconciling import LetterChunks
from worker.settings import Settings
from worker.storage_places import Place


async def in_container(settings: Settings, place: Place) -> AsyncIterator[LetterChunks]:
    """Every dead letter at a place; `replay` takes the URL of each."""
    retention = settings.source_retention
    async with letterbox.open_letters(settings, place) as letters:
        async for letter in letters.written(since=None, until=None):
            body = await letters.read(letter)
            chunks = chunks_in(
                body or b"[]", written_at=letter.written_at, retention=retention
            )
            url = f"{letters.container}/{letter.name}"
            yield LetterChunks(place=url, chunks=chunks)


async def in_files(settings: Settings, path: Path) -> AsyncIterator[LetterChunks]:
    """Every dead letter in a folder, or in a file."""
    for file in replaying.event_files([path]):
        written_at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        chunks = chunks_in(
            file.read_bytes(),
            written_at=written_at,
            retention=settings.source_retention,
        )
        yield LetterChunks(place=str(file), chunks=chunks)


def chunks_in(
    body: bytes, *, written_at: datetime, retention: timedelta
) -> tuple[Chunk, ...]:
    """The chunks that a dead letter announces; what can't be read announces none."""
    try:
        events = envelope.parse(body)
    except MalformedEventError:
        return ()
    found: list[Chunk] = []
    for event in events:
        if isinstance(event, MalformedEvent):
            continue
        if registry.kind_of(event.type) is not EventKind.RECORDING:
            continue
        try:
            announced = recordings.parse(
                event, received_at=event.time or written_at, retention=retention
            )
        except MalformedEventError:
            continue
        found += announced.chunks
    return tuple(found)
