"""A recording is found by any id that people hold, by the cheapest look that finds it."""

import json
from dataclasses import replace

import pytest

from tests.factories import an_announcement, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.unit.worker.ops.test_recordings import receipt_for, store, store_manifest
from tests.unit.worker.ops.test_verifying import tombstone_of
from worker import names
from worker.errors import NewerFormatError
from worker.model import Announcement, Chunk, ChunkKey
from worker.ops.finding import Folder, find, server_call_id
from worker.ops.finding import erased as find_erased
from worker.stored import Receipt, StoredFormatError, encode

SERVER_CALL = "aHR0cHM6Ly9jb252LnNreXBlLmNvbS9jb252L2FiYw"
SOMEBODY = "8:acs:5f2d8e0a_21e3ef71"


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


async def found(archive: MemoryArchive, text: str, day: str = "") -> list[str]:
    return [folder.recording async for folder in find(archive, text, day=day)]


async def store_told(
    archive: MemoryArchive, *chunks: Chunk, participant: str = SOMEBODY
) -> list[Receipt]:
    """Chunks with metadata that names somebody, and receipts that hold the event."""
    receipts = []
    people = {"participants": [{"participantId": participant}]}
    for chunk in chunks:
        event = {"subject": chunk.announcement.subject}
        receipt = replace(receipt_for(chunk), event=event)
        assert receipt.metadata
        await archive.create(receipt.content.name, b"x")
        await archive.create(receipt.metadata.name, json.dumps(people).encode())
        await archive.create(names.receipt_name(receipt.key), encode(receipt))
        receipts.append(receipt)
    return receipts


def a_call(number: int) -> Announcement:
    subject = f"/recording/call/call-{number}/serverCallId/{SERVER_CALL}{number}"
    return an_announcement(
        call_id=f"call-{number}",
        server_call_id=f"{SERVER_CALL}{number}",
        recording_id=f"recording-{number}",
        subject=subject,
    )


@pytest.mark.parametrize(
    "text",
    [
        "0-eus-d1-doc1-1",
        "recording-1",
        "call-1",
        "CALL-1",
        f"{SERVER_CALL}1",
        f"{SOMEBODY}1",
        "5f2d8e0a_21e3ef711",
        "KEY",
        "FOLDER",
        "FILE",
    ],
)
@pytest.mark.parametrize("has_manifest", [True, False])
async def test_any_id_finds(
    archive: MemoryArchive, text: str, *, has_manifest: bool
) -> None:
    """One of two recordings, whole or still on its way."""
    firsts = []
    for number in (1, 2):
        chunks = some_chunks(
            2, announcement=a_call(number), document_id=f"0-eus-d1-doc{number}"
        )
        receipts = await store_told(archive, *chunks, participant=f"{SOMEBODY}{number}")
        if has_manifest:
            await store_manifest(archive, a_call(number), receipts)
        firsts.append(receipts[0])
    first = firsts[0]
    paths = {
        "KEY": first.recording[:7],
        "FOLDER": first.recording_folder.rstrip("/"),
        "FILE": f"data/archive/{first.content.name}",
    }

    assert await found(archive, paths.get(text, text)) == [first.recording]


@pytest.mark.parametrize(
    "text", ["nobody", "5f2d8e0a", "8:acs", SERVER_CALL[:20], "rec", "", " ", "~"]
)
async def test_what_nobody_has_finds_nothing(archive: MemoryArchive, text: str) -> None:
    """Nor does a part of a participant's id, or of a serverCallId."""
    chunks = some_chunks(1, announcement=a_call(1))
    await store_manifest(archive, a_call(1), await store_told(archive, *chunks))

    assert await found(archive, text) == []


async def test_document_is_found_without_a_look_around(archive: MemoryArchive) -> None:
    """One receipt by its name, and the files of one folder."""
    await store(archive, *some_chunks(2))
    archive.calls.clear()

    assert len(await found(archive, "0-eus-d1-doc1-0")) == 1
    listed = [prefix for on, prefix in archive.calls if on == "list"]
    assert listed == [receipt_for(some_chunks(2)[0]).recording_folder]
    assert [on for on, _ in archive.calls].count("read") == 1


async def test_document_under_a_key_of_its_own_is_found_by_both(
    archive: MemoryArchive,
) -> None:
    """By the key at once, by the documentId by reading receipts."""
    (chunk,) = some_chunks(1)
    other = replace(chunk, key=names.other_key(chunk), document_id="the-document")
    (receipt,) = await store(archive, other)
    named = replace(receipt, document_id="the-document")
    archive.lose(names.receipt_name(receipt.key))
    await archive.create(names.receipt_name(receipt.key), encode(named))

    assert await found(archive, other.key) == [receipt.recording]
    assert await found(archive, "the-document") == [receipt.recording]


async def test_chunk_without_a_receipt_yet_is_found_by_its_file(
    archive: MemoryArchive,
) -> None:
    """Its content lies there already; its id is in the file's name."""
    chunk = some_chunks(2)[1]
    await archive.create(names.content_name(chunk), b"x")

    assert await found(archive, chunk.document_id) == [chunk.recording]
    assert await found(archive, chunk.document_id[:-1]) == []


