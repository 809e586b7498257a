"""Tombstones as an erasure leaves them."""

from tests.fakes.clock import START
from worker.model import Chunk
from worker.stored import Erased


def a_tombstone(chunk: Chunk) -> Erased:
    return Erased(
        worker_version="1",
        key=chunk.key,
        recording=chunk.recording,
        index=chunk.index,
        content_bytes=1,
        metadata_bytes=None,
        reason="data-subject-request",
        erased_at=START,
        erased_by="ann",
    )
