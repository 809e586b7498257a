"""`recordings list` and `show`: filters, paths, and what operators did."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.factories import an_announcement, some_chunks
from tests.fakes.clock import START
from tests.unit.worker.cli.conftest import Composed, Run
from tests.unit.worker.ops.test_recordings import receipt_for, store_manifest
from worker import names
from worker.model import Chunk
from worker.stored import Erased, Hold, Receipt, encode

URL = "https://contoso.blob.core.windows.net/calls/0.mp4"
PAUSED = json.dumps(
    {
        "pauseResumeIntervals": [
            {"startTime": "2026-03-01T11:51:00Z", "duration": 65_000},
            {"duration": 1000},
        ]
    }
).encode()


def run_all(*steps: Coroutine[Any, Any, object]) -> None:
    async def fill() -> None:
        for step in steps:
            await step

    asyncio.run(fill())


async def store(composed: Composed, chunk: Chunk, **changes: Any) -> Receipt:
    receipt = replace(receipt_for(chunk), chunk_duration_ms=300_000.0, **changes)
    assert receipt.metadata
    if not names.is_external(receipt.content.name):
        await composed.archive.create(receipt.content.name, b"x")
    await composed.archive.create(receipt.metadata.name, PAUSED)
    await composed.archive.create(names.receipt_name(receipt.key), encode(receipt))
    return receipt


@pytest.fixture
def chunks(composed: Composed) -> tuple[Chunk, ...]:
    """One recording of two chunks with a manifest, whose second lies in the user's storage."""
    announcement = an_announcement(server_call_id="aHR0c")
    chunks = some_chunks(2, announcement=announcement)

    async def fill() -> None:
        content = replace(receipt_for(chunks[1]).content, name=URL)
        receipts = [
            await store(composed, chunks[0]),
            await store(composed, chunks[1], content=content),
        ]
        await store_manifest(composed.archive, announcement, receipts)

    asyncio.run(fill())
    return chunks


def folder_of(chunk: Chunk) -> str:
    return names.recording_folder(chunk.announcement, chunk.recording)


def a_hold(chunk: Chunk, *, held: bool) -> bytes:
    hold = Hold(
        worker_version="1",
        recording=chunk.recording,
        held=held,
        reason="case 7",
        at=START,
        by="ann",
    )
    return encode(hold)


def a_tombstone(chunk: Chunk) -> Erased:
    return Erased(
        worker_version="1",
        key=chunk.key,
        recording=chunk.recording,
        index=chunk.index,
        content_bytes=1,
        metadata_bytes=1,
        reason="data-subject-request",
        erased_at=START,
        erased_by="ann",
    )


def test_list_can_be_of_one_call(
    run: Run, composed: Composed, chunks: tuple[Chunk, ...]
) -> None:
    """By its id or the beginning of it, in any case; a harmful id is known by its hash."""
    odd = some_chunks(
        1,
        announcement=an_announcement(recording_id="r2", call_id="../odd call"),
        document_id="odd",
    )
    run_all(store(composed, odd[0]))

    def listed(call: str) -> list[str]:
        lines = run("recordings", "list", "--call", call, "--json").out.splitlines()
        return [json.loads(line)["recording"] for line in lines]

    assert listed("CALL-1") == listed("call") == [chunks[0].recording]
    assert listed("../odd call") == [odd[0].recording]
    assert listed("other") == []


def test_durations_are_told_beside_each_other(
    run: Run, chunks: tuple[Chunk, ...]
) -> None:
    """What the event says of the whole, and what the chunks' metadata says."""
    people = run("recordings", "show", "aHR0c").out
    row = json.loads(run("recordings", "list", "--json").out)

    assert "duration     0:10:00 announced, 0:10:00 in 2 chunks\n" in people
    assert "server call  aHR0c\n" in people
    assert "paused       in 0 for 0:01:05 from 11:51:00Z\n" in people
    assert "paused       in 1 for 0:00:01\n" in people
    assert (row["duration_ms"], row["chunks_ms"]) == (600_000, 600_000.0)
    assert row["server_call_id"] == "aHR0c"
    shown = json.loads(run("recordings", "show", chunks[0].key, "--json").out)
    assert [len(chunk["pauses"]) for chunk in shown["chunks"]] == [2, 2]


def test_duration_that_nobody_says_is_left_out(run: Run, composed: Composed) -> None:
    """An event of 2021 without one, and metadata that does not say it."""
    announcement = an_announcement(recording_duration_ms=None)
    chunks = some_chunks(1, announcement=announcement)

    async def fill() -> None:
        receipt = replace(await store(composed, chunks[0]), chunk_duration_ms=None)
        await store_manifest(composed.archive, announcement, [receipt])
        composed.archive.lose(names.receipt_name(receipt.key))

    asyncio.run(fill())

    assert "duration     not announced\n" in (
        run("recordings", "show", "call-1").out.replace("duration   ", "duration     ")
    )


