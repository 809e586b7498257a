"""One attempt: what its failure comes to, who hears of it, and that it harms no other."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from structlog.typing import EventDict

from samples.faults import Fault
from tests.factories import a_chunk, an_announcement
from tests.fakes.clock import START
from tests.unit.worker.rig import Rig
from worker import names, runner
from worker.attempt import NoObserver
from worker.breaker import FIRST_PAUSE
from worker.errors import (
    AlreadyExistsError,
    ArchiveFullError,
    ArchiveUnavailableError,
    NoCredentialError,
    QueueUnavailableError,
    RetryableError,
    SourceForbiddenError,
    ThrottledError,
)
from worker.model import Chunk, ChunkState
from worker.settlement import Release


def finished(logs: list[EventDict]) -> list[EventDict]:
    return [each for each in logs if each["event"] == "chunk.finished"]


async def several_recordings(rig: Rig, count: int, **named: str) -> list[Chunk]:
    """As many recordings of one chunk each."""
    chunks = [
        a_chunk(
            document_id=f"{named.get('stem', 'doc')}-{number}",
            announcement=an_announcement(
                recording_id=f"{named.get('stem', 'doc')}-{number}",
                resource=named.get("resource", "calls"),
            ),
        )
        for number in range(count)
    ]
    for chunk in chunks:
        await rig.put(chunk)
    return chunks


async def test_attempt_ends_in_one_line() -> None:
    """The canonical line says what became of the chunk, how much moved, how long it took."""
    rig = Rig()
    chunk = await rig.one()
    rig.clock.advance(5)
    rig.source.plan(chunk.content_location, Fault.slow(2))

    with capture_logs([merge_contextvars]) as logs:
        await rig.attempt()

    (line,) = finished(logs)
    size = len(rig.contents[chunk.key])
    assert line == {
        "event": "chunk.finished",
        "log_level": "info",
        "recording": chunk.recording,
        "chunk": chunk.key,
        "index": 0,
        "outcome": "deleted",
        "reason": "recording complete; source said 200",
        "attempt": 1,
        "retries": 0,
        "bytes": line["bytes"],
        "total_s": 2.0,
        "download_s": 2.0,
        "verify_s": 0.0,
        "delete_s": 0.0,
        "queued_s": 5.0,
        "until_expiry_s": 24 * 3600 - 7,
        "blob": names.content_name(chunk),
        "flags": (),
    }
    assert line["bytes"] > size
    assert [each for each in logs if each["log_level"] == "error"] == []


@pytest.mark.parametrize(
    ("fault", "outcome", "level", "reason"),
    [
        (Fault.status(503), "rescheduled", "warning", "source-unavailable: "),
        (NoCredentialError("no key"), "dead", "error", "no-credential: no key"),
        (RuntimeError("oh"), "rescheduled", "warning", "bug: RuntimeError: oh"),
    ],
    ids=str,
)
async def test_failed_attempt_ends_in_one_line_too(
    fault: Fault | Exception, outcome: str, level: str, reason: str
) -> None:
    """Whatever fails: one line, with the outcome, the reason and the level of it."""
    rig = Rig()
    chunk = await rig.one()
    always = fault.always() if isinstance(fault, Fault) else fault
    rig.source.plan(chunk.content_location, always)

    with capture_logs() as logs:
        await rig.attempt()

    (line,) = finished(logs)
    assert (line["outcome"], line["log_level"]) == (outcome, level)
    assert line["reason"].startswith(reason)
    assert line["blob"] is None
    assert rig.watching.stages[-1] == f"0 {outcome}"
    assert rig.watching.notes == [line["reason"]]


async def test_waiting_chunk_is_archived_to_whoever_watches() -> None:
    """A chunk whose bytes are safe is no trouble, though it comes back."""
    rig = Rig()
    await rig.several(2)

    with capture_logs() as logs:
        await rig.attempt()

    (line,) = finished(logs)
    assert (line["outcome"], line["log_level"]) == ("archived", "info")
    assert line["reason"] == "waiting-for-siblings: chunk 1: not archived yet"
    assert rig.watching.stages[-1] == "0 archived"


async def test_bug_is_one_traceback_and_a_reschedule() -> None:
    """An error that nobody mapped stays its chunk's own, and is told with its traceback."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, RuntimeError("poison"))

    with capture_logs() as logs:
        entry = await rig.attempt()

    (line,) = [each for each in logs if each["event"] == "attempt.crashed"]
    assert line["exc_info"]
    assert (entry.state, entry.reason) == (ChunkState.PENDING, "bug")
    assert entry.error == "RuntimeError: poison"
    assert entry.not_before > rig.clock.now()
    await rig.work_off()
    await rig.assert_home(chunk, state=ChunkState.DELETED)


