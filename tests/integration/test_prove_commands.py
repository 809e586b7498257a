"""Commands that find and prove, on both kinds of stores, wired as they are deployed."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient
from structlog.testing import capture_logs

from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.factories import an_announcement, some_chunks
from tests.isolation import isolated_logs
from tests.unit.worker.ops.test_finding import SERVER_CALL, SOMEBODY
from tests.unit.worker.ops.test_verifying import (
    CONTENT,
    METADATA,
    proof_of,
    proven_receipt,
)
from worker import names, recording
from worker.__main__ import main
from worker.model import Announcement, Chunk
from worker.opening import open_archive, open_queue
from worker.ports import Archive
from worker.recording import RecordingView
from worker.settings import inspect_process
from worker.settings_rules import Use
from worker.stored import Receipt, encode

Run = Callable[..., tuple[int, str, str]]
PEOPLE = json.dumps({"participants": [{"participantId": SOMEBODY}]}).encode()
CALL = an_announcement(
    call_id="call-7",
    server_call_id=SERVER_CALL,
    recording_id="recording-7",
    subject=f"/recording/call/call-7/serverCallId/{SERVER_CALL}/recordingId/recording-7",
)


@pytest.fixture(params=["embedded", "azure"])
def run(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run a command on a directory and SQLite, or on a container and a Storage Queue."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKER_SOURCE_HOSTS", "127.0.0.1:7700")
    monkeypatch.setenv("WORKER_ARCHIVE_RESERVE_MIB", "0")
    if request.param == "azure":
        azurite: Azurite = request.getfixturevalue("azurite")
        unique: UniqueName = request.getfixturevalue("unique_name")
        name = unique("prove")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
        monkeypatch.setenv("WORKER_ARCHIVE", azurite.container(name, "team"))
        monkeypatch.setenv("WORKER_QUEUE", azurite.queue(name))
        make_queue()

    def run_command(*arguments: str) -> tuple[int, str, str]:
        with isolated_logs():
            code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


def make_queue() -> None:
    async def make() -> None:
        settings = inspect_process(None, use=Use.READ).require()
        async with open_queue(settings, create=True):
            pass

    with capture_logs():
        asyncio.run(make())


def in_archive(work: "Callable[[Archive], object]") -> None:
    """Do something to the archive that the settings name."""

    async def do() -> None:
        settings = inspect_process(None, use=Use.READ).require()
        async with open_archive(settings, create=True) as archive:
            await work(archive)  # type: ignore[misc]

    with capture_logs():
        asyncio.run(do())


async def put_recording(
    archive: Archive, announcement: Announcement, *chunks: Chunk
) -> list[Receipt]:
    receipts = []
    for chunk in chunks:
        receipt = proven_receipt(chunk)
        metadata = proof_of(receipt.content, names.metadata_name(chunk), PEOPLE)
        receipt = replace(
            receipt, metadata=metadata, event={"subject": announcement.subject}
        )
        await archive.create(receipt.content.name, CONTENT)
        await archive.create(metadata.name, PEOPLE)
        await archive.create(names.receipt_name(receipt.key), encode(receipt))
        receipts.append(receipt)
    await put_manifest(archive, announcement, receipts)
    return receipts


async def put_manifest(
    archive: Archive, announcement: Announcement, receipts: list[Receipt]
) -> None:
    first = receipts[0]
    manifest = recording.manifest_of(
        RecordingView(
            recording=first.recording,
            announcement=announcement,
            folder=first.recording_folder,
            announced={sibling.key: sibling for sibling in first.announced},
            receipts={receipt.key: receipt for receipt in receipts},
            dead={},
            alive=frozenset(),
            is_closed_by_another=False,
            deadline=first.expires_at,
        )
    )
    folder = first.recording_folder
    await archive.create(names.manifest_name(folder, 1), encode(manifest))
    await archive.create(
        names.checksums_name(folder, 1), recording.checksums_of(manifest)
    )


def put_call(archive: Archive) -> object:
    """Two chunks that are home, and another call of one."""
    other = an_announcement(call_id="call-8", recording_id="recording-8")

    async def put() -> None:
        chunks = some_chunks(2, announcement=CALL, document_id="d7")
        await put_recording(archive, CALL, *chunks)
        chunks = some_chunks(1, announcement=other, document_id="d8")
        await put_recording(archive, other, *chunks)

    return put()


def test_recordings_are_listed_and_found(run: Run) -> None:
    """By every id, and where their files lie."""
    in_archive(put_call)

    listed = [
        json.loads(line) for line in run("recordings", "list", "--json")[1].splitlines()
    ]
    assert [row["call_id"] for row in listed] == ["call-7", "call-8"]
    for text in ("call-7", "recording-7", "d7-1", SERVER_CALL, listed[0]["folder"]):
        code, out, _ = run("recordings", "show", text, "--json")
        found = json.loads(out)
        assert code == 0
        assert found["recording"]["recording"] == listed[0]["recording"]
        assert len(found["chunks"]) == 2
    both = run("recordings", "show", SOMEBODY, "--paths")[1].splitlines()
    assert len(both) == 6
    assert both[0].split("recordings/")[0] in {"data/archive/", "team/"}


def test_archive_is_verified(run: Run) -> None:
    """Whole, then with a content that is gone; the report is kept each time."""
    in_archive(put_call)
    assert run("recordings", "verify", "--all")[0] == 0
    (chunk,) = some_chunks(
        1,
        announcement=an_announcement(call_id="call-9", recording_id="recording-9"),
        document_id="d9",
    )
    receipt = proven_receipt(chunk)

    async def lose(archive: Archive) -> None:
        await archive.create(names.metadata_name(chunk), METADATA)
        await archive.create(names.receipt_name(receipt.key), encode(receipt))

    in_archive(lose)
    code, out, _ = run("recordings", "verify", "--all", "--json")

    problem, summary = map(json.loads, out.splitlines())
    assert code == 3
    assert (problem["kind"], problem["name"]) == ("missing", receipt.content.name)
    assert summary["tally"]["chunks"] == 4
    assert summary["tally"]["objects"] == 8

    async def kept(archive: Archive) -> None:
        listed = [name async for name in archive.list(names.VERIFICATIONS)]
        assert len(listed) == 6

    in_archive(kept)


def test_custody_is_told(run: Run, tmp_path: Path) -> None:
    """With the verification that came later; as a page too."""
    in_archive(put_call)
    assert run("recordings", "verify", "call-7")[0] == 0

    code, out, _ = run("recordings", "audit", SERVER_CALL, "--json")
    page = run("recordings", "audit", SERVER_CALL, "-o", "audit.html")

    found = json.loads(out)
    assert (code, page[0]) == (0, 0)
    assert [chunk["document_id"] for chunk in found["chunks"]] == ["d7-0", "d7-1"]
    for chunk in found["chunks"]:
        assert chunk["steps"][-1]["what"] == "verified"
    assert "d7-1" in (tmp_path / "audit.html").read_text()


EVENTS = Path(__file__).parents[2] / "samples/events"
LETTER = "two-recordings.cloud-events.json"


@pytest.mark.parametrize("by", ["folder", "url"])
def test_what_is_missing_is_told(
    run: Run, tmp_path: Path, request: pytest.FixtureRequest, by: str
) -> None:
    """By Azure Monitor's count, and by dead letters in a folder or a container."""
    in_archive(put_call)
    (tmp_path / "summary.csv").write_text(
        "RecordingId,ChunkCount\nrecording-7,3\nrecording-8,1\n"
    )
    where = put_letter(request, tmp_path, by)

    code, out, err = run(
        *("recordings", "reconcile", "--summary", "summary.csv"),
        *("--dead-letters", where, "--json"),
    )
    people = run("recordings", "reconcile", "--summary", "summary.csv", "--no-report")

    found = json.loads(out)
    assert (code, people[0]) == (3, 3)
    assert found["here"] == 3
    why = [(row["why"], row["index"]) for row in found["missing"]]
    assert why.count(("never announced", 2)) == 1
    assert len(why) == found["letters"] + 1
    commands = {row["command"] for row in found["missing"]} - {None}
    assert all(LETTER in command for command in commands)
    assert "sig=" not in out
    assert "never announced" in people[1]
    assert "  recording-7\n" in people[1]
    assert "report" not in people[1]
    assert ("there is no queue" in err) == ("data/queue.db" in err)

    async def kept(archive: Archive) -> None:
        assert [name async for name in archive.list(names.RECONCILIATIONS)] == [
            found["report"]
        ]

    in_archive(kept)


