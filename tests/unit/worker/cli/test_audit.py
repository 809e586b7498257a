"""`recordings audit`: what it tells of a recording's custody, and what it never tells."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.factories import an_announcement, some_chunks
from tests.fakes.clock import START
from tests.unit.worker.cli.conftest import Composed, Run
from tests.unit.worker.ops.test_recordings import store_manifest
from tests.unit.worker.ops.test_verifying import (
    CONTENT,
    METADATA,
    proven_receipt,
    tombstone_of,
)
from worker import names, reports
from worker.model import ChunkKey, DeleteAnswer
from worker.reports import Problem, Tally, VerifyPart
from worker.stored import Hold, Receipt, SourceDeleted, encode

SECRET = "sig=hunter2"
ODD = "recording-<script>"
VERIFIED = START + timedelta(days=1)


def run_all(*steps: Coroutine[Any, Any, object]) -> None:
    async def run() -> None:
        for step in steps:
            await step

    asyncio.run(run())


@pytest.fixture
def receipts(composed: Composed) -> list[Receipt]:
    """Two chunks of a recording whose id is markup, the first deleted at the source."""
    announcement = an_announcement(recording_id=ODD)
    event = {
        "id": "event-1",
        "eventType": "Microsoft.Communication.RecordingFileStatusUpdated",
        "eventTime": "2026-03-01T11:59:00.1234567Z",
        "data": {"contentLocation": f"https://h/o?{SECRET}"},
    }
    receipts = [
        replace(
            proven_receipt(chunk),
            event=event,
            content_path=f"/v1/objects/x/content/video?{SECRET}",
            delete_location=f"https://h/v1/objects/x?{SECRET}",
        )
        for chunk in some_chunks(2, announcement=announcement)
    ]
    receipts[0] = replace(
        receipts[0],
        flags=("structure",),
        content=replace(
            receipts[0].content,
            source_date="Sun, 01 Mar 2026 12:00:00 GMT",
            protection={"immutable_until": "2027-03-01"},
        ),
    )

    async def fill() -> None:
        for receipt in receipts:
            assert receipt.metadata
            await composed.archive.create(receipt.content.name, CONTENT)
            await composed.archive.create(receipt.metadata.name, METADATA)
            name = names.receipt_name(receipt.key)
            await composed.archive.create(name, encode(receipt))
        await store_manifest(composed.archive, announcement, receipts)
        answer = DeleteAnswer(status=200, host="h", at=START, hops=("h 200",))
        deleted = SourceDeleted(
            key=receipts[0].key,
            worker_version="1",
            worker_instance="w2",
            answer=answer,
        )
        name = names.source_deleted_name(receipts[0].key)
        await composed.archive.create(name, encode(deleted))

    asyncio.run(fill())
    return receipts


def audited(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("recordings", "audit", ODD, "--json").out)
    return found


def steps_of(found: dict[str, Any], index: int = 0) -> list[tuple[str, str, str]]:
    steps = found["chunks"][index]["steps"]
    return [(step["what"], step["by"] or "", step["detail"]) for step in steps]


@pytest.mark.usefixtures("receipts")
def test_every_step_of_a_chunk_is_told(run: Run) -> None:
    """What, by whom, and when, in order."""
    found = audited(run)

    what, by, details = zip(*steps_of(found), strict=True)
    assert what == (
        "announced",
        "received",
        "downloaded",
        "archived",
        "proven",
        "deleted at the source",
    )
    assert by == ("", "", "test", "test", "test, version 0", "w2")
    assert details[0].endswith("RecordingFileStatusUpdated, id event-1")
    assert "whose clock said Sun, 01 Mar 2026" in details[2]
    assert details[5] == "h answered 200 (h 200)"
    assert found["chunks"][0]["steps"][0]["at"] == "2026-03-01T11:59:00.123456Z"
    assert [each["what"] for each in found["chunks"][1]["files"]] == [
        "content",
        "metadata",
    ]
    assert found["proves"]
    assert found["proves_not"]


def test_later_verifications_are_told(
    run: Run, composed: Composed, receipts: list[Receipt]
) -> None:
    """Those that looked at this chunk, with what they found; reports by others stay closed."""
    run("recordings", "verify", "--all")
    composed.archive.corrupt(receipts[0].content.name)
    run("recordings", "verify", "--all")
    run_all(
        composed.archive.create(f"{names.VERIFICATIONS}torn/000001-ff.json", b"torn"),
        composed.archive.create(f"{names.VERIFICATIONS}other/000001-ff.json", a_part()),
        composed.archive.create(f"{names.VERIFICATIONS}early/000001-00.json", b"torn"),
    )

    verified = [step for step in steps_of(audited(run)) if step[0] == "verified"]

    assert len(verified) == 2
    assert verified[0][2] == "as proven"
    assert verified[1][2] == "content altered: other bytes: sha256 differs"


def a_part() -> bytes:
    problem = Problem(
        kind="missing", what="content", key=None, recording=None, detail="gone"
    )
    part = VerifyPart(
        worker_version="1",
        worker_instance="w",
        by="ann",
        ended_at=VERIFIED,
        phase="receipts",
        until="receipts/ff/x.json",
        checked=(ChunkKey("another"),),
        tally=Tally(),
        problems=(problem,),
    )
    return reports.encode(part)


def test_what_is_no_longer_proven_says_why(
    run: Run, composed: Composed, receipts: list[Receipt]
) -> None:
    """A receipt that is torn, gone, or was erased."""
    name = names.receipt_name(receipts[0].key)
    composed.archive.objects[name] = b"torn"
    torn = audited(run)["chunks"][0]["problem"]
    composed.archive.lose(name)
    gone = audited(run)["chunks"][0]["problem"]
    tombstone = names.erased_name(receipts[0].key)
    run_all(composed.archive.create(tombstone, tombstone_of(receipts[0])))
    erased = audited(run)

    assert torn.startswith("its receipt can't be read")
    assert gone == "its receipt is gone"
    assert steps_of(erased) == [("erased", "ann", "data-subject-request")]
    assert "it was erased" in run("recordings", "audit", ODD).out


def test_holds_are_told(run: Run, composed: Composed, receipts: list[Receipt]) -> None:
    """Put on and taken off, by whom and why."""
    for number, held in ((1, True), (2, False)):
        hold = Hold(
            worker_version="1",
            recording=receipts[0].recording,
            held=held,
            reason="case 7",
            at=START,
            by="ann",
        )
        name = names.hold_name(receipts[0].recording_folder, number)
        run_all(composed.archive.create(name, encode(hold)))

    text = run("recordings", "audit", ODD).out

    assert "2026-03-01T12:00:00Z  held by ann: case 7" in text
    assert "2026-03-01T12:00:00Z  released by ann: case 7" in text


@pytest.mark.parametrize("form", ["text", "json", "page"])
@pytest.mark.usefixtures("receipts")
def test_no_form_tells_a_secret(run: Run, home: Path, form: str) -> None:
    """Nor any query, nor where at the source a chunk lay, nor the event."""
    options = {"text": [], "json": ["--json"], "page": ["-o", "a.html"]}[form]
    told = run("recordings", "audit", ODD, *options).out
    if form == "page":
        told = (home / "a.html").read_text()

    assert "0-eus-d1-doc1-0" in told
    for hidden in (SECRET, "hunter2", "/v1/objects", "contentLocation", "?"):
        assert hidden not in told


@pytest.mark.usefixtures("receipts")
def test_text_says_what_it_proves(run: Run) -> None:
    """And what it does not; flags and hashes on the way."""
    text = run("recordings", "audit", ODD).out

    assert "What this proves" in text
    assert "ACS gives no checksum" in text
    assert "flags     structure" in text
    assert f"content   {len(CONTENT)} bytes  sha256 " in text
    assert "complete     yes" in text.replace("complete   ", "complete     ")


class Page(HTMLParser):
    """Elements must be closed in order; keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {name for name, _ in attrs} & {"src", "href", "onload"}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_page_is_whole_and_needs_nothing_else(
    run: Run, home: Path, composed: Composed, receipts: list[Receipt]
) -> None:
    """No script, no link; what others said is text; a file is not written over."""
    composed.archive.lose(names.receipt_name(receipts[1].key))
    name = names.hold_name(receipts[0].recording_folder, 1)
    hold = Hold(
        worker_version="1",
        recording=receipts[0].recording,
        held=True,
        reason="case 7",
        at=START,
        by="ann",
    )
    run_all(composed.archive.create(name, encode(hold)))

    ended = run("recordings", "audit", ODD, "-o", "a.html")
    again = run("recordings", "audit", ODD, "-o", "a.html")
    forced = run("recordings", "audit", ODD, "-o", "a.html", "--force")

    assert (ended.code, ended.out, ended.err) == (0, "", "wrote a.html\n")
    assert (again.code, forced.code) == (1, 0)
    page = Page()
    page.feed((home / "a.html").read_text())
    text = " ".join(page.text)
    assert page.open == []
    assert ODD in text
    assert "<script" not in (home / "a.html").read_text()
    assert "Flags: structure" in text
    assert "its receipt is gone" in text
    assert "immutable_until 2027-03-01" in text
    assert "on legal hold" in text


