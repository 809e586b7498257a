"""What others are told: the same notice whoever writes it, and nothing that is a secret."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tests.factories import a_chunk, an_announcement, some_chunks
from tests.fakes.clock import START
from tests.proofs import a_manifest
from tests.unit.worker.rig import Rig, killed_at
from worker import at_risk, names, notices
from worker.at_risk import RiskWatch
from worker.closing import DeletePolicy
from worker.errors import (
    ArchiveUnavailableError,
    NoCredentialError,
)
from worker.model import Chunk, ChunkState, Lane, QueueCounts
from worker.notices import (
    ARCHIVED,
    AT_RISK,
    DEAD_LETTERED,
    MOST_NOTICE_BYTES,
    MOST_WAITING,
    Notices,
    Outbox,
    archived_notice,
)
from worker.sight import Sight
from worker.stored import Manifest, Notice, decode, encode

ARCHIVE_URL = "https://account.blob.core.windows.net/recordings"
DAY = timedelta(days=1)


def telling(rig: Rig) -> Notices:
    """Have the rig's worker tell; it goes on doing so when it is started anew."""
    rig.notices = Notices(archive=rig.archive, clock=rig.clock, archive_url=ARCHIVE_URL)
    rig.restart()
    return rig.notices


def written(rig: Rig) -> list[Notice]:
    """All notices in the archive, by name."""
    return [
        decode(Notice, data)
        for name, data in sorted(rig.archive.objects.items())
        if name.startswith(names.NOTICES)
    ]


def folder_of(chunk: Chunk) -> str:
    return names.recording_folder(chunk.announcement, chunk.recording)


async def test_archived_recording_is_told() -> None:
    """The notice leads to the manifest and says what it holds, chunk by chunk."""
    rig = Rig()
    told = telling(rig)
    chunks = await rig.several(2)

    await rig.work_off()

    (notice,) = written(rig)
    folder = folder_of(chunks[0])
    receipts = [rig.receipt(chunk) for chunk in chunks]
    assert notice.type == ARCHIVED
    assert notice.subject == folder.rstrip("/")
    assert notice.time == START
    assert notice.data["manifestUrl"] == f"{ARCHIVE_URL}/{folder}manifest.0001.json"
    assert notice.data["recordingId"] == "recording-1"
    assert notice.data["complete"] is True
    assert notice.data["missing"] == []
    assert notice.data["chunks"] == [
        {
            "receipt": names.receipt_name(receipt.key),
            "index": receipt.index,
            "documentId": receipt.document_id,
            "content": receipt.content.name.removeprefix(folder),
            "sizeBytes": receipt.content.size_bytes,
            "sha256": receipt.content.sha256,
            "metadata": receipt.metadata.name.removeprefix(folder),
            "durationMs": 4000.0,
            "flags": [],
        }
        for receipt in receipts
        if receipt is not None and receipt.metadata is not None
    ]
    assert list(told.outbox.waiting) == [names.notice_name(notice.id, START)]


async def test_notice_is_written_after_the_manifest_and_before_the_end() -> None:
    """Whoever hears of the manifest finds it; a chunk is settled when the notice is kept."""
    rig = Rig()
    telling(rig)
    chunk = await rig.one()

    await rig.attempt()

    (notice,) = written(rig)
    stored = rig.steps.index(f"stored {names.notice_name(notice.id, START)}")
    checksums = rig.steps.index(f"stored {names.checksums_name(folder_of(chunk), 1)}")
    assert checksums < stored < len(rig.steps.journal) - 1


@pytest.mark.parametrize("policy", ["after-recording", "after-chunk"])
async def test_notice_survives_a_kill_at_every_call(policy: DeletePolicy) -> None:
    """Killed anywhere, also between manifest and notice: the next worker tells, once."""
    step, was_killed = 0, True
    while was_killed:
        rig = Rig(policy=policy)
        telling(rig)
        chunk = await rig.one()

        was_killed = await killed_at(rig, step)

        await rig.work_off()
        assert [notice.type for notice in written(rig)] == [ARCHIVED], step
        assert (await rig.queued(chunk)).state is ChunkState.DELETED
        step += 1
    assert step > 30


