"""Receipts as far as a source looks at them."""

from tests.fakes.clock import START
from worker.model import ChunkKey, RecordingKey
from worker.stored import ProvenObject, Receipt


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