async def test_chunk_that_has_no_file_is_found_by_its_receipt(
    archive: MemoryArchive,
) -> None:
    """What was proven in the user's storage leaves nothing in the folder before the manifest."""
    receipt = receipt_for(some_chunks(1)[0])
    await archive.create(names.receipt_name(receipt.key), encode(receipt))

    (folder,) = [folder async for folder in find(archive, receipt.document_id)]

    assert (folder.path, folder.keys) == (receipt.recording_folder, [receipt.key])
    assert (folder.files, folder.day, folder.call) == ((), "2026/03/01", "call-1")


async def test_day_narrows_every_look(archive: MemoryArchive) -> None:
    """A document, a name, a folder or a participant of another day is not meant."""
    chunks = some_chunks(1, announcement=a_call(1))
    (receipt,) = await store_told(archive, *chunks)

    for text in (
        receipt.document_id,
        "call-1",
        receipt.recording_folder,
        SOMEBODY,
    ):
        assert await found(archive, text, "2026/03/01") == [receipt.recording]
        assert await found(archive, text, "2026/03/02") == []


@pytest.mark.parametrize("document", [b'{"v": 2}', b"torn"])
async def test_unreadable_documents_hide_no_others(
    archive: MemoryArchive, document: bytes
) -> None:
    """A manifest that can't be read says no ids; who is in the metadata counts all the same."""
    chunks = some_chunks(1, announcement=a_call(1))
    (receipt,) = await store_told(archive, *chunks)
    await archive.create(names.manifest_name(receipt.recording_folder, 1), document)

    assert await found(archive, f"{SERVER_CALL}1") == []
    assert await found(archive, SOMEBODY) == [receipt.recording]


@pytest.mark.parametrize("receipt", [b'{"v": 2}', b"torn"])
async def test_document_whose_receipt_is_damaged_is_found_by_its_files(
    archive: MemoryArchive, receipt: bytes
) -> None:
    """It is the one that somebody will ask for."""
    (chunk,) = some_chunks(1)
    await archive.create(names.content_name(chunk), b"x")
    await archive.create(names.receipt_name(chunk.key), receipt)

    assert await found(archive, chunk.document_id) == [chunk.recording]


@pytest.mark.parametrize(
    ("receipt", "error"),
    [(b'{"v": 2}', NewerFormatError), (b"torn", StoredFormatError)],
)
async def test_receipt_alone_that_cant_be_read_is_told(
    archive: MemoryArchive, receipt: bytes, error: type[Exception]
) -> None:
    """It is not unknown: nobody can say which recording it belongs to."""
    await archive.create(names.receipt_name(ChunkKey("doc-1")), receipt)

    with pytest.raises(error):
        await found(archive, "doc-1")


@pytest.mark.parametrize("damaged", [b'{"v": 2}', b"torn"])
async def test_damaged_tombstone_hides_no_others(
    archive: MemoryArchive, damaged: bytes
) -> None:
    """All of them are looked through."""
    (receipt,) = await store_told(archive, *some_chunks(1))
    await archive.create(names.erased_name(ChunkKey("aaaa")), damaged)
    await archive.create(names.erased_name(receipt.key), tombstone_of(receipt))

    for text in (receipt.recording, "aaaa"):
        erased = [each.key async for each in find_erased(archive, text)]
        assert erased == ([receipt.key] if text != "aaaa" else [])


async def test_manifest_that_goes_meanwhile_says_no_ids(
    archive: MemoryArchive,
) -> None:
    """As when the recording is erased during the look."""
    chunks = some_chunks(1, announcement=a_call(1))
    (receipt,) = await store_told(archive, *chunks)
    name = names.manifest_name(receipt.recording_folder, 1)
    await store_manifest(archive, a_call(1), [receipt])
    read = archive.read

    async def lost(asked: str) -> bytes | None:
        return None if asked == name else await read(asked)

    archive.read = lost  # type: ignore[method-assign,assignment]

    assert await found(archive, f"{SERVER_CALL}1") == []


def test_server_call_is_in_some_subjects() -> None:
    """Subjects have four forms; two of them name it."""
    subject = f"/recording/call/c/serverCallId/{SERVER_CALL}/recordingId/r"

    assert server_call_id({"subject": subject}) == SERVER_CALL
    assert server_call_id({"subject": "/recording/call/c/recordingId/r"}) is None
    assert server_call_id({}) is None


def test_keys_are_of_files_and_receipts() -> None:
    """Each once, however many files it has."""
    folder = Folder(
        path="recordings/2026/03/01/c/r/",
        day="2026/03/01",
        call="c",
        recording="r",
        files=("0000-a.mp4", "0000-a.metadata.json", "0000-a.r2.mp4", "stray.txt"),
        receipts=(ChunkKey("b"),),
    )

    assert folder.keys == ["a", "b"]
    assert folder.metadata_files == ["recordings/2026/03/01/c/r/0000-a.metadata.json"]
