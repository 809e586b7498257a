"""Notices on their way: the official client, a topic with moods, and what is told in the end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.proofs import a_manifest
from tests.topic import HANG, KEY, Answer, StandInTopic
from worker import names, notifier
from worker.clock import SystemClock
from worker.errors import ArchiveUnavailableError
from worker.notices import MOST_NOTICE_BYTES, Notices, Outbox, archived_notice
from worker.notifier import LOOK_SECONDS, MOST_AT_ONCE, Notifier
from worker.ports import Clock
from worker.stored import Notice, encode
from worker.topics import event_grid
from worker.topics.event_grid import EventGridTopic

ARCHIVE_URL = "https://account.blob.core.windows.net/recordings"
MIB = 1024 * 1024
DAY = timedelta(days=1)


@pytest.fixture
async def topic() -> AsyncIterator[StandInTopic]:
    async with StandInTopic() as topic:
        yield topic


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def archive(clock: ManualClock) -> MemoryArchive:
    return MemoryArchive(clock=clock)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@asynccontextmanager
async def open_notifier(
    topic: StandInTopic,
    archive: MemoryArchive,
    *,
    clock: Clock,
    outbox: Outbox | None = None,
    key: str = KEY,
) -> AsyncIterator[Notifier]:
    """A notifier as of a process that has just started."""
    async with EventGridTopic.open(topic.endpoint, key=key, source=ARCHIVE_URL) as told:
        yield Notifier(
            archive=archive,
            outbox=outbox or Outbox(),
            topic=told,
            clock=clock,
            random=Random(0),  # noqa: S311 - jitter
            instance="here",
        )


def a_notice(number: int = 1, **data: Any) -> Notice:
    return Notice(
        id=f"notice-{number}-",
        type="RecordingWorker.RecordingArchived",
        subject=f"recordings/{number}",
        time=START,
        data={"number": number, **data},
    )


async def keep(
    archive: MemoryArchive, *notices: Notice, at: timedelta = timedelta()
) -> list[str]:
    """Notices of START (or so long after) as any worker wrote them; returns their names."""
    kept = [names.notice_name(notice.id, START + at) for notice in notices]
    for name, notice in zip(kept, notices, strict=True):
        await archive.create(name, encode(notice))
    return kept


def events(logs: list[EventDict]) -> list[str]:
    return [line["event"] for line in logs]


async def test_notice_is_told_as_a_cloud_event(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """The official client posts it under the key; a marker says when it was told, by whom."""
    (name,) = await keep(archive, a_notice(chunks=[{"sha256": None, "flags": []}]))

    async with open_notifier(topic, archive, clock=clock) as telling:
        assert await telling.turn() is None

    assert topic.events == [
        {
            "specversion": "1.0",
            "source": ARCHIVE_URL,
            "id": "notice-1-",
            "type": "RecordingWorker.RecordingArchived",
            "subject": "recordings/1",
            "time": "2026-03-01T12:00:00.000Z",
            "datacontenttype": "application/json",
            "data": {"number": 1, "chunks": [{"sha256": None, "flags": []}]},
        }
    ]
    marker = json.loads(archive.objects[names.notice_sent_name(name)])
    assert marker == {"v": 1, "at": START.isoformat(), "by": "here"}


async def test_what_was_told_is_not_told_by_the_next_worker(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """A worker that starts looks for what nobody marked."""
    await keep(archive, a_notice(1), a_notice(2))
    async with open_notifier(topic, archive, clock=clock) as telling:
        await telling.turn()
    (third,) = await keep(archive, a_notice(3))
    before = len(archive.calls)

    async with open_notifier(topic, archive, clock=clock) as telling:
        await telling.turn()

    looked = [call for call in archive.calls[before:] if call[0] != "list"]
    assert {name.removesuffix(".sent") for _, name in looked} == {third}
    assert topic.ids == ["notice-1-", "notice-2-", "notice-3-"]


async def test_notice_told_before_a_kill_is_told_again_under_the_same_id(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """At least once: whoever hears it twice sees that it is one."""
    await keep(archive, a_notice())
    archive.fail_next(ArchiveUnavailableError("killed"), on="create", matching=".sent")
    async with open_notifier(topic, archive, clock=clock) as killed:
        await killed.turn()

    async with open_notifier(topic, archive, clock=clock) as telling:
        assert await telling.turn() is None

    assert topic.ids == ["notice-1-"] * 2


async def test_look_back_has_an_end(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """Seven days, and tomorrow: the storage's clock may be ahead."""
    for days in (-8, -7, 1, 2):
        await keep(archive, a_notice(days), at=days * DAY)

    async with open_notifier(topic, archive, clock=clock) as telling:
        await telling.turn()

    assert topic.ids == ["notice--7-", "notice-1-"]