async def test_poison_comes_back_ever_later_and_dies_late() -> None:
    """A bug that stays is tried at most every ten minutes, until a day after the deadline."""
    rig = Rig()
    chunk = await rig.one()
    rig.archive.fail_next(RuntimeError("poison"), on="read_range", times=10**6)

    with capture_logs() as logs:
        await rig.work_off()

    entry = await rig.queued(chunk)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "bug")
    assert rig.clock.now() >= chunk.expires_at + timedelta(hours=24)
    assert entry.attempts == len(finished(logs)) > 48 * 6


async def test_bug_in_mourning_stops_nothing() -> None:
    """A chunk that dies, and whose manifest fails with a bug, is dead all the same."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, NoCredentialError("no key"))
    rig.archive.fail_next(RuntimeError("oh"), matching="manifest")

    with capture_logs() as logs:
        entry = await rig.attempt()

    assert (entry.state, entry.reason) == (ChunkState.DEAD, "no-credential")
    (line,) = [each for each in logs if each["event"] == "manifest.failed"]
    assert line["exc_info"]


@pytest.mark.parametrize("trouble", [QueueUnavailableError("away"), RuntimeError("oh")])
async def test_siblings_that_died_together_are_told_though_nobody_can_be_woken(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """Each took the other for being at work; the queue's trouble is not the manifest's."""
    rig = Rig()
    chunks = await rig.several(2)
    for chunk in chunks:
        rig.source.plan(chunk.content_location, NoCredentialError("no key"))

    async def wake(_: object) -> None:
        raise trouble

    monkeypatch.setattr(rig.queue, "wake", wake)
    one, two = await rig.queue.lease(2)

    async def both() -> None:
        await asyncio.gather(rig.runner.run(one), rig.runner.run(two))

    await rig.drive(both())

    manifest = rig.manifests(chunks[0])[-1]
    assert len(manifest.missing) == 2
    states = {(await rig.queued(chunk)).state for chunk in chunks}
    assert states == {ChunkState.DEAD}


async def test_unreadable_manifest_does_not_keep_a_chunk_from_dying() -> None:
    """What can't be read by this version is told in a line, without a traceback."""
    rig = Rig()
    chunk = await rig.one()
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    await rig.archive.create(f"{folder}manifest.0001.json", b"{}")
    rig.source.plan(chunk.content_location, NoCredentialError("no key"))

    with capture_logs() as logs:
        entry = await rig.attempt()

    assert entry.state is ChunkState.DEAD
    (line,) = [each for each in logs if each["event"] == "manifest.failed"]
    assert line["reason"] == "stored-format"
    assert "exc_info" not in line


