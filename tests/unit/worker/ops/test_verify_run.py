"""A verification as a run: what it looks at, what it keeps, and how it goes on."""

import json
from datetime import timedelta

import pytest

from tests.factories import an_announcement, some_chunks
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.unit.worker.ops.test_recordings import store_manifest
from tests.unit.worker.ops.test_verifying import (
    CONTENT,
    METADATA,
    proven_receipt,
    tombstone_of,
)
from worker import names, reports
from worker.byos import NO_EXPORTS
from worker.model import ChunkKey
from worker.ops import finding, verify_run
from worker.ops.verify_run import (
    Author,
    VerifyRun,
    VerifyTakenError,
    Wanted,
    open_reports,
)
from worker.ops.verifying import Looked, Verifier
from worker.reports import Tally, VerifyPart, VerifySummary
from worker.stored import Receipt, decode, encode

AUTHOR = Author(by="ann", instance="laptop")
ALL = Wanted()
RECORDINGS = 6


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START + timedelta(days=30))


@pytest.fixture
async def archive() -> MemoryArchive:
    """Recordings of two chunks each, on a day each."""
    archive = MemoryArchive(clock=ManualClock())
    for number in range(RECORDINGS):
        announcement = an_announcement(
            recording_id=f"r{number}",
            call_id=f"call-{number}",
            recording_start_time=START + timedelta(days=number),
        )
        chunks = some_chunks(2, announcement=announcement, document_id=f"d{number}")
        receipts = [proven_receipt(chunk) for chunk in chunks]
        for receipt in receipts:
            assert receipt.metadata
            await archive.create(receipt.content.name, CONTENT)
            await archive.create(receipt.metadata.name, METADATA)
            await archive.create(names.receipt_name(receipt.key), encode(receipt))
        await store_manifest(archive, announcement, receipts)
    return archive


async def a_run(
    archive: MemoryArchive,
    clock: ManualClock,
    wanted: Wanted = ALL,
    *,
    anew: bool = False,
    keep: bool = True,
) -> VerifyRun:
    kept = await open_reports(
        archive, wanted, author=AUTHOR, now=clock.now(), anew=anew
    )
    return VerifyRun(
        archive=archive,
        verifier=Verifier(
            archive=archive, exports=NO_EXPORTS, now=clock.now(), since=wanted.since
        ),
        wanted=wanted,
        clock=clock,
        reports=kept if keep else None,
    )


async def looks_of(run: VerifyRun) -> list[Looked]:
    return [look async for look in run.looks()]


def kept_in(archive: MemoryArchive) -> list[str]:
    return sorted(n for n in archive.objects if n.startswith(names.VERIFICATIONS))


def lost(archive: MemoryArchive) -> Receipt:
    """A receipt whose content is gone."""
    name = next(n for n in sorted(archive.objects) if n.startswith(names.RECEIPTS))
    receipt = decode(Receipt, archive.objects[name])
    archive.lose(receipt.content.name)
    return receipt


