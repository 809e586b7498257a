"""Documents that outlive the process: the bytes are frozen, and damage is noticed."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import a_chunk, an_announcement, some_chunks
from tests.fakes.clock import START
from tests.proofs import a_proof
from worker.errors import NewerFormatError
from worker.model import Chunk, ChunkKey, DeleteAnswer, RecordingKey, Sibling
from worker.stored import (
    Control,
    Document,
    Erased,
    Erasing,
    Hold,
    Manifest,
    ManifestChunk,
    MissingChunk,
    Notice,
    ProvenObject,
    Receipt,
    ReplayedBlob,
    SourceDeleted,
    StoredFormatError,
    chunk_from_json,
    chunk_to_json,
    decode,
    encode,
)

GOLDEN = Path(__file__).parent / "golden"
ID = ChunkKey("0-eus-d1-doc1")
OTHER = ChunkKey("0-eus-d1-doc2")
SHA256 = "ab" * 32
PROVEN = ProvenObject(
    name="recordings/2026/03/01/call-1/rec/0000-0-eus-d1-doc1.mp4",
    size_bytes=1000,
    sha256=SHA256,
    block_bytes=8_388_608,
    blocks_sha256="cd" * 32,
    verified="read-back",
    etag='"0x1"',
    version=None,
    last_modified=START,
    protection={"legal_hold": "true"},
    source_host="us-storage.asm.skype.com",
    source_date="Sun, 01 Mar 2026 12:00:00 GMT",
    source_last_modified=None,
    source_headers={"Content-Type": "video/mp4"},
)
RECEIPT = Receipt(
    worker_version="0.1.0",
    worker_instance="host-1",
    key=ID,
    recording=RecordingKey("6721b9a7677e69ca"),
    recording_folder="recordings/2026/03/01/call-1/rec/",
    document_id=ID,
    index=0,
    end_reason="SessionEnded",
    resource="calls",
    content_path="/v1/objects/0-eus-d1-doc1/content/video",
    metadata_path="/v1/objects/0-eus-d1-doc1/content/acsmetadata",
    delete_location="https://us-storage.asm.skype.com/v1/objects/0-eus-d1-doc1",
    event={"id": "event-1", "data": {"é": [1, 2.5, None, True]}},
    announced=(Sibling(key=ID, index=0, end_reason="SessionEnded"),),
    recording_duration_ms=600_000,
    chunk_duration_ms=599_000.5,
    content=PROVEN,
    metadata=None,
    structure="mp4: whole",
    flags=("metadata-missing",),
    received_at=START,
    archived_at=START.replace(microsecond=250_000),
    expires_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
    attempts=2,
)
SOURCE_DELETED = SourceDeleted(
    key=ID,
    worker_version="0.1.0",
    worker_instance="host-1",
    answer=DeleteAnswer(
        status=200,
        host="us-storage.asm.skype.com",
        at=START,
        hops=("storage.asm.skype.com 302", "us-storage.asm.skype.com 200"),
    ),
)
MANIFEST = Manifest(
    recording=RecordingKey("6721b9a7677e69ca"),
    recording_id="recording-1",
    call_id="call-1",
    server_call_id=None,
    started_at=START,
    duration_ms=600_000,
    complete=False,
    ended="session-ended",
    chunks=(
        ManifestChunk(
            key=ID,
            document_id=ID,
            index=0,
            end_reason="SessionEnded",
            content="0000-0-eus-d1-doc1.mp4",
            size_bytes=1000,
            sha256=SHA256,
            metadata=None,
            metadata_size_bytes=None,
            metadata_sha256=None,
            duration_ms=599_000.5,
            flags=("metadata-missing",),
            receipt="receipts/ee/0-eus-d1-doc1.json",
        ),
    ),
    missing=(MissingChunk(index=1, key=OTHER, reason="source-expired"),),
)
NOTICE = Notice(
    id="recording-archived-rec-0001",
    type="RecordingWorker.RecordingArchived",
    subject="recordings/2026/03/01/call-1/rec",
    time=START,
    data={"complete": False, "chunks": [{"index": 0, "sha256": SHA256}]},
)
ERASED = Erased(
    worker_version="0.1.0",
    key=ID,
    recording=RecordingKey("6721b9a7677e69ca"),
    index=0,
    content_bytes=1000,
    metadata_bytes=None,
    reason="data-subject-request",
    erased_at=START,
    erased_by="operator",
)
HOLD = Hold(
    worker_version="0.1.0",
    recording=RecordingKey("6721b9a7677e69ca"),
    held=True,
    reason="case 4711",
    at=START,
    by="operator",
)
CONTROL = Control(
    worker_version="0.1.0",
    paused=True,
    reason="storage is moved",
    at=START,
    by="operator",
)
REPLAYED = ReplayedBlob(
    worker_version="0.1.0",
    container="https://account.blob.core.windows.net/letters",
    blob="RECORDINGS/2026/3/1/9/a.json",
    etag='"0x1"',
    events=3,
    to="queue",
    at=START,
    by="operator",
)
DOCUMENTS: dict[str, Document] = {
    "proven-object": PROVEN,
    "receipt": RECEIPT,
    "source-deleted": SOURCE_DELETED,
    "erased": ERASED,
    "erasing": Erasing(recording=ERASED.recording, chunks=(ERASED,)),
    "hold": HOLD,
    "control": CONTROL,
    "replayed-blob": REPLAYED,
    "manifest": MANIFEST,
    "notice": NOTICE,
}
BY_NAME = pytest.mark.parametrize("name", DOCUMENTS)
DAMAGED: list[bytes] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"v"',
    b"1",
    b"{}",
    b'{"v": 1}',
    b'{"v": null}',
    b'{"v": "1"}',
    b'{"v": []}',
    b"\xff\xfe\x00",
    b"[" * 100_000,
]


@BY_NAME
def test_bytes_are_as_archived_today(name: str) -> None:
    """What archives hold already is what this version writes and reads."""
    golden = (GOLDEN / f"{name}.json").read_bytes()
    document = DOCUMENTS[name]

    assert encode(document) == golden
    assert decode(type(document), golden) == document


def test_every_kind_of_document_has_its_bytes() -> None:
    """What is not pinned here could change its form unseen."""
    assert set(map(type, DOCUMENTS.values())) == set(get_args(Document))


@BY_NAME
def test_document_says_its_version_and_kind(name: str) -> None:
    """A person who opens it knows what it is, and a newer worker how to read it."""
    said = json.loads(encode(DOCUMENTS[name]))

    assert said["v"] == 1
    assert said["kind"] == name.replace("-", "")
    assert list(said) == sorted(said)


@BY_NAME
def test_newer_document_is_left_to_a_newer_worker(name: str) -> None:
    """Even if nothing else of it can be understood."""
    with pytest.raises(NewerFormatError, match="format 2 is newer than 1"):
        decode(type(DOCUMENTS[name]), b'{"v": 2, "shape": "new"}')


@BY_NAME
def test_newer_document_is_told_however_it_is_laid_out(name: str) -> None:
    """Ours end in their version, which spares a look; a part that ends so says nothing."""
    newer = json.loads(encode(DOCUMENTS[name])) | {"v": 2}

    for text in (json.dumps(newer), json.dumps({**newer, "w": {"v": 1}}, indent=2)):
        with pytest.raises(NewerFormatError, match="format 2 is newer than 1"):
            decode(type(DOCUMENTS[name]), f"{text}\n".encode())


@BY_NAME
def test_unknown_fields_are_ignored(name: str) -> None:
    """A field that a later worker of the same format adds disturbs nobody."""
    document = DOCUMENTS[name]
    more = json.loads(encode(document)) | {"later": {"x": 1}}

    assert decode(type(document), json.dumps(more).encode()) == document


@BY_NAME
@pytest.mark.parametrize("data", DAMAGED, ids=lambda data: repr(data[:12]))
def test_damaged_document_is_said_to_be_damaged(name: str, data: bytes) -> None:
    """Whatever lies under the name, it is one error that names the kind of document."""
    kind = type(DOCUMENTS[name])

    with pytest.raises(StoredFormatError, match=f"not a {kind.__name__.lower()}"):
        decode(kind, data)


@BY_NAME
def test_document_that_lacks_a_field_is_damaged(name: str) -> None:
    """No field is optional in what is stored."""
    document = DOCUMENTS[name]
    whole = json.loads(encode(document))

    for field in set(whole) - {"v", "kind"}:
        less = {key: value for key, value in whole.items() if key != field}
        with pytest.raises(StoredFormatError):
            decode(type(document), json.dumps(less).encode())


@given(st.binary(max_size=50) | st.text('{}[]"v:12,', max_size=12).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but the two errors comes out."""
    with pytest.raises((StoredFormatError, NewerFormatError)):
        decode(Receipt, data)