async def test_chunk_does_not_die_while_its_death_can_not_be_told() -> None:
    """Without an archive for the manifest the chunk is tried again, and dies later."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(
        chunk.content_location, NoCredentialError("no key"), NoCredentialError("no key")
    )
    rig.archive.fail_next(
        ArchiveUnavailableError("away"), on="create", matching="manifest"
    )

    entry = await rig.attempt()
    assert (entry.state, entry.reason) == (ChunkState.PENDING, "archive-unavailable")
    await rig.work_off()

    entry = await rig.queued(chunk)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "no-credential")
    assert len(rig.manifests(chunk)) == 1


async def test_retry_after_is_honoured() -> None:
    """A source that asks for minutes gets them."""
    rig = Rig()
    chunk = await rig.one()
    asked = ThrottledError("busy", retry_after=120)
    rig.source.plan(chunk.content_location, asked)

    entry = await rig.attempt()

    assert entry.not_before == rig.clock.now() + timedelta(seconds=120)


async def test_newer_format_is_left_to_a_newer_worker() -> None:
    """A receipt of a later version: given back unspent, behind a delay, never dead."""
    rig = Rig()
    chunk = await rig.one()
    await rig.archive.create(names.receipt_name(chunk.key), b'{"v": 2}')

    entry = await rig.attempt()

    assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)
    assert entry.not_before == rig.clock.now() + timedelta(seconds=60)
    assert rig.watching.notes == [""]


async def test_crawling_attempt_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt has an end of its own, however slowly the source may crawl."""
    monkeypatch.setattr(runner, "ATTEMPT_LONGEST_SECONDS", 0)
    rig = Rig()
    chunk = await rig.one()

    entry = await rig.attempt()

    assert (entry.state, entry.reason) == (ChunkState.PENDING, "source-unavailable")
    assert entry.error == "the attempt took too long"
    assert rig.receipt(chunk) is None
    assert rig.memory.in_use == 0


async def test_expired_key_pauses_its_chunks_and_resumes_by_itself() -> None:
    """Three distinct chunks refused alike: the third and all later spend no attempt."""
    rig = Rig()
    chunks = await several_recordings(rig, 4)
    for chunk in chunks:
        rig.source.plan(chunk.content_location, Fault.status(403).always())
        rig.source.plan(chunk.metadata_location or "", Fault.status(403).always())

    with capture_logs() as logs:
        for lease in await rig.queue.lease(4):
            await rig.drive(rig.runner.run(lease))

    entries = [await rig.queued(chunk) for chunk in chunks]
    assert [entry.attempts for entry in entries] == [1, 1, 0, 0]
    assert {entry.reason for entry in entries} == {"source-forbidden"}
    assert rig.breaker.paused_resources() == {"calls"}
    again = rig.breaker.comes_back(SourceForbiddenError(), resource="calls")
    assert entries[3].not_before == again
    (line,) = [each for each in logs if each["event"] == "consumer.paused"]
    assert (line["scope"], line["reason"]) == ("credential:calls", "source-forbidden")
    ends = [(each["outcome"], each["reason"]) for each in finished(logs)]
    said = "source-forbidden: " + (entries[3].error or "")
    assert ends == [("rescheduled", said)] * 2 + [("released", said)] * 2

    for chunk in chunks:
        rig.source.plan(chunk.content_location)
        rig.source.plan(chunk.metadata_location or "")
    with capture_logs() as logs:
        await rig.work_off()

    (line,) = [each for each in logs if each["event"] == "consumer.resumed"]
    assert line["scope"] == "credential:calls"
    assert line["after_s"] > 0
    assert rig.breaker.paused_resources() == frozenset()
    for chunk in chunks:
        await rig.assert_home_alone(chunk)


async def test_full_archive_pauses_everything_at_once() -> None:
    """One chunk that finds no room speaks for all; it is released, not spent."""
    rig = Rig()
    chunk = await rig.one()
    rig.archive.fail_next(ArchiveFullError("512 MiB left"), on="writer", times=2)

    entry = await rig.attempt()

    assert rig.breaker.is_archive_paused()
    assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)
    assert entry.not_before == rig.clock.now() + 2 * FIRST_PAUSE
    # For who asks the queue: the pause itself is in this process alone.
    assert (entry.reason, entry.error) == ("archive-full", "512 MiB left")
    await rig.work_off()
    assert not rig.breaker.is_archive_paused()
    await rig.assert_home(chunk, state=ChunkState.DELETED)


