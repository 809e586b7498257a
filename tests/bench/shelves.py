"""Archives made in no time, to be looked at: files written as a worker would leave them."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.bench.numbers import spread
from tests.factories import an_announcement, some_chunks
from tests.fakes.clock import START
from tests.proofs import a_proof
from worker import names, recording
from worker.model import Chunk
from worker.recording import RecordingView
from worker.stored import ProvenObject, Receipt, encode

CHUNKS = (1,) * 45 + (2, 4, 3, 5, 6)
"""How many chunks recordings have, in turn: most calls last less than four hours."""
PER_DAY = 1000
"""Recordings of one day."""
BLOCK_BYTES = 8 * 1024 * 1024
METADATA = b'{"pauseResumeIntervals": []}'
Written = tuple[str, bytes]


def recordings(receipts: int) -> Iterator[list[Written]]:
    """Names and bytes of whole recordings, until they have so many receipts; contents are
    a byte each.
    """
    done = number = 0
    while done < receipts:
        count = min(CHUNKS[number % len(CHUNKS)], receipts - done)
        yield _recording(number, count)
        done, number = done + count, number + 1


def _recording(number: int, count: int) -> list[Written]:
    chunks = _chunks(number, count)
    receipts = [_receipt(chunk, b"x") for chunk in chunks]
    return [
        *((receipt.content.name, b"x") for receipt in receipts),
        *_documents(chunks, receipts),
    ]


def _chunks(number: int, count: int) -> tuple[Chunk, ...]:
    token = spread(number).decode()
    announcement = an_announcement(
        recording_id=f"recording-{token}",
        call_id=token,
        recording_start_time=START + timedelta(days=number // PER_DAY),
    )
    return some_chunks(
        count, announcement=announcement, document_id=f"0-eus-d12-{token}"
    )


def _documents(chunks: tuple[Chunk, ...], receipts: list[Receipt]) -> Iterator[Written]:
    for receipt in receipts:
        if receipt.metadata is not None:
            yield receipt.metadata.name, METADATA
        yield names.receipt_name(receipt.key), encode(receipt)
    first = receipts[0]
    manifest = recording.manifest_of(
        RecordingView(
            recording=first.recording,
            announcement=chunks[0].announcement,
            folder=first.recording_folder,
            announced={sibling.key: sibling for sibling in first.announced},
            receipts={receipt.key: receipt for receipt in receipts},
            dead={},
            alive=frozenset(),
            is_closed_by_another=False,
            deadline=START,
        )
    )
    folder = first.recording_folder
    yield names.manifest_name(folder, 1), encode(manifest)
    yield names.checksums_name(folder, 1), recording.checksums_of(manifest)


def _receipt(chunk: Chunk, content: bytes) -> Receipt:
    proof = a_proof(chunk.document_id)
    return replace(
        proof,
        key=chunk.key,
        recording=chunk.recording,
        recording_folder=names.recording_folder(chunk.announcement, chunk.recording),
        index=chunk.index,
        end_reason=chunk.end_reason,
        announced=chunk.announced,
        content=_proven(proof.content, names.content_name(chunk), content),
        metadata=_proven(proof.content, names.metadata_name(chunk), METADATA),
    )


def _proven(proven: ProvenObject, name: str, data: bytes) -> ProvenObject:
    digest = hashlib.sha256(data).hexdigest()
    size = len(data)
    return replace(
        proven, name=name, size_bytes=size, sha256=digest, block_bytes=BLOCK_BYTES
    )


def put(root: Path, written: list[Written]) -> None:
    """Write one recording's files; each lies in a folder of its own or in that of its hash."""
    for name, data in written:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def put_large(root: Path, *, count: int, size_bytes: int) -> list[Path]:
    """One recording of so many contents of so many bytes; returns their files."""
    chunks = _chunks(0, count)
    receipts = []
    for chunk in chunks:
        content = os.urandom(size_bytes)
        receipt = _receipt(chunk, content)
        put(root, [(receipt.content.name, content)])
        receipts.append(receipt)
    put(root, list(_documents(chunks, receipts)))
    return [root / receipt.content.name for receipt in receipts]
