"""Archives made in no time, to be looked at: files written as a worker would leave them."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

from tests.bench.numbers import NUMBER, spread
from tests.factories import an_announcement, some_chunks
from tests.fakes.clock import START
from tests.proofs import a_proof
from worker import names, recording
from worker.model import Chunk, ChunkKey
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
    """From a template: encoding each anew would take longer than all that is measured."""
    written, key = _template(count)
    token = spread(number).decode()
    day = START + timedelta(days=number // PER_DAY)
    changes = (
        (NUMBER, token),
        (key, _key(token)),
        (f"{START:%Y/%m/%d}/", f"{day:%Y/%m/%d}/"),
    )
    return [
        (_placed(_changed(name, changes)), _changed(data.decode(), changes).encode())
        for name, data in written
    ]


@cache
def _template(count: int) -> tuple[list[Written], str]:
    chunks = _chunks(NUMBER, count)
    receipts = [_receipt(chunk, b"x") for chunk in chunks]
    contents = [(receipt.content.name, b"x") for receipt in receipts]
    return [*contents, *_documents(chunks, receipts)], chunks[0].recording


def _changed(text: str, changes: Sequence[tuple[str, str]]) -> str:
    for old, new in changes:
        text = text.replace(old, new)
    return text


def _placed(name: str) -> str:
    """A receipt lies in a folder by the hash of its key."""
    if not name.startswith(names.RECEIPTS):
        return name
    key = name.rpartition("/")[2].removesuffix(".json")
    return names.receipt_name(ChunkKey(key))


def _key(token: str) -> str:
    recording_id = f"recording-{token}"
    return names.recording_key(recording_id=recording_id, call_id=None, started_at=None)


def _chunks(token: str, count: int) -> tuple[Chunk, ...]:
    announcement = an_announcement(
        recording_id=f"recording-{token}", call_id=token, recording_start_time=START
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
    """Write one recording's files; folders are looked for once each."""
    folders = {os.path.dirname(name) for name, _ in written}  # noqa: PTH120 - in a hurry
    for folder in folders:
        os.makedirs(root / folder, exist_ok=True)  # noqa: PTH103 - the same
    for name, data in written:
        descriptor = os.open(f"{root}/{name}", os.O_WRONLY | os.O_CREAT, 0o640)
        os.write(descriptor, data)
        os.close(descriptor)


def put_large(root: Path, *, count: int, size_bytes: int) -> list[Path]:
    """One recording of so many contents of so many bytes; returns their files."""
    chunks = _chunks(NUMBER, count)
    receipts = []
    for chunk in chunks:
        content = os.urandom(size_bytes)
        receipt = _receipt(chunk, content)
        path = root / receipt.content.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        receipts.append(receipt)
    put(root, list(_documents(chunks, receipts)))
    return [root / receipt.content.name for receipt in receipts]