async def test_what_a_dead_worker_left_is_found_at_the_next_look(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """Not at once: until then only what this process wrote is told."""
    outbox = Outbox()
    async with open_notifier(topic, archive, clock=clock, outbox=outbox) as telling:
        await telling.turn()
        (mine, _) = await keep(archive, a_notice(1), a_notice(2))
        outbox.put(mine)
        await telling.turn()
        assert topic.ids == ["notice-1-"]
        assert outbox.waiting == {}

        clock.advance(LOOK_SECONDS)
        await telling.turn()

    assert topic.ids == ["notice-1-", "notice-2-"]


async def test_look_after_trouble_goes_far_back(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """What others, and the outbox, could not keep hold of meanwhile is found at once."""
    outbox = Outbox()
    async with open_notifier(topic, archive, clock=clock, outbox=outbox) as telling:
        await telling.turn()
        (mine,) = await keep(archive, a_notice(1))
        outbox.put(mine)
        topic.plan = [Answer(status=503)]
        assert await telling.turn() is not None
        await keep(archive, a_notice(2), at=-6 * DAY)
        assert await telling.turn() is None

    assert topic.ids == ["notice-1-", "notice-2-"]


async def test_notices_that_the_outbox_could_not_hold_are_found_at_once(
    topic: StandInTopic,
    archive: MemoryArchive,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A burst is told as soon as one notice is."""
    monkeypatch.setattr("worker.notices.MOST_WAITING", 1)
    outbox = Outbox()
    async with open_notifier(topic, archive, clock=clock, outbox=outbox) as telling:
        await telling.turn()
        for name in await keep(archive, a_notice(1), a_notice(2)):
            outbox.put(name)
        await telling.turn()

    assert topic.ids == ["notice-1-", "notice-2-"]
    assert not outbox.has_overflowed


TROUBLE = [
    Answer(status=401),
    Answer(status=403),
    Answer(status=404),
    Answer(status=429),
    Answer(status=500),
    Answer(status=503),
    HANG,
]


@pytest.mark.parametrize("trouble", TROUBLE, ids=str)
async def test_topic_in_trouble_is_told_later(
    topic: StandInTopic,
    archive: MemoryArchive,
    clock: ManualClock,
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Answer | type[HANG],
) -> None:
    """Said once when it begins and once when it ends; nothing is lost, nothing told twice."""
    monkeypatch.setattr(event_grid, "PUBLISH_SECONDS", 0.1)
    for name in await keep(archive, a_notice(1), a_notice(2)):
        outbox.put(name)
    topic.always = trouble

    with capture_logs() as logs:
        async with open_notifier(topic, archive, clock=clock, outbox=outbox) as telling:
            pauses = [await telling.turn() for _ in range(3)]
            topic.always = None
            monkeypatch.undo()
            clock.advance(60)
            pauses.append(await telling.turn())

    first, second, third, last = pauses
    assert first is not None
    assert second is not None
    assert third is not None
    assert first < second < third
    assert last is None
    assert topic.ids == ["notice-1-", "notice-2-"]
    assert events(logs) == ["notify.unavailable", "notify.sent", "notify.resumed"]
    assert logs[0]["reason"] == "topic-unavailable"
    assert logs[2]["after_s"] == 60


async def test_topic_is_left_alone_as_long_as_it_asks(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """Retry-After counts where it is longer than the backoff."""
    await keep(archive, a_notice())
    topic.plan = [Answer(status=429, headers={"Retry-After": "77"})]

    async with open_notifier(topic, archive, clock=clock) as telling:
        assert await telling.turn() == 77


async def test_topic_that_does_not_listen_is_in_trouble_too(
    archive: MemoryArchive, clock: ManualClock
) -> None:
    """Nobody at the address, or nobody any more."""
    async with StandInTopic() as gone:
        pass
    (name,) = await keep(archive, a_notice())

    with capture_logs() as logs:
        async with open_notifier(gone, archive, clock=clock) as telling:
            assert await telling.turn() is not None

    assert events(logs) == ["notify.unavailable"]
    assert names.notice_sent_name(name) not in archive.objects


async def test_wrong_key_is_trouble_and_is_not_shown(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """The operator reads that it was refused, and the notice waits."""
    await keep(archive, a_notice())

    with capture_logs() as logs:
        async with open_notifier(topic, archive, clock=clock, key="another") as telling:
            assert await telling.turn() is not None

    assert "401" in logs[0]["error"]
    assert "another" not in str(logs)
    assert topic.events == []


async def test_topic_that_quotes_the_key_is_told_by_its_code(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """Neither a log nor the marker beside a notice holds what a service wrote."""
    (name,) = await keep(archive, a_notice())
    said = f"no key {KEY} here"
    topic.always = Answer(
        status=413, body={"error": {"code": "TooBig", "message": said}}
    )

    with capture_logs() as logs:
        async with open_notifier(topic, archive, clock=clock) as telling:
            await telling.turn()

    (refused,) = (line for line in logs if line["event"] == "notice.refused")
    assert refused["error"] == "the topic answered 413 TooBig"
    marker = archive.objects[names.notice_refused_name(name)]
    assert KEY.encode() not in marker


async def test_key_does_not_follow_a_redirect(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """It is for the endpoint that was named, and for no other."""
    await keep(archive, a_notice())
    async with StandInTopic() as other:
        topic.plan = [Answer(status=307, headers={"Location": other.endpoint})]
        async with open_notifier(topic, archive, clock=clock) as telling:
            assert await telling.turn() is not None

        assert other.posts == []


async def test_token_is_never_sent_in_the_clear(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """Without a key an identity is shown, and that takes https."""
    await keep(archive, a_notice())
    async with EventGridTopic.open(topic.endpoint, key=None, source=ARCHIVE_URL) as to:
        telling = Notifier(
            archive=archive,
            outbox=Outbox(),
            topic=to,
            clock=clock,
            random=Random(0),  # noqa: S311 - jitter
            instance="here",
        )
        with capture_logs() as logs:
            assert await telling.turn() is not None

    assert "non-TLS" in logs[0]["error"]
    assert topic.posts == []


async def test_archive_in_trouble_delays_notices_alone(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """Whatever fails on the way, a notice is told in the end."""
    await keep(archive, a_notice())
    error = ArchiveUnavailableError("not now")
    async with open_notifier(topic, archive, clock=clock) as telling:
        for operation in ("list", "stat", "read"):
            archive.fail_next(error, on=operation)
            assert await telling.turn() is not None, operation
        assert await telling.turn() is None

    assert topic.ids == ["notice-1-"]


async def test_notice_that_can_not_be_marked_is_not_told_again(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """What is owed is its marker alone; what is new meanwhile is told all the same."""
    first = await keep(archive, a_notice(1), a_notice(2))
    error = ArchiveUnavailableError("not now")
    archive.fail_next(error, on="create", matching=".sent", times=3)
    async with open_notifier(topic, archive, clock=clock) as telling:
        assert await telling.turn() is not None
        second = await keep(archive, a_notice(3))
        for _ in range(2):
            assert await telling.turn() is not None
        assert topic.ids == ["notice-1-", "notice-2-", "notice-3-"]
        assert await telling.turn() is None

    assert topic.ids == ["notice-1-", "notice-2-", "notice-3-"]
    marked = {names.notice_sent_name(name) for name in (*first, *second)}
    assert marked <= set(archive.objects)


async def test_what_is_remembered_as_told_is_bounded(
    topic: StandInTopic,
    archive: MemoryArchive,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of more than that, some are told again: once too often is better than never."""
    monkeypatch.setattr(notifier, "MOST_REMEMBERED", 2)
    await keep(archive, *[a_notice(number) for number in range(3)])
    error = ArchiveUnavailableError("not now")
    archive.fail_next(error, on="create", matching=".sent")
    async with open_notifier(topic, archive, clock=clock) as telling:
        assert await telling.turn() is not None
        assert await telling.turn() is None

    assert topic.ids == ["notice-0-", "notice-1-", "notice-2-", "notice-0-"]
    assert sum(name.endswith(".sent") for name in archive.objects) == 3


async def test_refused_notice_holds_up_no_other(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """It is found among many, marked with the reason, said aloud, and left."""
    kept = await keep(archive, *[a_notice(number) for number in range(7)])
    topic.refuses = ("notice-3-",)

    with capture_logs() as logs:
        async with open_notifier(topic, archive, clock=clock) as telling:
            assert await telling.turn() is None
    async with open_notifier(topic, archive, clock=clock) as later:
        await later.turn()

    assert sorted(topic.ids) == [f"notice-{n}-" for n in range(7) if n != 3]
    marker = json.loads(archive.objects[names.notice_refused_name(kept[3])])
    assert "400" in marker["why"]
    refused = [line for line in logs if line["event"] == "notice.refused"]
    assert [line["name"] for line in refused] == [kept[3]]
    assert refused[0]["log_level"] == "error"


async def test_topic_that_refuses_everything_is_what_is_wrong(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """One of another schema refuses all: no notice is given up for that."""
    kept = await keep(archive, a_notice(1), a_notice(2))
    topic.always = Answer(status=400)

    with capture_logs() as logs:
        async with open_notifier(topic, archive, clock=clock) as telling:
            assert await telling.turn() is not None
            topic.always = None
            assert await telling.turn() is None

    assert topic.ids == ["notice-1-", "notice-2-"]
    assert events(logs)[0] == "notify.unavailable"
    assert not {names.notice_refused_name(name) for name in kept} & set(archive.objects)


async def test_notice_that_is_too_large_is_given_up_even_alone(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """413 is about the notice, whatever the topic took before."""
    (name,) = await keep(archive, a_notice())
    topic.always = Answer(status=413)

    async with open_notifier(topic, archive, clock=clock) as telling:
        assert await telling.turn() is None

    assert names.notice_refused_name(name) in archive.objects


async def test_notice_that_can_not_be_read_holds_up_no_other(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """A damaged one is marked; one of a newer version is left to a newer worker."""
    for number, data in ((1, b"{"), (2, b'{"v": 2}')):
        await archive.create(names.notice_name(f"notice-{number}-", START), data)
    await keep(archive, a_notice(3))

    async with open_notifier(topic, archive, clock=clock) as telling:
        assert await telling.turn() is None

    assert topic.ids == ["notice-3-"]
    marked = [name for name in archive.objects if name.endswith(".refused")]
    assert marked == [names.notice_refused_name(names.notice_name("notice-1-", START))]


async def test_bug_does_not_end_the_worker(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """It is logged with its traceback, and tried again like any trouble."""
    await keep(archive, a_notice())
    archive.fail_next(RuntimeError("oh"), on="list")

    with capture_logs() as logs:
        async with open_notifier(topic, archive, clock=clock) as telling:
            assert await telling.turn() is not None
            assert await telling.turn() is None

    assert events(logs)[:2] == ["notify.crashed", "notify.unavailable"]
    assert topic.ids == ["notice-1-"]


async def test_many_notices_go_in_batches(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """So many at once at most, and never more bytes than an event grid takes."""
    await keep(archive, *[a_notice(number) for number in range(2 * MOST_AT_ONCE + 1)])
    large = "x" * (MOST_NOTICE_BYTES // 2)
    await keep(archive, *[a_notice(900 + number, large=large) for number in range(3)])

    async with open_notifier(topic, archive, clock=clock) as telling:
        await telling.turn()

    assert max(map(len, topic.posts)) == MOST_AT_ONCE
    assert max(topic.post_bytes) < MIB
    assert len(set(topic.ids)) == len(topic.ids) == 2 * MOST_AT_ONCE + 4


@pytest.mark.parametrize("chunks", [1000, 5000])
async def test_recording_of_many_chunks_is_told(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock, chunks: int
) -> None:
    """Within the size of an event: with its chunks, or with their number."""
    notice = archived_notice(
        a_manifest(chunks), folder="f/", number=1, at=START, archive_url=ARCHIVE_URL
    )
    await keep(archive, notice)

    async with open_notifier(topic, archive, clock=clock) as telling:
        await telling.turn()

    assert topic.events[0]["data"]["chunkCount"] == chunks
    assert topic.post_bytes[0] < MIB


async def test_notice_is_told_as_soon_as_it_is_written(
    topic: StandInTopic, archive: MemoryArchive
) -> None:
    """A nudge wakes the notifier; at the end it is given time for its last words."""
    told = Notices(archive=archive, clock=SystemClock(), archive_url=ARCHIVE_URL)
    clock = SystemClock()
    async with (
        open_notifier(topic, archive, clock=clock, outbox=told.outbox) as telling,
        telling.running(asyncio.Event()),
    ):
        await told.recording_archived("recordings/a/", 1, a_manifest(1))
        await topic.wait_for(events=1)
        await told.recording_archived("recordings/b/", 1, a_manifest(1))

    assert len(topic.events) == 2
    assert len([name for name in archive.objects if name.endswith(".sent")]) == 2


def _cut(cut: asyncio.Event, _monkeypatch: pytest.MonkeyPatch) -> None:
    cut.set()


def _soon(_cut: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "LAST_WORDS_SECONDS", 0.05)


@pytest.mark.parametrize("ending", [_cut, _soon])
async def test_topic_that_hangs_delays_no_end(
    topic: StandInTopic,
    archive: MemoryArchive,
    monkeypatch: pytest.MonkeyPatch,
    ending: Callable[[asyncio.Event, pytest.MonkeyPatch], None],
) -> None:
    """A stop waits a little for it, a cut not at all; the next worker tells."""
    topic.plan = [HANG]
    await keep(archive, a_notice(), at=SystemClock().now() - START)
    cut = asyncio.Event()
    clock = SystemClock()

    async with (
        asyncio.timeout(5),
        open_notifier(topic, archive, clock=clock) as telling,
        telling.running(cut),
    ):
        await topic.wait_for(posts=1)
        ending(cut, monkeypatch)

    async with open_notifier(topic, archive, clock=clock) as later:
        await later.turn()
    assert topic.ids == ["notice-1-"]


async def test_topic_in_trouble_is_not_waited_for_at_the_end(
    topic: StandInTopic, archive: MemoryArchive, clock: ManualClock
) -> None:
    """What just failed would fail again: the clock stands still, and yet it ends."""
    await keep(archive, a_notice())
    topic.always = Answer(status=503)

    async with (
        asyncio.timeout(5),
        open_notifier(topic, archive, clock=clock) as telling,
        telling.running(asyncio.Event()),
    ):
        await topic.wait_for(posts=1)
        while not clock.sleeps:  # noqa: ASYNC110 - turns of the loop
            await asyncio.sleep(0)

    assert topic.events == []
