"""Receipts as far as a source looks at them, and manifests of any length."""

from tests.factories import a_chunk
from tests.fakes.clock import START
from worker import names
from worker.model import ChunkKey, RecordingKey
from worker.stored import (
    Manifest,
    ManifestChunk,
    MissingChunk,
    ProvenObject,
    Receipt,
)


def a_proof(document_id: str, *, flags: tuple[str, ...] = ()) -> Receipt:
    """A receipt for one document, as far as a source looks at it."""
    content = ProvenObject(
        name="content.mp4",
        size_bytes=1,
        sha256="00" * 32,
        block_bytes=1,
        blocks_sha256="00" * 32,
        verified="read-back",
        etag=None,
        version=None,
        last_modified=START,
        protection={},
        source_host="us-storage.asm.skype.com",
        source_date=None,
        source_last_modified=None,
        source_headers={},
    )
    return Receipt(
        worker_version="0",
        worker_instance="test",
        key=ChunkKey(document_id),
        recording=RecordingKey("recording"),
        recording_folder="recordings/",
        document_id=document_id,
        index=0,
        end_reason=None,
        resource=None,
        content_path=f"/v1/objects/{document_id}/content/video",
        metadata_path=f"/v1/objects/{document_id}/content/acsmetadata",
        delete_location=None,
        event={},
        announced=(),
        recording_duration_ms=None,
        chunk_duration_ms=None,
        content=content,
        metadata=None,
        structure="ok",
        flags=flags,
        received_at=START,
        archived_at=START,
        expires_at=START,
        attempts=1,
    )


def a_manifest(chunks: int, missing: int = 0) -> Manifest:
    """A recording of many chunks, as its manifest says it."""
    return Manifest(
        recording=a_chunk().recording,
        recording_id="recording-1",
        call_id="call-1",
        server_call_id="aHR0cHM6Ly9jb252LnNreXBlLmNvbS8_c2lnPXMzY3JldA==",
        started_at=START,
        duration_ms=None,
        complete=not missing,
        ended=None,
        chunks=tuple(_manifest_chunk(index) for index in range(chunks)),
        missing=tuple(
            MissingChunk(index=index, key=None, reason="never announced")
            for index in range(missing)
        ),
    )


def _manifest_chunk(index: int) -> ManifestChunk:
    chunk = a_chunk(document_id=f"0-eus-d12-{index:032x}", index=index)
    return ManifestChunk(
        key=chunk.key,
        document_id=chunk.document_id,
        index=index,
        end_reason=None,
        content=f"{index:04d}-{chunk.key}.mp4",
        size_bytes=1000,
        sha256="ab" * 32,
        metadata=f"{index:04d}-{chunk.key}.metadata.json",
        metadata_size_bytes=100,
        metadata_sha256="cd" * 32,
        duration_ms=1.0,
        flags=(),
        receipt=names.receipt_name(chunk.key),
    )
