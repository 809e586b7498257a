"""Events as Event Grid would send them, and how they are posted."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from samples import events_dir
from samples.acs import StandIn
from samples.acsmetadata import metadata_of
from samples.catalogue import load_catalogue

DEMO = sorted((events_dir() / "demo").glob("*.json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What the source has of a document."""

    content: bytes
    metadata: bytes


def sample(name: str) -> Path:
    """One sample event file."""
    return events_dir() / name


def samples_of(documents: Iterable[str]) -> dict[str, Original]:
    """The originals of these sample documents."""
    wanted = set(documents)
    return {
        entry.document_id: Original(
            content=entry.content.read_bytes(), metadata=entry.metadata.read_bytes()
        )
        for entry in load_catalogue()
        if entry.document_id in wanted
    }


def documents_in(*bodies: bytes) -> set[str]:
    """Every documentId in these deliveries."""
    found: set[str] = set()
    for body in bodies:
        _collect(json.loads(body), found)
    return found


def _collect(value: Any, found: set[str]) -> None:
    if isinstance(value, dict):
        found.update([value["documentId"]] if "documentId" in value else [])
        value = list(value.values())
    for item in value if isinstance(value, list) else []:
        _collect(item, found)


def fresh_chunk(acs: StandIn, document_id: str) -> tuple[bytes, Original]:
    """Have a chunk whose recording has just ended; the delivery that announces it alone."""
    started_at = datetime.now(UTC) - timedelta(minutes=10)
    (of_sample,) = samples_of(documents_in(sample(ONE_CHUNK).read_bytes())).values()
    metadata = json.loads(metadata_of(document_id, duration_ms=4000))
    metadata["chunkStartTime"] = started_at.isoformat()
    original = Original(
        content=of_sample.content, metadata=json.dumps(metadata).encode()
    )
    acs.put(document_id, content=original.content, metadata=original.metadata)
    return announcement(acs, document_id, started_at=started_at), original


def announcement(acs: StandIn, document_id: str, *, started_at: datetime) -> bytes:
    """The delivery that announces a recording of one chunk."""
    (event,) = json.loads(sample(ONE_CHUNK).read_bytes())
    (chunk,) = event["data"]["recordingStorageInfo"]["recordingChunks"]
    (old,) = documents_in(json.dumps(chunk).encode())
    event["id"] = f"event-{document_id}"
    event["subject"] = f"/recording/call/call-{document_id}/recordingId/{document_id}"
    event["data"]["recordingStartTime"] = started_at.isoformat()
    event["eventTime"] = datetime.now(UTC).isoformat()
    text = json.dumps([event]).replace(old, document_id)
    return acs.address(text.encode())


def recording_of(
    acs: StandIn, name: str, contents: Sequence[bytes]
) -> tuple[bytes, dict[str, Original]]:
    """Have a recording that has just ended, a chunk for each content.

    Returns the event that announces it, and its documents `NAME-0`, `NAME-1`, ...
    """
    started_at = datetime.now(UTC) - timedelta(minutes=10)
    originals, chunks = {}, []
    for index, content in enumerate(contents):
        document = f"{name}-{index}"
        metadata = json.loads(metadata_of(document, index=index, duration_ms=4000))
        metadata["chunkStartTime"] = started_at.isoformat()
        original = Original(content=content, metadata=json.dumps(metadata).encode())
        acs.put(document, content=original.content, metadata=original.metadata)
        originals[document] = original
        where = acs.locations(document)
        chunks.append(
            {
                "documentId": document,
                "index": index,
                "endReason": "ChunkMaximumTimeExceeded",
                "contentLocation": where.content,
                "metadataLocation": where.metadata,
                "deleteLocation": where.delete,
            }
        )
    chunks[-1]["endReason"] = "SessionEnded"
    (event,) = json.loads(sample(ONE_CHUNK).read_bytes())
    event["id"] = f"event-{name}"
    event["subject"] = f"/recording/call/call-{name}/recordingId/{name}"
    event["eventTime"] = datetime.now(UTC).isoformat()
    event["data"]["recordingStartTime"] = started_at.isoformat()
    event["data"]["recordingStorageInfo"]["recordingChunks"] = chunks
    return json.dumps(event).encode(), originals


ONE_CHUNK = "one-chunk.event-grid.json"


async def post(url: str, body: bytes, **headers: str) -> int:
    """Deliver once, on a connection of its own; the status of the answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(headers=named) as session,
        session.post(url, data=body) as answer,
    ):
        return answer.status


async def get(url: str) -> int:
    """The status of a probe."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status
