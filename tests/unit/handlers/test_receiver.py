"""One delivery in, one durable outcome, one log line."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from handlers.quarantine import Quarantine, QuarantineFullError
from handlers.receiver import Received, ReceivedKind, Receiver
from tests.factories import RETENTION, TOPIC
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.unit.handlers.bodies import (
    DELETED_TYPE,
    SmallQuarantine,
    SmallQueue,
    a_body,
    a_cloud_event,
    a_grid_event,
    a_validation,
    an_entry,
    recording_data,
)
from worker import names
from worker.errors import MalformedEventError, QueueUnavailableError, WorkerError
from worker.stored import StoredFormatError

BAD = a_grid_event({"recordingStorageInfo": "none"})
UNKNOWN = a_grid_event(eventType="Microsoft.Communication.CallStarted")
DELETED = a_grid_event({}, eventType=DELETED_TYPE)
OWN = "https://contoso.blob.core.windows.net/calls"
SAMPLES = Path(__file__).parents[3] / "samples" / "events"
SAMPLE_BODIES = [a_body(BAD, a_grid_event())] + [
    path.read_bytes() for path in sorted(SAMPLES.rglob("*.json"))
]


@pytest.fixture
def queue() -> SmallQueue:
    """A queue that takes everything."""
    return SmallQueue()


@pytest.fixture
def quarantine() -> SmallQuarantine:
    """A quarantine that takes everything."""
    return SmallQuarantine()


@pytest.fixture
def receiver(queue: SmallQueue, quarantine: SmallQuarantine) -> Receiver:
    """A receiver for every topic."""
    return Receiver(queue, quarantine, ManualClock(), retention=RETENTION)


def recording(number: int) -> dict[str, object]:
    """A good event of its own recording."""
    return a_grid_event(recording_data(an_entry(f"d{number}")), id=f"event-{number}")


async def test_receive_puts_the_delivery_once(
    receiver: Receiver, queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """One write holds the body as received and the chunks of all its events."""
    body = a_body(recording(1), a_cloud_event(recording_data(an_entry("d2"))), UNKNOWN)

    received = await receiver.receive(body, origin="webhook")

    [delivery] = queue.deliveries
    assert received == Received(
        kind=ReceivedKind.ACCEPTED, events=3, chunks=2, ignored=1
    )
    assert delivery.body == body
    assert delivery.received_at == START
    assert delivery.origin == "webhook"
    assert [chunk.document_id for chunk in delivery.chunks] == ["d1", "d2"]
    assert quarantine.bodies == []


async def test_receive_counts_duplicates(receiver: Receiver) -> None:
    """A delivery that comes again is accepted; the queue knows its chunks."""
    await receiver.receive(a_body(recording(1)), origin="webhook")

    again = await receiver.receive(a_body(recording(1)), origin="webhook")

    assert (again.kind, again.chunks, again.duplicates) == (ReceivedKind.ACCEPTED, 1, 1)


async def test_receive_isolates_a_bad_event(
    receiver: Receiver, queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """Bad events in a good batch are quarantined alone, the others queued."""
    body = a_body(recording(1), BAD, 7, recording(2))

    received = await receiver.receive(body, origin="webhook")

    assert received.kind is ReceivedKind.ACCEPTED
    assert (received.events, received.chunks, received.quarantined) == (4, 2, 2)
    assert len(queue.deliveries) == 1
    assert sorted(json.loads(kept) == BAD for kept in quarantine.bodies) == [
        False,
        True,
    ]
    assert b"7" in quarantine.bodies


async def test_receive_quarantines_an_event_with_a_lost_chunk(
    receiver: Receiver, queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """The good chunks of an event are queued, and the event is quarantined as well."""
    event = a_grid_event(recording_data(an_entry("d1"), {"index": 1}))

    received = await receiver.receive(a_body(event), origin="webhook")

    assert (received.chunks, received.quarantined) == (1, 1)
    assert [chunk.document_id for chunk in queue.deliveries[0].chunks] == ["d1"]
    assert [json.loads(body) for body in quarantine.bodies] == [event]
    assert quarantine.reasons == ["chunk 1: contentLocation is missing"]


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff", a_body(BAD), a_body(7), a_body(BAD, BAD)],
    ids=["json", "utf-8", "event", "item", "batch"],
)
async def test_receive_quarantines_a_body_without_any_sense_whole(
    receiver: Receiver, queue: SmallQueue, quarantine: SmallQuarantine, body: bytes
) -> None:
    """A body of which nothing can be used is kept byte for byte, and is malformed."""
    received = await receiver.receive(body, origin="webhook")

    assert received.kind is ReceivedKind.MALFORMED
    assert received.reason
    assert quarantine.bodies == [body]
    assert queue.deliveries == []


@pytest.mark.parametrize("others", [(), (UNKNOWN,), (BAD,)], ids=["", "ignored", "bad"])
@pytest.mark.parametrize("kind", [MalformedEventError, StoredFormatError])
async def test_receive_quarantines_what_the_queue_can_never_hold(
    receiver: Receiver,
    queue: SmallQueue,
    quarantine: SmallQuarantine,
    kind: type[WorkerError],
    others: tuple[object, ...],
) -> None:
    """A body that the queue refuses for good is kept and malformed, not asked for again."""
    queue.fails_with = kind("the chunk can't be stored")
    body = a_body(recording(1), *others)

    with capture_logs() as logs:
        received = await receiver.receive(body, origin="webhook")

    assert received.kind is ReceivedKind.MALFORMED
    assert received.reason == "the chunk can't be stored"
    assert (received.chunks, received.quarantined > 0) == (0, True)
    assert quarantine.bodies == [body]
    assert quarantine.reasons[0].startswith("the chunk can't be stored")
    assert [line["event"] for line in logs] == [
        "event.quarantined",
        "delivery.rejected",
    ]


async def test_receive_asks_again_while_a_refused_body_can_not_be_kept(
    receiver: Receiver, queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """What is kept nowhere is not acknowledged, whatever is wrong with it."""
    queue.fails_with = MalformedEventError("the chunk can't be stored")
    quarantine.fails_with = QuarantineFullError("full")

    received = await receiver.receive(a_body(recording(1)), origin="webhook")

    assert received.kind is ReceivedKind.UNAVAILABLE


async def test_receive_quarantines_many_bad_events_as_one_body(
    receiver: Receiver, quarantine: SmallQuarantine
) -> None:
    """A flood of bad events in one delivery is one write, not thousands."""
    body = a_body(recording(1), *[BAD] * 21)

    received = await receiver.receive(body, origin="webhook")

    assert (received.chunks, received.quarantined) == (1, 21)
    assert quarantine.bodies == [body]
    assert len(quarantine.reasons[0].splitlines()) == 20


async def test_receive_ignores_what_is_not_for_us(
    receiver: Receiver, queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """Unknown types are counted and leave no trace."""
    received = await receiver.receive(a_body(UNKNOWN, UNKNOWN), origin="webhook")

    assert received == Received(kind=ReceivedKind.IGNORED, events=2, ignored=2)
    assert queue.deliveries == []
    assert quarantine.bodies == []


async def test_receive_sets_a_foreign_topic_aside(
    queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """Topics are compared without case; a foreign topic's event is kept, with a warning."""
    receiver = Receiver(
        queue,
        quarantine,
        ManualClock(),
        retention=RETENTION,
        topics=frozenset({f"{TOPIC}CALLS".upper()}),
    )
    foreign = a_grid_event(topic=f"{TOPIC}other")

    ours = await receiver.receive(a_body(a_grid_event()), origin="webhook")
    with capture_logs() as logs:
        theirs = await receiver.receive(a_body(foreign), origin="webhook")

    assert (ours.chunks, ours.quarantined) == (1, 0)
    assert (theirs.kind, theirs.quarantined) == (ReceivedKind.ACCEPTED, 1)
    assert quarantine.bodies == [a_body(foreign)]
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("event.quarantined", "warning"),
        ("delivery.accepted", "info"),
    ]