def test_time_that_is_none_is_left_out(run: Run, composed: Composed) -> None:
    """An event may say its time wrongly."""
    announcement = an_announcement(recording_id=ODD)
    chunk = some_chunks(1, announcement=announcement)[0]
    receipt = replace(proven_receipt(chunk), event={"id": "e", "time": "noon"})
    receipt = replace(receipt, metadata=None)
    run_all(
        composed.archive.create(receipt.content.name, CONTENT),
        composed.archive.create(names.receipt_name(receipt.key), encode(receipt)),
    )

    found = audited(run)

    assert found["chunks"][0]["steps"][0]["at"] is None
    assert len(found["chunks"][0]["files"]) == 1


def test_incomplete_recording_says_what_is_missing(
    run: Run, composed: Composed, home: Path
) -> None:
    """On the page and in the text; an event without a time has none."""
    announcement = an_announcement(recording_id=ODD)
    chunks = some_chunks(2, announcement=announcement)
    receipt = proven_receipt(chunks[0])
    receipt = replace(receipt, content=replace(receipt.content, sha256=None))

    async def fill() -> None:
        await composed.archive.create(receipt.content.name, CONTENT)
        name = names.receipt_name(receipt.key)
        await composed.archive.create(name, encode(receipt))
        await store_manifest(composed.archive, announcement, [receipt])

    asyncio.run(fill())
    text = run("recordings", "audit", ODD).out
    run("recordings", "audit", ODD, "-o", "a.html", "--json")

    assert "missing    1: not archived yet" in text
    assert "hashed by blocks" in text
    assert "id unknown" in text
    assert "not complete" in (home / "a.html").read_text()


def test_nobody_has_no_record(run: Run) -> None:
    """One line."""
    ended = run("recordings", "audit", "nobody")

    assert (ended.code, ended.out) == (1, "")
    assert "knows no 'nobody'" in ended.err