async def test_notice_of_a_closed_recording_is_written_on_another_day() -> None:
    """Its name depends on when the manifest was written, not on when somebody looks."""
    rig = Rig()
    chunk = await rig.one()
    await rig.attempt()
    told = telling(rig)
    rig.clock.advance(DAY.total_seconds())

    await rig.announce(chunk)
    await rig.attempt()
    await rig.announce(chunk)
    await rig.attempt()

    (notice,) = written(rig)
    assert list(told.outbox.waiting) == [names.notice_name(notice.id, START)]


async def test_nobody_is_told_where_nobody_asked() -> None:
    """Without a topic nothing is written."""
    rig = Rig()
    await rig.one()
    await rig.attempt()

    assert written(rig) == []


async def test_incomplete_recording_is_told_and_told_again_when_it_is_whole() -> None:
    """At the deadline what is missing is said; a later manifest is another notice."""
    rig = Rig()
    telling(rig)
    first, last = some_chunks(2)
    alone = [replace(c, announced=(c.announced[c.index],)) for c in (first, last)]
    await rig.put(alone[0])
    await rig.work_off()
    await rig.put(replace(alone[1], expires_at=rig.clock.now() + DAY))
    await rig.work_off()

    told = [notice.data for notice in written(rig)]
    assert sorted(data["complete"] for data in told) == [False, True]
    incomplete = next(data for data in told if not data["complete"])
    assert incomplete["missingCount"] == 1
    assert incomplete["missing"][0]["index"] == 1
    assert len({notice.id for notice in written(rig)}) == 2


async def test_archive_that_takes_no_notice_keeps_the_chunk_waiting() -> None:
    """What is to be told is part of the end: trouble of the archive delays it all."""
    rig = Rig()
    telling(rig)
    chunk = await rig.one()
    rig.archive.fail_next(
        ArchiveUnavailableError("not now"), on="create", matching=names.NOTICES
    )

    entry = await rig.attempt()

    assert entry.state is ChunkState.ARCHIVED
    assert rig.source.deleted == []
    await rig.work_off()
    assert (await rig.queued(chunk)).state is ChunkState.DELETED
    assert len(written(rig)) == 1


async def dying(rig: Rig, *, times: int = 1) -> Chunk:
    """A recording of one chunk whose next attempts will be its last."""
    chunk = await rig.one()
    error = NoCredentialError("no key; sig=s3cret")
    rig.source.plan(chunk.content_location, *[error] * times)
    return chunk


def deaths(rig: Rig) -> list[Notice]:
    return [notice for notice in written(rig) if notice.type == DEAD_LETTERED]


async def test_dead_letter_is_told() -> None:
    """Which chunk, and why in one word: the error's text may quote anything."""
    rig = Rig()
    telling(rig)
    chunk = await dying(rig)

    entry = await rig.attempt()

    assert entry.state is ChunkState.DEAD
    (notice,) = deaths(rig)
    assert notice.data == {
        "recording": chunk.recording,
        "recordingId": "recording-1",
        "callId": "call-1",
        "archiveUrl": ARCHIVE_URL,
        "documentId": chunk.document_id,
        "index": 0,
        "reason": "no-credential",
        "attempts": 1,
        "expiresAt": chunk.expires_at.isoformat(),
    }


async def test_dead_letter_is_told_once_for_each_life() -> None:
    """A worker killed before it settled comes to the same notice; a revived chunk to another."""
    rig = Rig()
    told = telling(rig)
    chunk = await dying(rig)
    await told.chunk_dead_lettered(await rig.lease(), "no-credential")
    rig.clock.advance(DAY.total_seconds() / 2)

    await rig.work_off()
    assert (await rig.queued(chunk)).state is ChunkState.DEAD
    assert len(deaths(rig)) == 1

    await dying(rig)
    await rig.work_off()
    assert len(deaths(rig)) == 2


async def test_chunk_does_not_die_untold() -> None:
    """While the archive takes no notice, the chunk lives on; then it dies, told."""
    rig = Rig()
    telling(rig)
    chunk = await dying(rig, times=2)
    rig.archive.fail_next(
        ArchiveUnavailableError("not now"), on="create", matching="chunk-dead-lettered"
    )

    entry = await rig.attempt()

    assert entry.state is ChunkState.PENDING
    assert entry.reason == "archive-unavailable"
    await rig.work_off()
    assert (await rig.queued(chunk)).state is ChunkState.DEAD
    assert len(deaths(rig)) == 1