async def test_receive_hands_back_the_validation_code(
    receiver: Receiver, queue: SmallQueue
) -> None:
    """A validation's code is the answer; it is not queued and never logged."""
    with capture_logs() as logs:
        received = await receiver.receive(
            a_body(a_validation("c0de")), origin="webhook"
        )

    assert received.kind is ReceivedKind.VALIDATION
    assert received.validation_code == "c0de"
    assert queue.deliveries == []
    assert [line["event"] for line in logs] == [
        "subscription.validated",
        "delivery.accepted",
    ]
    assert "c0de" not in str(logs)
    assert "c0de" not in repr(received)


@pytest.mark.parametrize("code", [None, 7, "", "c" * 1025, ["c"]], ids=repr)
async def test_receive_answers_only_a_bounded_code(
    receiver: Receiver, code: object
) -> None:
    """A code that is no short string is not repeated."""
    with capture_logs() as logs:
        received = await receiver.receive(a_body(a_validation(code)), origin="webhook")

    assert received == Received(kind=ReceivedKind.IGNORED, events=1, ignored=1)
    assert logs[0]["event"] == "subscription.refused"


@pytest.mark.receiver_row(4)
async def test_receive_does_not_validate_a_foreign_topic(
    queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """A subscription on a topic that is not ours gets no code; case says nothing."""
    topics = frozenset({f"{TOPIC}Calls".upper()})
    receiver = Receiver(
        queue, quarantine, ManualClock(), retention=RETENTION, topics=topics
    )

    ours = await receiver.receive(a_body(a_validation()), origin="webhook")
    theirs = await receiver.receive(
        a_body(a_validation(topic=f"{TOPIC}other")), origin="webhook"
    )

    assert ours.validation_code == "code-1"
    assert theirs.validation_code is None


async def test_receive_validates_only_what_comes_alone(receiver: Receiver) -> None:
    """A validation among other events is not Event Grid's: the others count."""
    received = await receiver.receive(
        a_body(a_validation(), recording(1)), origin="webhook"
    )

    assert received == Received(
        kind=ReceivedKind.ACCEPTED, events=2, chunks=1, ignored=1
    )


@pytest.mark.receiver_row(5)
@pytest.mark.parametrize(
    ("body", "header"),
    [
        (a_body(DELETED), ""),
        (a_body(DELETED), "SubscriptionDeletion"),
        (a_body(UNKNOWN), "Unsubscribe"),
        (b"", "Unsubscribe"),
    ],
)
async def test_receive_warns_of_a_deleted_subscription(
    receiver: Receiver, body: bytes, header: str
) -> None:
    """The end of a subscription, by type or by header, is one loud line, and fine."""
    with capture_logs() as logs:
        received = await receiver.receive(body, origin="webhook", event_header=header)

    warnings = [line for line in logs if line["event"] == "subscription.deleted"]
    assert [line["log_level"] for line in warnings] == ["warning"]
    assert received.kind in {ReceivedKind.IGNORED, ReceivedKind.ACCEPTED}


async def test_receive_queues_recordings_whatever_the_header_says(
    receiver: Receiver, queue: SmallQueue
) -> None:
    """A recording's event under the deletion header is still a recording's event."""
    await receiver.receive(
        a_body(a_grid_event()), origin="webhook", event_header="SubscriptionDeletion"
    )

    assert len(queue.deliveries) == 1


async def test_receive_is_unavailable_without_the_queue(
    receiver: Receiver, queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """A queue in trouble: the delivery must come again, and nothing is kept of it."""
    queue.fails_with = QueueUnavailableError("disk full")

    with capture_logs() as logs:
        received = await receiver.receive(a_body(recording(1), BAD), origin="webhook")

    assert (received.kind, received.reason) == (
        ReceivedKind.UNAVAILABLE,
        "queue-unavailable",
    )
    assert quarantine.bodies == []
    [line] = logs
    assert (line["event"], line["log_level"]) == ("delivery.rejected", "warning")
    assert (line["reason"], line["error"]) == ("queue-unavailable", "disk full")


async def test_receive_is_unavailable_without_quarantine_but_queues_first(
    receiver: Receiver, queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """A full quarantine holds back the answer, not the chunks that can be fetched."""
    quarantine.fails_with = QuarantineFullError("full")

    received = await receiver.receive(a_body(recording(1), BAD), origin="webhook")

    assert (received.kind, received.reason) == (
        ReceivedKind.UNAVAILABLE,
        "quarantine-full",
    )
    assert len(queue.deliveries) == 1


async def test_receive_lets_cancellation_pass(
    queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """Whoever cancels a delivery is not answered."""
    queue.fails_with = asyncio.CancelledError()
    receiver = Receiver(queue, quarantine, ManualClock(), retention=RETENTION)

    with pytest.raises(asyncio.CancelledError):
        await receiver.receive(a_body(recording(1)), origin="webhook")


@pytest.fixture
def ignoring(queue: SmallQueue, quarantine: SmallQuarantine) -> Receiver:
    """A receiver that leaves alone what lies in the user's own storage."""
    return Receiver(
        queue,
        quarantine,
        ManualClock(),
        retention=RETENTION,
        is_left_alone=lambda chunk: chunk.content_location.startswith(OWN),
    )


def exported(document_id: str, *, index: int = 0) -> dict[str, object]:
    """One element of recordingChunks, in the user's own container."""
    return an_entry(
        document_id, index=index, contentLocation=f"{OWN}/{document_id}.mp4"
    )


async def test_receive_leaves_exported_recordings_alone(
    ignoring: Receiver, queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """They are ignored, with their number in the line, and nothing is queued."""
    event = a_grid_event(recording_data(exported("d1"), exported("d2", index=1)))
    with capture_logs() as logs:
        received = await ignoring.receive(a_body(event), origin="webhook")

    assert received == Received(
        kind=ReceivedKind.IGNORED, events=1, ignored=1, exported=2
    )
    assert queue.deliveries == []
    assert quarantine.bodies == []
    [line] = [line for line in logs if line["event"] == "delivery.accepted"]
    assert line["exported"] == 2


async def test_receive_queues_what_was_not_exported(
    ignoring: Receiver, queue: SmallQueue
) -> None:
    """The chunk of a failed export is queued; it knows of its siblings elsewhere."""
    event = a_grid_event(recording_data(exported("d1"), an_entry("d2", index=1)))

    received = await ignoring.receive(a_body(event), origin="webhook")

    assert received.kind is ReceivedKind.ACCEPTED
    assert (received.chunks, received.exported, received.ignored) == (1, 1, 0)
    [chunk] = queue.deliveries[0].chunks
    assert chunk.document_id == "d2"
    assert [(each.index, each.is_left_alone) for each in chunk.announced] == [
        (0, True),
        (1, False),
    ]


async def test_receive_writes_one_line_with_all_counts(receiver: Receiver) -> None:
    """The delivery's line has every count and neither body nor location."""
    body = a_body(recording(1), BAD, UNKNOWN)
    with capture_logs() as logs:
        await receiver.receive(body, origin="replay", delivery_count=3)

    lines = [line for line in logs if line["event"].startswith("delivery.")]
    assert lines == [
        {
            "event": "delivery.accepted",
            "log_level": "info",
            "origin": "replay",
            "outcome": "accepted",
            "events": 3,
            "chunks": 1,
            "duplicates": 0,
            "ignored": 1,
            "exported": 0,
            "quarantined": 1,
            "delivery_count": 3,
            "bytes": len(body),
            "oldest_event_s": 59.8,
            "total_s": 0.0,
        }
    ]
    [kept] = [line for line in logs if line["event"] == "event.quarantined"]
    assert kept["log_level"] == "error"
    assert kept["event_id"] == "event-1"
    assert "https://" not in str(logs)


async def test_receive_bounds_what_a_delivery_puts_into_the_queue(
    receiver: Receiver, queue: SmallQueue, quarantine: SmallQuarantine
) -> None:
    """Events that would swell the queue beyond measure are set aside, the first are queued."""
    entries = [an_entry(f"d{index}", index=index) for index in range(500)]
    swelling = a_grid_event(recording_data(*entries))

    received = await receiver.receive(a_body(swelling, swelling, swelling), origin="x")

    assert (received.chunks, received.quarantined) == (1000, 1)
    assert quarantine.reasons == ["too many chunks in one delivery"]
    assert len(queue.deliveries) == 1


async def test_receive_lets_others_run_during_a_full_batch(receiver: Receiver) -> None:
    """A batch of thousands doesn't keep the loop for itself."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await receiver.receive(a_body(*[UNKNOWN] * 1000), origin="webhook")
    counting.cancel()

    assert turns >= 10


@pytest.mark.parametrize("body", SAMPLE_BODIES, ids=range(len(SAMPLE_BODIES)))
async def test_receive_has_an_outcome_for_every_sample(body: bytes) -> None:
    """Every sample has an outcome; what is malformed lies in quarantine as it came."""
    archive = MemoryArchive()
    queue = SmallQueue()
    clock = ManualClock()
    receiver = Receiver(queue, Quarantine(archive, clock), clock, retention=RETENTION)

    received = await receiver.receive(body, origin="replay")

    kept = names.quarantine_name(body, START) in archive.objects
    assert received.kind is not ReceivedKind.UNAVAILABLE
    assert kept == (received.kind is ReceivedKind.MALFORMED)
    assert bool(received.chunks) == bool(queue.deliveries)


@given(
    st.binary() | st.lists(st.sampled_from([BAD, UNKNOWN, 7])).map(lambda e: a_body(*e))
)
def test_receive_has_an_outcome_for_any_bytes(body: bytes) -> None:
    """Any bytes are ignored, accepted, or kept in quarantine; nothing raises."""
    quarantine = SmallQuarantine()
    receiver = Receiver(
        SmallQueue(), quarantine, ManualClock(), retention=timedelta(hours=24)
    )

    received = asyncio.run(receiver.receive(body, origin="webhook"))

    assert received.kind is not ReceivedKind.UNAVAILABLE
    assert bool(quarantine.bodies) == bool(received.quarantined)


@pytest.mark.receiver_row(10)
async def test_line_of_a_delivery_carries_what_is_to_be_counted(
    receiver: Receiver,
) -> None:
    """How often it was tried, how old its oldest event is, how many events, and known ones."""
    late = a_grid_event(
        recording_data(an_entry("d2")), eventTime="2026-03-01T07:00:00Z"
    )
    await receiver.receive(a_body(recording(1)), origin="webhook")

    with capture_logs() as logs:
        body = a_body(recording(1), late, UNKNOWN)
        await receiver.receive(body, origin="webhook", delivery_count=4)

    [line] = logs
    assert (line["event"], line["outcome"]) == ("delivery.accepted", "accepted")
    counted = ("delivery_count", "events", "chunks", "duplicates", "ignored")
    assert [line[name] for name in counted] == [4, 3, 2, 1, 1]
    assert line["oldest_event_s"] == 5 * 3600


@pytest.mark.receiver_row(10)
async def test_line_of_a_refused_delivery_says_its_age_too(
    quarantine: SmallQuarantine,
) -> None:
    """A queue that is down for hours shows in the age of what waits before it."""
    queue = SmallQueue()
    queue.fails_with = QueueUnavailableError("disk full")
    receiver = Receiver(queue, quarantine, ManualClock(), retention=RETENTION)

    with capture_logs() as logs:
        await receiver.receive(a_body(recording(1)), origin="webhook", delivery_count=9)

    [line] = logs
    assert (line["event"], line["reason"]) == ("delivery.rejected", "queue-unavailable")
    assert (line["delivery_count"], line["oldest_event_s"]) == (9, 59.8)


@pytest.mark.receiver_row(10)
async def test_handshakes_can_be_counted(receiver: Receiver) -> None:
    """A validation is an outcome of its own, and has no age."""
    with capture_logs() as logs:
        await receiver.receive(a_body(a_validation("c0de")), origin="webhook")

    assert logs[-1]["outcome"] == "validation"
    assert "oldest_event_s" not in logs[-1]


async def test_long_deliveries_are_sorted_one_by_one(
    receiver: Receiver, queue: SmallQueue
) -> None:
    """Of two the first is stored when the second has hardly begun; a short one can't wait."""
    first, second = (
        a_body(*(recording(number) for number in range(start, start + 500)))
        for start in (0, 500)
    )
    short = a_body(recording(1000))
    turns_behind_first = 0

    async with asyncio.TaskGroup() as group:
        for body in (first, second, short):
            group.create_task(receiver.receive(body, origin="webhook"))
        while len(queue.deliveries) < 3:
            turns_behind_first += len(queue.deliveries) == 2
            await asyncio.sleep(0)

    assert [delivery.body for delivery in queue.deliveries] == [short, first, second]
    assert turns_behind_first > 10
