"""Recordings as a worker would have left them in an archive of any kind."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from samples import media_dir
from tests.factories import RETENTION, an_announcement, some_chunks
from tests.fakes.clock import START
from tests.proofs import a_proof
from worker import names, recording
from worker.model import Announcement, Chunk, ChunkKey
from worker.ports import Archive
from worker.recording import RecordingView
from worker.stored import Receipt, encode

PART_SECONDS = (4.0, 4.5, 5.0, 4.25, 4.75, 3.5)
"""How long the six parts of the sample video play."""


def part(number: int) -> bytes:
    """One of the six parts of the sample video, from 1."""
    return (media_dir() / f"part-{number}.mp4").read_bytes()


def media(name: str) -> bytes:
    """A file of the samples."""
    return (media_dir() / name).read_bytes()


def chunks_of(count: int, *, kind: str = "Mp4") -> tuple[Chunk, ...]:
    """All chunks of one recording of that format."""
    return some_chunks(count, announcement=an_announcement(format_type=kind))


async def archive_recording(
    archive: Archive,
    contents: Sequence[bytes | None],
    *,
    kind: str = "Mp4",
    metadata: Sequence[dict[str, object]] = (),
    has_manifest: bool = True,
) -> list[Receipt]:
    """One recording, its chunks by index; None: that chunk was lost at the source."""
    chunks = chunks_of(len(contents), kind=kind)
    receipts = [
        await archive_chunk(
            archive, chunk, content, metadata[chunk.index] if metadata else {}
        )
        for chunk, content in zip(chunks, contents, strict=True)
        if content is not None
    ]
    if has_manifest:
        await archive_manifest(archive, chunks, receipts)
    return receipts


async def archive_chunk(
    archive: Archive, chunk: Chunk, content: bytes, said: dict[str, object]
) -> Receipt:
    """Content, metadata and receipt of one chunk."""
    proof = a_proof(chunk.document_id)
    raw = json.dumps(said).encode()
    proven, its = [
        replace(
            proof.content,
            name=name,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        for name, data in (
            (names.content_name(chunk), content),
            (names.metadata_name(chunk), raw),
        )
    ]
    receipt = replace(
        proof,
        key=chunk.key,
        recording=chunk.recording,
        recording_folder=names.recording_folder(chunk.announcement, chunk.recording),
        index=chunk.index,
        end_reason=chunk.end_reason,
        announced=chunk.announced,
        content=proven,
        metadata=its,
        expires_at=START + RETENTION,
    )
    await archive.create(proven.name, content)
    await archive.create(its.name, raw)
    await archive.create(names.receipt_name(chunk.key), encode(receipt))
    return receipt


async def archive_manifest(
    archive: Archive, chunks: Sequence[Chunk], receipts: Sequence[Receipt]
) -> None:
    """The recording's first manifest, and its hashes for `sha256sum -c`."""
    first = chunks[0]
    announcement: Announcement = first.announcement
    folder = names.recording_folder(announcement, first.recording)
    held: dict[ChunkKey, Receipt] = {receipt.key: receipt for receipt in receipts}
    view = RecordingView(
        recording=first.recording,
        announcement=announcement,
        folder=folder,
        announced={sibling.key: sibling for sibling in first.announced},
        receipts=held,
        dead={chunk.key: "source-expired" for chunk in chunks if chunk.key not in held},
        alive=frozenset(),
        is_closed_by_another=False,
        deadline=START,
    )
    manifest = recording.manifest_of(view)
    await archive.create(names.manifest_name(folder, 1), encode(manifest))
    await archive.create(
        names.checksums_name(folder, 1), recording.checksums_of(manifest)
    )


def said_of(
    start_s: float, lasted_s: float, *, pauses: Sequence[tuple[float, float]] = ()
) -> dict[str, object]:
    """Metadata of a chunk that began so long after the recording; pauses in seconds."""
    return {
        "chunkStartTime": (START + timedelta(seconds=start_s)).isoformat(),
        "chunkDuration": lasted_s * 1000,
        "pauseResumeIntervals": [
            {
                "startTime": (START + timedelta(seconds=at)).isoformat(),
                "duration": lasts * 1000,
            }
            for at, lasts in pauses
        ],
    }