def test_documents_of_one_kind_do_not_pass_for_another() -> None:
    """A manifest under a receipt's name proves nothing."""
    with pytest.raises(StoredFormatError):
        decode(Receipt, encode(MANIFEST))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
TEXT = st.text(max_size=10)


@given(
    event=st.dictionaries(st.text(max_size=5), JSON, max_size=4),
    index=st.integers(0, 2**63 - 1),
    duration=st.none() | st.floats(0, 1e9),
    texts=st.tuples(TEXT, TEXT, st.none() | TEXT),
    flags=st.lists(TEXT, max_size=3),
    headers=st.dictionaries(TEXT, TEXT, max_size=3),
)
def test_any_receipt_survives_the_archive(
    event: dict[str, Any],
    index: int,
    duration: float | None,
    texts: tuple[str, str, str | None],
    flags: list[str],
    headers: dict[str, str],
) -> None:
    """What is written is read again, whatever the event and the source said."""
    document_id, instance, end_reason = texts
    receipt = replace(
        RECEIPT,
        event=event,
        index=index,
        chunk_duration_ms=duration,
        document_id=document_id,
        worker_instance=instance,
        end_reason=end_reason,
        announced=(Sibling(key=ID, index=index, end_reason=end_reason),),
        flags=tuple(flags),
        content=replace(PROVEN, source_headers=headers),
    )

    data = encode(receipt)

    assert decode(Receipt, data) == receipt
    assert encode(decode(Receipt, data)) == data


