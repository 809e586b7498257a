"""Messages of an inbox: received as deliveries are, deleted only once they are durable."""

import asyncio
import base64
import json
from collections.abc import Callable
from random import Random

import pytest
from structlog.testing import capture_logs

from handlers import inbox as inbox_module
from handlers.inbox import HIDE_SECONDS, MOST_CRASHES, PAGE_MESSAGES, Inbox, body_of
from handlers.receiver import Received, Receiver
from tests.factories import RETENTION
from tests.fakes.clock import START, ManualClock
from tests.fakes.inbox import MemoryInbox
from tests.unit.handlers.bodies import (
    SmallQuarantine,
    SmallQueue,
    a_cloud_event,
    a_grid_event,
    an_entry,
    recording_data,
)
from worker.errors import QueueUnavailableError
from worker.model import Delivery, PutResult

PATIENCE_S = 5


def text_of(document: str) -> str:
    """The event of one chunk, as JSON."""
    return json.dumps(a_grid_event(recording_data(an_entry(document)), id=document))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def until(is_so: Callable[[], bool]) -> None:
    """Let the others run, a turn of the loop at a time, until it is so."""
    while not is_so():  # noqa: ASYNC110 - no sleep passes any time here
        await asyncio.sleep(0)


class Desk:
    """An inbox with everything behind it."""

    def __init__(self) -> None:
        self.clock = ManualClock(auto=True)
        self.messages = MemoryInbox(self.clock)
        self.queue = SmallQueue()
        self.quarantine = SmallQuarantine()
        self.stopping, self.cut = asyncio.Event(), asyncio.Event()
        self.receiver = Receiver(
            self.queue, self.quarantine, self.clock, retention=RETENTION
        )
        self.inbox = Inbox(
            self.receiver,
            self.messages,
            self.clock,
            cut=self.cut,
            random=Random(1),  # noqa: S311 - jitter
        )

    @property
    def documents(self) -> list[str]:
        """What the chunk queue was given."""
        chunks = [chunk for d in self.queue.deliveries for chunk in d.chunks]
        return sorted(chunk.document_id for chunk in chunks)

    async def run_until(self, is_so: Callable[[], bool]) -> None:
        """Run, on a clock where every sleep passes at once, until it is so."""
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(self.inbox.run(self.stopping))
            await until(is_so)
            self.stopping.set()


@pytest.fixture
def desk() -> Desk:
    """An inbox where nothing lies yet."""
    return Desk()


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ('{"a": 1}', b'{"a": 1}'),
        (' [{"é": 1}]', ' [{"é": 1}]'.encode()),
        ("\ufeff{}", "\ufeff{}".encode()),
        (encoded('{"é": 1}'), '{"é": 1}'.encode()),
        ("eyJhI\njogMX0=\n", b'{"a": 1}'),
        ("/w==", b"\xff"),
        ("neither", b"neither"),
        ("", b""),
        ("\ud800", b"\xed\xa0\x80"),
    ],
)
def test_body_is_decoded_however_it_was_sent(text: str, body: bytes) -> None:
    """Base64 and plain JSON are both understood; anything else is left as it is."""
    assert body_of(text) == body


async def test_messages_of_every_form_become_chunks(desk: Desk) -> None:
    """Both schemas, in base64 or plain, one event or several."""
    cloud = json.dumps(a_cloud_event(recording_data(an_entry("d3"))))
    both = f"[{text_of('d4')},{text_of('d5')}]"
    for text in (text_of("d1"), encoded(text_of("d2")), encoded(cloud), both):
        await desk.messages.send(text)

    assert await desk.inbox.empty(desk.stopping)

    assert desk.documents == ["d1", "d2", "d3", "d4", "d5"]
    assert {delivery.origin for delivery in desk.queue.deliveries} == {"inbox"}
    assert desk.messages.texts == []