async def test_bug_in_a_notice_stops_no_death() -> None:
    """The firewall: it is logged, and the chunk is dead where an operator sees it."""
    rig = Rig()
    telling(rig)
    await dying(rig)
    rig.archive.fail_next(
        RuntimeError("oh"), on="create", matching="chunk-dead-lettered"
    )

    with capture_logs() as logs:
        entry = await rig.attempt()

    assert entry.state is ChunkState.DEAD
    assert "notice.failed" in [line["event"] for line in logs]


def watch_over(rig: Rig) -> RiskWatch:
    return RiskWatch(
        queue=rig.queue,
        notices=telling(rig),
        clock=rig.clock,
        within=timedelta(hours=6),
        sight=Sight(clock=rig.clock),
    )


async def several_at_risk(rig: Rig) -> None:
    """Two recordings with five hours left, one of two chunks, and one with a day."""
    soon = START + timedelta(hours=5)
    await rig.put(*some_chunks(2, document_id="two", expires_at=soon))
    for name, expires_at in (("one", soon), ("later", START + DAY)):
        announcement = an_announcement(recording_id=name)
        await rig.put(
            a_chunk(document_id=name, announcement=announcement, expires_at=expires_at)
        )


async def test_recording_at_risk_is_told_once_a_day() -> None:
    """Each recording with a chunk that has little time left, by whichever worker looks."""
    rig = Rig()
    watch = watch_over(rig)
    await several_at_risk(rig)

    for watching in (watch, watch, watch_over(rig)):
        await watching.look()
    tried = [name for operation, name in rig.archive.calls if operation == "create"]

    told = {notice.data["recordingId"]: notice for notice in written(rig)}
    assert told.keys() == {"recording-1", "one"}
    assert len(written(rig)) == 2
    assert len(tried) == 4, "the second look of one worker writes nothing"
    whole = told["recording-1"]
    assert whole.type == AT_RISK
    assert whole.data["chunkCount"] == 2
    assert [each["index"] for each in whole.data["chunks"]] == [0, 1]
    assert whole.data["expiresAt"] == (START + timedelta(hours=5)).isoformat()

    rig.clock.advance(13 * 3600)
    await watch.look()
    assert len(written(rig)) == 4


async def test_chunk_at_work_that_has_time_is_not_at_risk() -> None:
    """Whether it is leased or not, what counts is the time that is left."""
    rig = Rig()
    watch = watch_over(rig)
    await several_at_risk(rig)
    (lease,) = await rig.queue.lease(1, lane=Lane.NEWEST)

    await watch.look()

    told = {notice.data["recordingId"] for notice in written(rig)}
    assert lease.chunk.announcement.recording_id == "later"
    assert told == {"recording-1", "one"}


async def bring_home_unsettled(rig: Rig, chunk: Chunk) -> None:
    """Bring the chunk home, and die before the queue is told."""
    lease = await rig.lease()
    await rig.drive(rig.pipeline.process(lease, rig.record(lease)))
    assert rig.receipt(chunk) is not None
    assert (await rig.queued(chunk)).state is ChunkState.LEASED


async def test_chunk_in_the_archive_is_not_at_risk() -> None:
    """One with a receipt is not told of, however soon it expires; its sibling is."""
    rig = Rig()
    first, second = some_chunks(2, expires_at=START + timedelta(hours=4))
    await rig.put(first, replace(second, expires_at=START + timedelta(hours=5)))
    await bring_home_unsettled(rig, first)
    watch = watch_over(rig)

    await watch.look()
    await watch.look()

    (notice,) = written(rig)
    assert [each["index"] for each in notice.data["chunks"]] == [1]


async def test_recording_that_is_all_home_is_not_at_risk() -> None:
    """Nothing is told of it, and its receipt is looked for once."""
    rig = Rig()
    chunk = a_chunk(expires_at=START + timedelta(hours=5))
    await rig.put(chunk)
    await bring_home_unsettled(rig, chunk)
    watch = watch_over(rig)
    await watch.look()
    before = len(rig.steps.journal)

    with capture_logs() as logs:
        await watch.look()

    assert written(rig) == []
    assert set(rig.steps.journal[before:]) == {"queue"}
    assert [line["event"] for line in logs] == ["chunks.at_risk"]