async def test_everything_is_looked_at_once(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Chunks, recordings, and what was erased; who, when and what is kept."""
    erased = proven_receipt(some_chunks(1, document_id="erased")[0])
    await archive.create(names.erased_name(erased.key), tombstone_of(erased))
    await archive.create(names.source_deleted_name(erased.key), b"{}")
    run = await a_run(archive, clock)
    missing = lost(archive)

    looks = await looks_of(run)

    problems = [problem for look in looks for problem in look.problems]
    assert [problem.name for problem in problems] == [missing.content.name]
    assert (run.tally.chunks, run.tally.recordings, run.tally.erased) == (12, 6, 1)
    assert run.tally.problems == {"missing": 1}
    first, last, summary = kept_in(archive)
    part = reports.decode(VerifyPart, archive.objects[first])
    assert (part.by, part.worker_instance, len(part.checked)) == ("ann", "laptop", 12)
    assert [problem.key for problem in part.problems] == [missing.key]
    assert reports.decode(VerifyPart, archive.objects[last]).phase == "recordings"
    whole = reports.decode(VerifySummary, archive.objects[summary])
    assert (whole.scope, whole.parts, whole.tally) == ("all", 2, run.tally)
    assert whole.started_at == clock.now()


async def test_reports_name_no_call(archive: MemoryArchive, clock: ManualClock) -> None:
    """They outlive an erasure: neither names of objects nor of days' calls are in them."""
    lost(archive)
    await looks_of(await a_run(archive, clock))
    call = "call-1"
    some = [folder async for folder in finding.find(archive, call)]
    await looks_of(await a_run(archive, clock, Wanted(folders=tuple(some))))

    kept = b"".join(archive.objects[name] for name in kept_in(archive))

    assert b"call-" not in kept
    assert b"recordings/2026" not in kept


async def test_killed_run_goes_on_where_it_was(
    archive: MemoryArchive, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever stretch it ended: nothing is looked at twice, the sum is the same."""
    monkeypatch.setattr(verify_run, "PART_CHUNKS", 2)
    whole = await a_run(archive, clock, keep=False)
    await looks_of(whole)
    for stop_after in (3, 7, 13, 15):
        # Of this kill alone.
        for name in kept_in(archive):
            archive.lose(name)
        killed = await a_run(archive, clock)
        looks = killed.looks()
        for _ in range(stop_after):
            await anext(looks)
        await looks.aclose()
        kept = len(kept_in(archive))

        clock.advance(3600)
        again = await a_run(archive, clock)
        found = await looks_of(again)

        assert again.reports
        assert killed.reports
        assert again.reports.run == killed.reports.run
        assert again.tally == whole.tally
        assert kept == len(again.reports.before)
        assert len(found) == kept + 18 - 2 * kept
        checked = [
            key
            for name in kept_in(archive)[:-1]
            for key in json.loads(archive.objects[name])["checked"]
        ]
        assert len(checked) == len(set(checked)) == 12


async def test_run_that_is_left_goes_on_behind_what_it_kept(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """What was found before its reader left is in the report, once."""
    left = await a_run(archive, clock)
    looks = left.looks()
    for _ in range(3):
        await anext(looks)
    await left.leave()
    await looks.aclose()
    again = await a_run(archive, clock)

    seen = await looks_of(again)

    assert (left.tally.chunks, seen[0].tally.chunks) == (3, 3)
    assert again.tally.chunks == 2 * RECORDINGS


async def test_run_that_is_left_among_recordings_counts_what_it_found(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """No part ends within a day: the next run finds the same, and counts it once."""
    archive.lose(next(n for n in archive.objects if n.startswith(names.RECEIPTS)))
    left = await a_run(archive, clock)
    looks = left.looks()
    async for look in looks:
        if look.problems:
            break
    await left.leave()
    await looks.aclose()
    again = await a_run(archive, clock)

    await looks_of(again)

    found = {"missing": 1, "orphaned": 2}
    assert left.tally.problems == again.tally.problems == found


async def test_part_ends_in_time(archive: MemoryArchive, clock: ManualClock) -> None:
    """However few chunks it holds: hours of hashing are not lost."""
    run = await a_run(archive, clock)
    async for _ in run.looks():
        clock.advance(31)

    parts = kept_in(archive)[:-1]

    assert len(parts) > 6


async def test_run_that_ended_is_followed_by_a_new_one(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """In the same second too; and so is one of another kind, or one that is too old."""
    first = await a_run(archive, clock)
    await looks_of(first)
    second = await a_run(archive, clock)
    await looks_of(second)
    left = await a_run(archive, clock)
    assert left.reports
    await left.reports.add(1, a_part())
    other = await a_run(archive, clock, Wanted(percent=50))
    anew = await a_run(archive, clock, anew=True)
    clock.advance(8 * 86_400)
    late = await a_run(archive, clock)

    runs = [run.reports.run for run in (first, second, left, anew, late) if run.reports]
    assert len(set(runs)) == 5
    assert other.reports
    assert not other.reports.before
    assert late.reports
    assert not late.reports.before


def a_part() -> VerifyPart:
    return VerifyPart(
        worker_version="1",
        worker_instance="w",
        by="ann",
        ended_at=START,
        phase="receipts",
        until="receipts/00/x.json",
        checked=(),
        tally=Tally(),
        problems=(),
    )


async def test_two_of_one_run_do_not_mix(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Whoever comes second is told, with the command that starts another."""
    first, second = await a_run(archive, clock), await a_run(archive, clock)
    await looks_of(first)

    with pytest.raises(VerifyTakenError, match="another verification"):
        await looks_of(second)


async def test_sample_is_of_so_many_chunks(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """With their recordings; other runs choose others, the same run the same."""
    wanted = Wanted(sample=5)
    run = await a_run(archive, clock, wanted)
    same = await a_run(archive, clock, wanted)
    looks = await looks_of(run)
    clock.advance(86_400)
    later = await a_run(archive, clock, wanted)

    chosen = sorted(look.key or "" for look in looks)
    assert (run.tally.chunks, run.tally.recordings) == (5, 5)
    assert run.reports
    assert same.reports
    same.reports.run = run.reports.run
    receipts = sorted(names.receipt_name(ChunkKey(key)) for key in chosen)
    assert [name async for name in same._names()] == receipts
    assert [name async for name in later._names()] != receipts
    assert (await a_run(archive, clock, Wanted(sample=99))).wanted.scope == "sample 99"


async def test_sample_may_be_a_share(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Of none, some or all."""
    counts = []
    for percent in (0.0, 40.0, 100.0):
        run = await a_run(archive, clock, Wanted(percent=percent), keep=False)
        await looks_of(run)
        counts.append(run.tally.chunks)

    assert counts[0] == 0
    assert 0 < counts[1] < 12
    assert counts[2] == 12


async def test_since_passes_over_older_recordings(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Chunks by when they were archived; recordings by their day, and two days before."""
    run = await a_run(archive, clock, Wanted(since=START + timedelta(days=4)))
    await looks_of(run)

    assert run.wanted.scope == "since 2026-03-05T12:00Z"
    assert (run.tally.chunks, run.tally.recordings) == (0, 4)


async def test_one_recording_is_looked_at_alone(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Its chunks and its manifest."""
    folders = [folder async for folder in finding.find(archive, "call-3")]
    run = await a_run(archive, clock, Wanted(folders=tuple(folders)))
    await looks_of(run)

    assert (run.tally.chunks, run.tally.recordings) == (2, 1)
    assert run.wanted.scope == f"recordings {folders[0].recording}"


async def test_nothing_is_kept_where_no_report_is_wanted(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Whoever may only read can verify."""
    run = await a_run(archive, clock, keep=False)
    await looks_of(run)

    assert run.tally.chunks == 12
    assert kept_in(archive) == []