@pytest.mark.parametrize(
    "error",
    [
        NoCredentialError("no key"),
        ThrottledError("busy"),
        RuntimeError("oh"),
        AlreadyExistsError("odd"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_probe_that_fails_otherwise_lets_the_next_probe_go(
    error: Exception,
) -> None:
    """Half-open: a probe without a verdict must not hold the others for good."""
    rig = Rig()
    chunk, other = await several_recordings(rig, 2)
    for key in "abc":
        rig.breaker.failed(
            SourceForbiddenError(), key=names.chunk_key("", key), resource="calls"
        )
    rig.clock.advance(31)
    assert rig.breaker.admit(resource="calls") is None
    assert rig.breaker.admit(resource="calls") is not None
    rig.source.plan(chunk.content_location, *[error] * 9)

    with capture_logs():
        await rig.attempt()

    assert rig.breaker.admit(resource="calls") is None
    assert (await rig.queued(other)).state is ChunkState.PENDING


async def test_cancelled_probe_lets_the_next_probe_go() -> None:
    """A drain in the middle of a probe is no verdict either."""
    rig = Rig()
    await rig.one()
    rig.breaker.failed(ArchiveFullError(), key=names.chunk_key("", "a"), resource=None)
    rig.clock.advance(31)
    assert rig.breaker.admit(resource="calls") is None
    task = asyncio.ensure_future(rig.runner.run(await rig.lease()))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.wait({task}, timeout=10)

    assert rig.breaker.admit(resource="calls") is None


async def test_waiting_chunk_is_no_proof_of_the_key() -> None:
    """A success without a transfer says nothing about the credential."""
    rig = Rig()
    chunks = await rig.several(2)
    await rig.attempt()
    for key in "ab":
        rig.breaker.failed(
            SourceForbiddenError(), key=names.chunk_key("", key), resource="calls"
        )
    await rig.queue.wake(chunks[0].recording)

    await rig.attempt()
    rig.breaker.failed(
        SourceForbiddenError(), key=names.chunk_key("", "c"), resource="calls"
    )

    assert rig.breaker.paused_resources() == {"calls"}


async def test_cancelled_attempt_gives_the_lease_back_and_says_so() -> None:
    """A drain releases: the attempt is not spent, and it has its one line."""
    rig = Rig()
    chunk = await rig.one()
    lease = await rig.lease()
    rig.source.plan(chunk.content_location, Fault.slow(1000))
    task = asyncio.ensure_future(rig.runner.run(lease))
    for _ in range(50):
        await asyncio.sleep(0)

    with capture_logs([merge_contextvars]) as logs:
        task.cancel()
        await asyncio.wait({task}, timeout=10)

    assert task.cancelled()
    entry = await rig.queued(chunk)
    assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)
    assert entry.not_before == rig.clock.now()
    (line,) = finished(logs)
    assert (line["outcome"], line["log_level"]) == ("released", "info")
    assert line["chunk"] == chunk.key


class SlowlySettled:
    """Wraps a queue whose settling takes until it is let go."""

    def __init__(self, rig: Rig) -> None:
        self._complete = rig.queue.complete
        self.settling = asyncio.Event()
        self.go = asyncio.Event()

    async def complete(self, *args: object, **kwargs: object) -> None:
        self.settling.set()
        await self.go.wait()
        await self._complete(*args, **kwargs)  # type: ignore[arg-type]


async def test_settling_is_not_cut_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled while it settles, an attempt settles, says so, and only then ends."""
    rig = Rig()
    chunk = await rig.one()
    slow = SlowlySettled(rig)
    monkeypatch.setattr(rig.queue, "complete", slow.complete)
    lease = await rig.lease()

    with capture_logs() as logs:
        task = asyncio.ensure_future(rig.runner.run(lease))
        await asyncio.wait_for(slow.settling.wait(), timeout=10)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        slow.go.set()
        await asyncio.wait({task}, timeout=10)

    assert task.cancelled()
    assert (await rig.queued(chunk)).state is ChunkState.DELETED
    assert [line["outcome"] for line in finished(logs)] == ["deleted"]


async def test_lost_lease_settles_nothing() -> None:
    """A worker that was overtaken leaves the chunk to the other, and says so."""
    rig = Rig()
    chunk = await rig.one()
    lost = await rig.lease()
    rig.clock.advance(61)
    await rig.lease()

    with capture_logs() as logs:
        await rig.drive(rig.runner.run(lost))

    assert "lease.lost" in {each["event"] for each in logs}
    (line,) = finished(logs)
    assert (line["outcome"], line["log_level"]) == ("lost", "warning")
    assert (await rig.queued(chunk)).state is ChunkState.LEASED


async def test_lease_lost_on_the_way_cuts_the_attempt() -> None:
    """The heartbeat finds the lease gone: the attempt stops where it is."""
    rig = Rig()
    chunk = await rig.one()
    lost = await rig.lease()
    rig.source.plan(chunk.content_location, Fault.slow(50))
    rig.clock.advance(61)
    await rig.lease()

    with capture_logs() as logs:
        await rig.drive(rig.runner.run(lost))

    assert rig.clock.now() == START + timedelta(seconds=61 + 20)
    assert rig.receipt(chunk) is None
    assert [line["outcome"] for line in finished(logs)] == ["lost"]
    assert rig.memory.in_use == 0


async def test_long_attempt_keeps_its_lease() -> None:
    """The heartbeat extends: an hour of transfer is one attempt of one worker."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, Fault.slow(3600))

    entry = await rig.attempt()

    assert entry.state is ChunkState.DELETED
    assert entry.attempts == 1


async def test_queue_that_is_away_leaves_the_lease_to_lapse() -> None:
    """What can't be settled now is done again later, and costs no second download."""
    rig = Rig()
    chunk = await rig.one()
    lease = await rig.lease()
    rig.queue.trouble = "disk I/O error"

    with capture_logs() as logs:
        await rig.drive(rig.runner.run(lease))

    (line,) = [each for each in logs if each["event"] == "queue.unavailable"]
    assert (line["error"], line["log_level"]) == ("disk I/O error", "error")
    assert [each["outcome"] for each in finished(logs)] == ["lost"]
    rig.queue.trouble = None
    await rig.work_off()
    await rig.assert_home(chunk, state=ChunkState.DELETED)


async def test_siblings_of_a_dead_chunk_are_woken() -> None:
    """Who waits for a chunk that died waits no longer."""
    rig = Rig()
    home, lost = await rig.several(2)
    rig.source.plan(lost.content_location, NoCredentialError("no key"))
    await rig.attempt()
    assert (await rig.queued(home)).not_before > START + timedelta(hours=1)

    await rig.attempt()

    assert (await rig.queued(home)).not_before == rig.clock.now()


async def test_queue_away_when_siblings_are_woken_harms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waking is a hint: without it the siblings look again by themselves."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, NoCredentialError("no key"))
    dead_letter = rig.queue.dead_letter

    async def then_away(*args: object, **kwargs: object) -> None:
        await dead_letter(*args, **kwargs)  # type: ignore[arg-type]
        rig.queue.trouble = "disk I/O error"

    monkeypatch.setattr(rig.queue, "dead_letter", then_away)
    lease = await rig.lease()

    with capture_logs() as logs:
        await rig.drive(rig.runner.run(lease))

    rig.queue.trouble = None
    assert [each["outcome"] for each in finished(logs)] == ["dead"]
    assert (await rig.queued(chunk)).state is ChunkState.DEAD


async def test_chunk_can_be_given_back() -> None:
    """Leased, but not to be worked on now: back, unspent, until then."""
    rig = Rig()
    chunk = await rig.one()
    later = START + timedelta(seconds=30)

    await rig.runner.give_back(await rig.lease(), Release(not_before=later))

    entry = await rig.queued(chunk)
    assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)
    assert entry.not_before == later


async def test_other_errors_count_against_no_one() -> None:
    """Trouble of one chunk's own pauses nothing, however often it comes."""
    rig = Rig()
    chunks = await several_recordings(rig, 5)
    for chunk in chunks:
        rig.source.plan(chunk.content_location, *[RetryableError("odd")] * 9)

    for lease in await rig.queue.lease(5):
        await rig.drive(rig.runner.run(lease))

    assert rig.breaker.paused_resources() == frozenset()
    assert not rig.breaker.is_archive_paused()


async def test_nobody_has_to_watch() -> None:
    """Without a progress view the same happens."""
    rig = Rig()
    chunk = await rig.one()
    pipeline = replace(rig.pipeline, observer=NoObserver())
    rig.runner = replace(rig.runner, observer=NoObserver(), pipeline=pipeline)

    await rig.work_off()

    await rig.assert_home(chunk, state=ChunkState.DELETED)