async def test_number_at_risk_bounds_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is first in the list need not be what was counted."""
    rig = Rig()
    soon = START + timedelta(hours=5)
    later = an_announcement(recording_id="later")
    await rig.put(a_chunk(document_id="later", announcement=later, expires_at=soon))
    await rig.put(a_chunk(document_id="d", expires_at=soon - timedelta(hours=1)))
    counts = await rig.queue.counts(at_risk_within=timedelta(hours=6))

    async def fewer(**_: object) -> QueueCounts:
        return replace(counts, at_risk=1)

    monkeypatch.setattr(rig.queue, "counts", fewer)
    await watch_over(rig).look()

    told = {notice.data["recordingId"] for notice in written(rig)}
    assert told == {"later", "recording-1"}


async def test_risk_is_said_though_nobody_is_told() -> None:
    """Without a topic the log says it, and no notice is written."""
    rig = Rig()
    await several_at_risk(rig)
    watch = RiskWatch(
        queue=rig.queue,
        notices=None,
        clock=rig.clock,
        within=timedelta(hours=6),
        sight=Sight(clock=rig.clock),
    )

    with capture_logs() as logs:
        await watch.look()

    (line,) = logs
    assert (line["event"], line["chunks"]) == ("chunks.at_risk", 3)
    assert line["oldest_deadline"] == (START + timedelta(hours=5)).isoformat()
    assert written(rig) == []


async def test_nothing_at_risk_costs_a_look_at_the_numbers_and_at_the_first() -> None:
    """The queue isn't listed for nothing, but for how long the first has waited."""
    rig = Rig()
    watch = watch_over(rig)
    await rig.put(a_chunk())
    before = len(rig.steps.journal)

    await watch.look()

    assert rig.steps.journal[before:] == ["queue", "queue"]
    assert written(rig) == []


async def test_risk_watch_survives_trouble_and_bugs() -> None:
    """It says so and looks again."""
    rig = Rig()
    watch = watch_over(rig)
    await several_at_risk(rig)
    rig.queue.trouble = "not now"
    for error in (ArchiveUnavailableError("not now"), RuntimeError("oh")):
        rig.archive.fail_next(error, on="create", matching="at-risk")

    async def looked(times: int) -> None:
        async with asyncio.timeout(10):
            while len(rig.clock.sleeps) < times:  # noqa: ASYNC110 - turns of the loop
                await asyncio.sleep(0)

    with capture_logs() as logs:
        async with watch.running():
            await looked(1)
            rig.queue.trouble = None
            for times in (2, 3, 4):
                rig.clock.advance(at_risk.LOOK_SECONDS)
                await looked(times)

    failures = [line for line in logs if line["event"] != "chunks.at_risk"]
    assert [(line["event"], line.get("reason")) for line in failures] == [
        ("queue.unavailable", None),
        ("notice.failed", ArchiveUnavailableError.reason),
        ("notice.failed", None),
    ]
    assert len(written(rig)) == 2


def told_of(manifest: Manifest) -> Notice:
    return archived_notice(
        manifest,
        folder="recordings/2026/03/01/call-1/rec/",
        number=1,
        at=START,
        archive_url=ARCHIVE_URL,
    )


@pytest.mark.parametrize(("count", "is_trimmed"), [(1000, False), (5000, True)])
def test_notice_of_many_chunks_fits(count: int, *, is_trimmed: bool) -> None:
    """What an event can't hold is left to the manifest; its numbers are said all the same."""
    notice = told_of(a_manifest(count, missing=count))

    assert len(encode(notice)) <= MOST_NOTICE_BYTES
    assert notice.data["trimmed"] is is_trimmed
    assert len(notice.data["chunks"]) == (0 if is_trimmed else count)
    assert notice.data["chunkCount"] == notice.data["missingCount"] == count
    assert notice.data["sizeBytes"] == 1000 * count
    assert notice.data["manifestUrl"].startswith(ARCHIVE_URL)


def test_notice_bears_no_server_call_id() -> None:
    """It is a URL in disguise, with whatever its query holds."""
    text = json.dumps(told_of(a_manifest(1)).data)

    assert "aHR0" not in text
    assert "?" not in text


def test_notice_of_another_manifest_is_another_notice() -> None:
    """By folder and number; the same two give the same id."""
    ids = {
        notices._archived_id(folder, number)
        for folder in ("recordings/a/", "recordings/b/")
        for number in (1, 2)
    }

    assert len(ids) == 4
    assert notices._archived_id("recordings/a/", 1) in ids


def test_outbox_is_bounded() -> None:
    """What it can't hold is looked for in the archive."""
    outbox = Outbox()
    for number in range(MOST_WAITING + 1):
        outbox.put(str(number))

    assert len(outbox.waiting) == MOST_WAITING
    assert outbox.has_overflowed
