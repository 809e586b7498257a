"""Whatever an event calls things, what is written lies in the archive, within its limits."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handlers import envelope, recordings
from handlers.envelope import Event
from tests import hostile
from tests.azurite import Azurite
from tests.blobs import blob_archive
from tests.conftest import UniqueName
from tests.factories import RETENTION, a_delivery
from tests.fakes.clock import START, ManualClock
from worker import names
from worker.archives.directory import DirectoryArchive
from worker.archives.object_names import segments
from worker.errors import AlreadyExistsError, MalformedEventError
from worker.model import Chunk
from worker.ports import Archive
from worker.queues.entries import entry_id
from worker.queues.storage import names as ledger
from worker.queues.storage.parts import parts_of

ROOTS = ("recordings/", "receipts/", "quarantine/", "announced/")
LONGEST = 512
"""Of a name; as much again is left for the prefix of a container."""
TRICKS = (
    *(
        "",
        ".",
        "..",
        "...",
        "/",
        "//",
        "\\",
        "~",
        "-",
        " ",
        ".staging",
        "manifest.0001",
    ),
    *("../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/passwd", "C:\\x", "C:x"),
    *("\\\\evil.example\\share", "//evil.example/share", "file:///etc/passwd"),
    *("https://evil.example/x", "http://127.0.0.1:10000/devstoreaccount1/x?sig=y"),
    *("%2e%2e%2f", "..%2f", "%00", "a%2fb", "a?b", "a#b", "a;b", "a:b", 'a*b|<>"'),
    *("CON", "nul.mp4", "com1", "LPT9.x", "a.", "a ", ".a", " a", "a.content"),
    *(
        "a.source-deleted",
        "a.r2",
        "A",
        "a",
        "receipts",
        "recordings/x",
        "\u00e9",
        "e\u0301",
    ),
    *(
        "\N{LATIN SMALL LIGATURE FI}",
        "\N{FULLWIDTH LATIN SMALL LETTER A}",
        "\uff0e\uff0e\uff0f",
        "\u202egpj",
        "\u2028",
        "\ufeff",
        "\N{PILE OF POO}",
        "\N{LATIN SMALL LETTER DOTLESS I}",
        "\N{KELVIN SIGN}",
    ),
    *("a" * 128, "a" * 129, "a" * 1024, "\u00e9" * 200, "../" * 300, "~" + "0" * 40),
)
ANY_ID = st.sampled_from(TRICKS) | st.text(max_size=40) | st.text("./\\~%:", max_size=9)
MOMENTS = st.sampled_from(
    (
        *(
            "2026-03-01T11:50:00Z",
            "2000-01-01T00:00:00+14:00",
            "2199-12-31T23:59:59-14:00",
        ),
        *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "../../x", "", "2026-03-01"),
    )
)
FORMATS = st.sampled_from(
    ("Mp4", "wav", "../mp4", "mp4/../../x", "mp4\x00", "exe", "", 7)
)


def an_event(
    document: str,
    *,
    call: str = "call-1",
    recording: str = "recording-1",
    index: object = 0,
    start: str = "2026-03-01T11:50:00Z",
    kind: object = "Mp4",
) -> dict[str, Any]:
    """An event that calls everything as it is told, with locations of the document."""
    base = f"https://us-storage.asm.skype.com/v1/objects/{quote(document, '', errors='replace')}"
    chunk = {
        "documentId": document,
        "index": index,
        "endReason": "SessionEnded",
        "contentLocation": f"{base}/content/video",
        "metadataLocation": f"{base}/content/acsmetadata",
        "deleteLocation": base,
    }
    told = hostile.event(chunk, recording="r")
    told["subject"] = f"/recording/call/{call}/recordingId/{recording}"
    told["data"] |= {"recordingStartTime": start, "recordingFormatType": kind}
    told["data"]["recordingId"] = recording
    return told


def chunks_of(told: dict[str, Any]) -> tuple[Chunk, ...]:
    """What the handlers make of it; nothing where it is malformed."""
    (item,) = envelope.parse(envelope.compact([told]).encode())
    assert isinstance(item, Event)
    try:
        announced = recordings.parse(item, received_at=START, retention=RETENTION)
    except MalformedEventError:
        return ()
    return announced.chunks


def names_of(chunk: Chunk) -> Iterator[str]:
    """All under which anything of a chunk is ever written."""
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    for key in (chunk.key, names.other_key(chunk)):
        yield names.receipt_name(key)
        yield names.source_deleted_name(key)
    yield names.content_proof_name(chunk)
    for candidate in (1, 2, 9):
        yield names.content_name(chunk, candidate=candidate)
        yield names.metadata_name(chunk, candidate=candidate)
    yield names.manifest_name(folder, 1)
    yield names.checksums_name(folder, 1)
    yield names.quarantine_name(chunk.announcement.raw.encode(), chunk.received_at)
    yield from ledger_names(chunk)


def ledger_names(chunk: Chunk) -> Iterator[str]:
    """The same where a queue keeps its announcements in the archive."""
    row = entry_id(chunk)
    for part in parts_of(a_delivery(chunk), now=START):
        yield part.name.document
        ref = ledger.Ref(part=part.name, position=0)
        yield from ledger.index_names(chunk, row=row, ref=str(ref))
    for reason in ("host-not-allowed", "../../x"):
        death = ledger.Death(
            recording=chunk.recording, row=row, number=1, reason=ledger.slug(reason)
        )
        yield death.document


EVENTS = st.builds(
    an_event,
    ANY_ID,
    call=ANY_ID,
    recording=ANY_ID,
    index=st.sampled_from(
        (0, 1, 9999, 10_000, 2**31 - 1, 2**31, -1, "7", "../7", None)
    ),
    start=MOMENTS,
    kind=FORMATS,
)


@given(EVENTS)
@example(an_event("../../etc/passwd", call="..", recording="..", kind="../../x"))
@example(an_event("a" * 128, call="a" * 128, recording="a" * 128, index=2**31 - 1))
@example(an_event("\ud800", call="\ud800", recording="\ud800"))
def test_any_name_lies_below_its_root_and_within_limits(told: dict[str, Any]) -> None:
    """No archive refuses it, no system folds it, and no file system reads more into it."""
    for chunk in chunks_of(told):
        written = list(names_of(chunk))
        for name in written:
            parts = segments(name)
            assert name.startswith(ROOTS)
            assert name.isascii()
            assert len(name) <= LONGEST
            assert not any(
                part.startswith(".") or part.endswith((".", " ")) for part in parts
            )
        contents = [name for name in written if name.startswith("recordings/")]
        assert all(name.count("/") == 6 for name in contents)


@given(st.lists(EVENTS, min_size=1, max_size=3))
@settings(max_examples=8)
def test_any_name_is_a_file_below_the_directory(events: list[dict[str, Any]]) -> None:
    """Written for real: what is listed is what was written, and nothing lies beside it."""
    wanted = {
        name for told in events for chunk in chunks_of(told) for name in names_of(chunk)
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "deep" / "er" / "archive"

        listed = asyncio.run(written_to_directory(root, wanted))

        found = {path for path in Path(folder).rglob("*") if not path.is_dir()}
        held = {path.relative_to(root).as_posix() for path in found}
        assert listed == wanted
        assert {name for name in held if not name.startswith(".staging/")} == wanted


async def written_to_directory(root: Path, wanted: set[str]) -> set[str]:
    async with DirectoryArchive(root, clock=ManualClock(), reserve_bytes=0) as archive:
        await write_all(archive, wanted)
        return {name async for name in archive.list("")}


async def write_all(archive: Archive, wanted: set[str]) -> None:
    """Each by a write of its own; twice, so that no two of them are one."""
    for name in sorted(wanted):
        await archive.create(name, name.encode())
    for name in wanted:
        with pytest.raises(AlreadyExistsError):
            await archive.create(name, b"another")
        assert await archive.read(name) == name.encode()


async def test_any_name_is_a_blob_below_the_prefix(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Whatever the official client makes of a name in a URL, it stays in its folder."""
    wanted = {
        name
        for trick in TRICKS
        for chunk in chunks_of(an_event(trick, call=trick, recording=trick))
        for name in (names.content_name(chunk), names.receipt_name(chunk.key))
    }
    container = unique_name("hostile")
    async with blob_archive(azurite, container, prefix="deep/er") as archive:
        await asyncio.gather(*(archive.create(name, b"x") for name in wanted))
        assert {name async for name in archive.list("")} == wanted
    async with blob_archive(azurite, container) as whole:
        held = {name async for name in whole.list("")}

    assert held == {f"deep/er/{name}" for name in wanted}


async def test_hostile_names_come_home_below_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents that truly have such ids, in calls and recordings of such ids."""
    # A control never gets so far, and no path that says `..` or more is asked for.
    documents = [
        trick
        for trick in TRICKS
        if trick and trick == trick.strip(" .") and not {"/", "\\"} & set(trick)
        if "%" not in trick and trick.isprintable()
    ]
    async with hostile.lied_to(tmp_path, monkeypatch) as world:
        for document in documents:
            world.have(document)
            told = hostile.event(world.chunk(document), recording=document)
            told["subject"] = f"/recording/call/{document}/recordingId/{document}"
            await world.deliver(told)

        await world.work_off(minutes=60)

        assert [each for each in documents if not world.is_home(each)] == []
        files = world.files()
    assert all(name.startswith(("recordings/", "receipts/")) for name in files)
    beside = await asyncio.to_thread(lambda: {path.name for path in tmp_path.iterdir()})
    assert {name for name in beside if not name.startswith("queue.db")} == {"archive"}