async def test_message_is_deleted_only_when_durable(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of its deletion the chunk is in the queue."""
    await desk.messages.send(text_of("d1"))
    delete, there = desk.messages.delete, []

    async def watched(message: object) -> None:
        there.append(desk.documents)
        await delete(message)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(desk.messages, "delete", watched)

    await desk.inbox.empty(desk.stopping)

    assert there == [["d1"]]


async def test_ignored_event_is_deleted(desk: Desk) -> None:
    """What is not ours is done with."""
    await desk.messages.send(json.dumps(a_grid_event({}, eventType="Other.Event")))

    assert await desk.inbox.empty(desk.stopping)

    assert desk.messages.texts == desk.messages.poisoned == []


@pytest.mark.parametrize("text", ["{", "/w==", "", "neither", '{"id": 1}'])
async def test_bad_message_becomes_poison(desk: Desk, text: str) -> None:
    """What can't be understood is quarantined, then poison with the reason, then gone."""
    await desk.messages.send(text)
    await desk.messages.send(text_of("d1"))

    with capture_logs() as logs:
        await desk.inbox.empty(desk.stopping)

    (poison,) = map(json.loads, desk.messages.poisoned)
    assert poison["message"] == text
    assert poison["reason"]
    assert poison["at"] == START.isoformat()
    assert desk.quarantine.bodies == [body_of(text)]
    assert desk.messages.texts == []
    assert desk.documents == ["d1"]
    assert [line["event"] for line in logs].count("inbox.poisoned") == 1


async def test_poison_that_is_too_long_is_kept_as_it_is(desk: Desk) -> None:
    """Where the reason doesn't fit beside it, the message alone is kept."""
    text = "x" * 65_536
    await desk.messages.send(text)

    await desk.inbox.empty(desk.stopping)

    assert desk.messages.poisoned == [text]


async def test_message_comes_back_while_the_queue_is_down(desk: Desk) -> None:
    """What can't be stored now is hidden longer each time, and stored in the end."""
    await desk.messages.send(text_of("d1"))
    desk.queue.fails_with = QueueUnavailableError("down")
    hidden: list[float] = []

    def has_come_back_often() -> bool:
        hidden.append(desk.messages.calls.count("hide"))
        if hidden[-1] >= 12:
            desk.queue.fails_with = None
        return desk.documents == ["d1"]

    await desk.run_until(has_come_back_often)

    assert desk.messages.texts == desk.messages.poisoned == []
    assert desk.clock.monotonic() > 600


async def test_hiding_is_capped(desk: Desk) -> None:
    """However often it came back, a message is hidden for ten minutes at the most."""
    await desk.messages.send(text_of("d1"))
    desk.queue.fails_with = QueueUnavailableError("down")
    for _ in range(30):
        assert not await desk.inbox.empty(desk.stopping)
        await desk.clock.sleep(600)

    assert desk.messages.calls.count("hide") == 30


def crash_at(desk: Desk, document: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the queue meet a bug with this document."""
    put = desk.queue.put

    async def crash(delivery: Delivery) -> PutResult:
        if f'"documentId": "{document}"'.encode() in delivery.body:
            raise ZeroDivisionError
        return await put(delivery)

    monkeypatch.setattr(desk.queue, "put", crash)


async def test_message_that_meets_a_bug_stops_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug costs its message some tries, and then the message is poison."""
    await desk.messages.send(text_of("bug"))
    await desk.messages.send(text_of("d1"))
    crash_at(desk, "bug", monkeypatch)

    with capture_logs() as logs:
        await desk.run_until(lambda: bool(desk.messages.poisoned))

    crashes = [line for line in logs if line["event"] == "inbox.crashed"]
    assert len(crashes) == MOST_CRASHES
    assert json.loads(desk.messages.poisoned[0])["message"] == text_of("bug")
    assert desk.documents == ["d1"]


class SlowReceiver:
    """Answers when told, one document at a time."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.go = asyncio.Event()
        self.waiting = 0

    async def receive(
        self, body: bytes, *, origin: str, delivery_count: int | None = None
    ) -> Received:
        if b'"documentId": "slow' in body:
            self.waiting += 1
            await self.go.wait()
        return await self._receiver.receive(
            body, origin=origin, delivery_count=delivery_count
        )


@pytest.fixture
def slow(desk: Desk) -> SlowReceiver:
    """A receiver that is slow with some, behind the inbox."""
    slow = SlowReceiver(desk.receiver)
    desk.inbox = Inbox(slow, desk.messages, desk.clock, cut=desk.cut)
    return slow


async def test_slow_message_holds_up_no_other_of_its_page(
    desk: Desk, slow: SlowReceiver
) -> None:
    """The others of a page are received, and deleted, while one takes its time."""
    for document in ("slow", "d1", "d2"):
        await desk.messages.send(text_of(document))

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        task = group.create_task(desk.inbox.empty(desk.stopping))
        await until(lambda: desk.messages.texts == [text_of("slow")])
        slow.go.set()

    assert task.result()
    assert desk.documents == ["d1", "d2", "slow"]


async def test_receiving_that_takes_too_long_is_given_up(
    desk: Desk, slow: SlowReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the budget the message comes back, for its hiding would end."""
    monkeypatch.setattr(inbox_module, "BUDGET_SECONDS", 0)
    await desk.messages.send(text_of("slow"))

    assert not await desk.inbox.empty(desk.stopping)

    assert slow.waiting <= 1
    assert desk.messages.calls == ["receive", "hide"]
    assert desk.documents == []


def test_message_is_hidden_for_longer_than_its_budget() -> None:
    """Nobody renews a message's hiding, so the budget and an answer must fit into it."""
    answer_s = 40
    assert inbox_module.BUDGET_SECONDS + 2 * answer_s < HIDE_SECONDS


async def test_stop_finishes_what_was_received(desk: Desk, slow: SlowReceiver) -> None:
    """What came before the stop is stored and deleted; what came after stays."""
    await desk.messages.send(text_of("slow"))

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(desk.inbox.run(desk.stopping))
        await until(lambda: slow.waiting > 0)
        desk.stopping.set()
        await desk.messages.send(text_of("late"))
        slow.go.set()

    assert desk.documents == ["slow"]
    assert desk.messages.texts == [text_of("late")]


async def test_second_signal_cuts_it_short(desk: Desk, slow: SlowReceiver) -> None:
    """Cut short, a message is neither deleted nor poison: it comes back."""
    await desk.messages.send(text_of("slow"))

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(desk.inbox.run(desk.stopping))
        await until(lambda: slow.waiting > 0)
        desk.stopping.set()
        desk.cut.set()

    assert desk.messages.texts == [text_of("slow")]
    assert desk.messages.calls == ["receive"]


async def test_stop_waits_for_no_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that doesn't answer can't hold up the end."""
    asked = asyncio.Event()

    async def never(*_: object, **__: object) -> list[object]:
        asked.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(desk.messages, "receive", never)

    await desk.run_until(asked.is_set)


async def test_backlog_is_worked_without_a_pause(desk: Desk) -> None:
    """Under load one page follows the other at once."""
    for number in range(3 * PAGE_MESSAGES):
        await desk.messages.send(text_of(f"d{number}"))

    await desk.run_until(lambda: not desk.messages.texts)

    assert len(desk.documents) == 3 * PAGE_MESSAGES
    assert desk.clock.sleeps == []


async def test_empty_inbox_is_asked_ever_more_seldom(desk: Desk) -> None:
    """The pauses double up to ten seconds, each with some jitter, and start anew."""
    await desk.run_until(lambda: len(desk.clock.sleeps) >= 8)

    pauses = desk.clock.sleeps[:8]
    ceilings = [1, 2, 4, 8, 10, 10, 10, 10]
    assert all(
        ceiling / 2 <= pause <= ceiling
        for pause, ceiling in zip(pauses, ceilings, strict=True)
    )
    assert len(set(pauses)) == 8


@pytest.mark.parametrize("call", ["receive", "delete", "poison", "hide"])
async def test_trouble_with_the_inbox_is_said_once(desk: Desk, call: str) -> None:
    """It is logged when it begins and when it is over, and ends nothing."""
    texts = {"poison": "{", "hide": text_of("d1"), "delete": text_of("d1")}
    await desk.messages.send(texts.get(call, text_of("d1")))
    if call == "hide":
        desk.queue.fails_with = QueueUnavailableError("down")
    desk.messages.failing.add(call)

    def is_mended() -> bool:
        if desk.messages.calls.count(call) >= 3:
            desk.messages.failing.clear()
            desk.queue.fails_with = None
        return not desk.messages.texts

    with capture_logs() as logs:
        await desk.run_until(is_mended)
        await desk.inbox.empty(asyncio.Event())

    said = [line["event"] for line in logs if line["event"].startswith("inbox.")]
    assert [event for event in said if event != "inbox.poisoned"] == [
        "inbox.unavailable",
        "inbox.resumed",
    ]


async def test_empty_says_whether_it_could_read_all(desk: Desk) -> None:
    """An inbox in trouble is not called empty."""
    desk.messages.failing.add("receive")

    assert not await desk.inbox.empty(desk.stopping)


async def test_message_that_comes_back_ends_no_emptying(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are received, page by page; and then it is not called empty."""
    documents = ["bug", *(f"d{number}" for number in range(2 * PAGE_MESSAGES))]
    for document in documents:
        await desk.messages.send(text_of(document))
    crash_at(desk, "bug", monkeypatch)

    assert not await desk.inbox.empty(desk.stopping)

    assert sorted(desk.documents) == sorted(documents[1:])
    assert desk.messages.texts == [text_of("bug")]


async def test_emptying_ends_when_nothing_can_be_stored(desk: Desk) -> None:
    """A page of which nothing is done is the last: all would come back."""
    for number in range(2 * PAGE_MESSAGES):
        await desk.messages.send(text_of(f"d{number}"))
    desk.queue.fails_with = QueueUnavailableError("down")

    assert not await desk.inbox.empty(desk.stopping)

    assert desk.messages.calls.count("receive") == 1


async def test_duplicate_message_does_no_harm(desk: Desk) -> None:
    """Event Grid delivers at least once: the second message finds its chunk known."""
    await desk.messages.send(text_of("d1"))
    await desk.messages.send(text_of("d1"))

    with capture_logs() as logs:
        assert await desk.inbox.empty(desk.stopping)

    assert desk.messages.texts == []
    assert sum(line.get("duplicates", 0) for line in logs) == 1