def put_letter(request: pytest.FixtureRequest, folder: Path, by: str) -> str:
    """A dead letter of Event Grid's, and where it lies."""
    body = (EVENTS / LETTER).read_bytes()
    if by == "folder":
        (folder / "letters").mkdir()
        (folder / f"letters/{LETTER}").write_bytes(body)
        (folder / "letters/torn.json").write_bytes(b"\xff")
        (folder / "letters/other.json").write_bytes(
            (EVENTS / "subscription-deleted.event-grid.json").read_bytes()
        )
        (folder / "letters/mixed.json").write_bytes(
            b'[3, {"eventType": "Microsoft.Communication.RecordingFileStatusUpdated",'
            b' "id": "x", "data": {}}]'
        )
        return "letters"
    azurite: Azurite = request.getfixturevalue("azurite")
    name: str = request.getfixturevalue("unique_name")("letters")
    text = azurite.connection_string
    with ContainerClient.from_connection_string(text, name) as client:
        client.create_container()
        client.upload_blob(LETTER, body)
    request.getfixturevalue("monkeypatch").setenv(
        "AZURE_STORAGE_CONNECTION_STRING", text
    )
    return azurite.container(name)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say --summary, --dead-letters, or both"),
        (["--dead-letters", "https://x"], "the container's URL"),
        (["--summary", "nothing.csv"], "nothing.csv"),
    ],
)
def test_reconcile_says_what_it_wants(
    run: Run, arguments: list[str], told: str
) -> None:
    """One line, and the help that would have helped."""
    in_archive(put_call)

    code, out, err = run("recordings", "reconcile", *arguments)

    assert (code, out) == (2, "")
    assert told in err
    assert "reconcile --help" in err


def test_all_that_was_counted_is_here(run: Run, tmp_path: Path) -> None:
    """Exit 0."""
    in_archive(put_call)
    (tmp_path / "s.json").write_text(
        json.dumps([{"RecordingId": "recording-7", "ChunkCount": 2}])
    )

    code, out, _ = run("recordings", "reconcile", "--summary", "s.json")

    assert code == 0
    assert "missing     none" in out