@pytest.mark.parametrize("verb", [["list"], ["show", "call-1"]], ids=" ".join)
def test_paths_are_of_contents_and_metadata(
    run: Run, home: Path, chunks: tuple[Chunk, ...], verb: list[str]
) -> None:
    """Files below the archive's folder, and the URL of what lies elsewhere."""
    lines = run("recordings", *verb, "--paths").out.splitlines()

    assert lines == [
        f"data/archive/{names.content_name(chunks[0])}",
        f"data/archive/{names.metadata_name(chunks[0])}",
        URL,
        f"data/archive/{names.metadata_name(chunks[1])}",
    ]
    assert (home / "data/archive").is_dir()
    other = run("recordings", "list", "--paths", "--incomplete")
    assert other.out == ""


def test_paths_in_a_container_are_names_of_blobs(
    run: Run, chunks: tuple[Chunk, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the prefix that the settings say, as other tools want them."""
    monkeypatch.setenv(
        "WORKER_ARCHIVE", "https://contoso.blob.core.windows.net/calls/team/one"
    )

    first = run("recordings", "show", "call-1", "--paths").out.splitlines()[0]

    assert first == f"team/one/{names.content_name(chunks[0])}"


@pytest.mark.parametrize("verb", [["list"], ["show", "x"]], ids=" ".join)
def test_paths_are_no_json(run: Run, verb: list[str]) -> None:
    """One or the other."""
    ended = run("recordings", *verb, "--paths", "--json")

    assert ended.code == 2
    assert "--paths are lines already" in ended.err


def test_hold_shows_until_it_is_released(
    run: Run, composed: Composed, chunks: tuple[Chunk, ...]
) -> None:
    """The document with the highest number counts."""
    folder = folder_of(chunks[0])
    name = names.hold_name(folder, 1)
    run_all(composed.archive.create(name, a_hold(chunks[0], held=True)))
    on = run("recordings", "list").out
    shown = json.loads(run("recordings", "show", "call-1", "--json").out)
    name = names.hold_name(folder, 2)
    run_all(composed.archive.create(name, a_hold(chunks[0], held=False)))
    off = run("recordings", "list").out

    assert "complete, on hold" in on
    assert shown["recording"]["on_hold"]
    assert "hold" not in off


def test_erasure_that_did_not_end_shows(
    run: Run, composed: Composed, chunks: tuple[Chunk, ...]
) -> None:
    """The recording is half there; its erased chunks say so."""
    composed.archive.lose(names.receipt_name(chunks[0].key))
    run_all(
        composed.archive.create(names.erasing_name(folder_of(chunks[0]), 1), b"{}"),
        composed.archive.create(
            names.erased_name(chunks[0].key), encode(a_tombstone(chunks[0]))
        ),
    )

    assert "complete, being erased" in run("recordings", "list").out
    assert "erased    " in run("recordings", "show", "call-1").out


@pytest.mark.parametrize("text", ["recording-1", "0-eus-d1-doc1-1", "KEY"])
def test_erased_recording_is_known_by_its_tombstones(
    run: Run, composed: Composed, text: str
) -> None:
    """By a documentId, the recordingId or the recording's key: who erased it, when, why."""
    chunks = some_chunks(2)
    other = some_chunks(
        1, announcement=an_announcement(recording_id="r2"), document_id="other"
    )[0]
    for chunk in (*chunks, other):
        tombstone = encode(a_tombstone(chunk))
        run_all(composed.archive.create(names.erased_name(chunk.key), tombstone))
    run_all(composed.archive.create("receipts/aa/stray.json", b"{}"))
    text = chunks[0].recording if text == "KEY" else text

    people = run("recordings", "show", text)
    machine = json.loads(run("recordings", "show", text, "--json").out)

    assert people.code == 0
    assert people.out.splitlines()[1].split() == ["state", "erased"]
    assert people.out.count("data-subject-request") == 2
    assert machine["recording"] == chunks[0].recording
    assert [each["index"] for each in machine["erased"]] == [0, 1]


def test_day_narrows_show(run: Run, chunks: tuple[Chunk, ...]) -> None:
    """Where an archive is large, and an id is in no name."""
    day = chunks[0].announcement.recording_start_time
    assert day

    found = run("recordings", "show", "aHR0c", "--day", f"{day:%Y-%m-%d}")
    other = run(
        "recordings", "show", "aHR0c", "--day", f"{day - timedelta(9):%Y-%m-%d}"
    )

    assert (found.code, other.code) == (0, 1)


def test_unreadable_manifest_shows_as_what_it_is(
    run: Run, composed: Composed, chunks: tuple[Chunk, ...]
) -> None:
    """With what the receipts say."""
    paths = run("recordings", "show", "call-1", "--paths").out
    name = names.manifest_name(folder_of(chunks[0]), 2)
    run_all(composed.archive.create(name, b"torn"))

    assert "state      unreadable: " in run("recordings", "show", "call-1").out
    assert run("recordings", "show", "call-1", "--paths").out == paths != ""


def test_unreadable_receipt_hides_no_other(
    run: Run, composed: Composed, chunks: tuple[Chunk, ...]
) -> None:
    """The manifest's line stands, and says so."""
    composed.archive.objects[names.receipt_name(chunks[0].key)] = b"torn"

    ended = run("recordings", "show", "call-1")

    assert ended.code == 0
    assert "unreadable" in ended.out
    assert "read-back" in ended.out