def test_header_that_is_no_text_makes_no_unreadable_receipt() -> None:
    """A byte that a source's header had no right to is replaced, and the proof stays."""
    odd = replace(
        PROVEN, source_headers={"ETag": "a\udcffb", "Date": "é"}, etag="\ud800"
    )

    read = decode(Receipt, encode(replace(a_proof("d"), content=odd)))

    assert read.content.source_headers == {"ETag": "a?b", "Date": "é"}
    assert read.content.etag == "?"


@given(st.permutations(["id", "data", "z", "a"]))
def test_bytes_do_not_depend_on_the_order_of_the_event(names: list[str]) -> None:
    """Two workers that got the same event in another order write the same bytes."""
    event = dict.fromkeys(names, 1)

    assert encode(replace(RECEIPT, event=event)) == encode(
        replace(RECEIPT, event=dict.fromkeys(sorted(names), 1))
    )


def test_wire_form_of_a_chunk_is_as_queued_today() -> None:
    """What queues hold already is what this version writes and reads."""
    golden = (GOLDEN / "chunk.json").read_text().rstrip("\n")

    assert chunk_to_json(a_chunk()) == golden
    assert chunk_from_json(golden) == a_chunk()
    assert chunk_from_json(golden.encode()) == a_chunk()
    before = golden.replace(',"is_left_alone":false', "")
    assert before != golden
    assert chunk_from_json(before) == a_chunk()


@pytest.mark.parametrize(
    "chunk",
    [
        *some_chunks(2),
        a_chunk(metadata_location=None, delete_location=None, end_reason=None),
        a_chunk(
            announcement=an_announcement(
                event_time=None,
                call_id=None,
                recording_id=None,
                recording_start_time=None,
                recording_duration_ms=None,
            )
        ),
        a_chunk(index=2**70, expires_at=START.replace(microsecond=1)),
    ],
    ids=["first", "last", "bare", "silent", "huge"],
)
def test_chunk_survives_the_queue(chunk: Chunk) -> None:
    """Every field of the event is still there when the chunk is leased."""
    assert chunk_from_json(chunk_to_json(chunk)) == chunk


@given(*[st.text(st.characters(codec="utf-8"))] * 3)
def test_any_text_survives_the_queue(document: str, raw: str, subject: str) -> None:
    """Text that a file can hold comes back as it was."""
    announcement = an_announcement(raw=raw, subject=subject)
    chunk = a_chunk(document_id=document, announcement=announcement)

    assert chunk_from_json(chunk_to_json(chunk)) == chunk


def test_newer_chunk_is_left_to_a_newer_worker() -> None:
    """A queue may be shared with a worker of the next version."""
    with pytest.raises(NewerFormatError, match="format 2 is newer than 1"):
        chunk_from_json('{"v":2,"piece":{}}')


@pytest.mark.parametrize(
    "data", [*DAMAGED, b'{"v":1,"chunk":{}}'], ids=lambda data: repr(data[:12])
)
def test_damaged_chunk_is_said_to_be_damaged(data: bytes) -> None:
    """Whatever lies in the row, it is one error."""
    with pytest.raises(StoredFormatError, match="not a chunk"):
        chunk_from_json(data)


def test_unknown_fields_of_a_chunk_are_ignored() -> None:
    """A later worker of the same format may say more."""
    more = json.loads(chunk_to_json(a_chunk()))
    more["chunk"]["later"] = 1
    more["later"] = 1

    assert chunk_from_json(json.dumps(more)) == a_chunk()
