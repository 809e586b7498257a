"""A chunk's trace, from its announcement to its delete."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from handlers.receiver import Receiver
from samples.acs import Fault
from tests import canaries
from tests.factories import RETENTION, a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.clock import ManualClock
from tests.tracing import Seen, Traced, tracing
from tests.unit.handlers.bodies import (
    SmallQuarantine,
    SmallQueue,
    a_body,
    a_cloud_event,
    a_grid_event,
    an_entry,
    recording_data,
)
from tests.unit.worker.rig import Rig
from worker import names
from worker.errors import (
    ArchiveFullError,
    HostNotAllowedError,
    QueueUnavailableError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from worker.model import ChunkKey, PutResult
from worker.settlement import Release
from worker.telemetry import spans

SENDER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def traced() -> Iterator[Traced]:
    with tracing() as traced:
        yield traced


def named(seen: list[Seen]) -> list[str]:
    return [span.name for span in seen]


def parts_of(seen: list[Seen]) -> list[tuple[str, object]]:
    return [(span.name, span.facts.get("part")) for span in seen]


def a_receiver(queue: SmallQueue | None = None) -> Receiver:
    return Receiver(
        queue or SmallQueue(), SmallQuarantine(), ManualClock(), retention=RETENTION
    )


def body_of(*documents: str) -> bytes:
    return a_body(
        *(
            a_grid_event(recording_data(an_entry(name)), id=f"event-{name}")
            for name in documents
        )
    )


def test_ids_of_a_trace_are_pinned() -> None:
    """Processes of two versions must find each other's trace."""
    key = ChunkKey("0-eus-d1-doc1")

    assert spans.trace_id(key) == "7567d46ff59f9df36a83e2715e281d8f"
    assert spans.root_id(key) == "88175f49f3fe5721"


async def test_trace_of_an_attempt_has_every_step(traced: Traced) -> None:
    """All hang under one attempt, which hangs under the root that a receiver wrote."""
    rig = Rig()
    chunk = await rig.one()

    await rig.attempt()

    *steps, attempt = traced.of(chunk.key)
    assert parts_of(steps) == [
        ("download", "metadata"),
        ("archive", "metadata"),
        ("verify", "metadata"),
        ("download", "content"),
        ("archive", "content"),
        ("verify", "content"),
        ("verify", "content"),
        ("receipt", None),
        ("manifest", None),
        ("delete", None),
    ]
    assert {step.parent_id for step in steps} == {attempt.span_id}
    assert attempt.parent_id == spans.root_id(chunk.key)
    size = len(rig.contents[chunk.key])
    assert steps[3].facts["bytes"] == size
    assert steps[-1].facts["status"] == 200
    assert {span.error for span in traced.all()} == {None}
    assert attempt.facts == {
        "chunk": chunk.key,
        "recording": chunk.recording,
        "index": 0,
        "attempt": 1,
        "outcome": "deleted",
        "bytes": attempt.facts["bytes"],
        "retries": 0,
    }


async def test_lines_of_an_attempt_say_its_trace(traced: Traced) -> None:
    """From a line in the log one comes to the trace."""
    rig = Rig()
    chunk = await rig.one()

    with capture_logs([merge_contextvars]) as logs:
        await rig.attempt()

    assert traced.named("attempt")
    (line,) = [line for line in logs if line["event"] == "chunk.finished"]
    assert line["trace_id"] == spans.trace_id(chunk.key)


async def test_failed_step_says_why_and_no_more(traced: Traced) -> None:
    """A reason of ours; what an error says may quote a location."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, *[SourceNotFoundError("gone")] * 9)

    await rig.attempt()

    (attempt,) = traced.named("attempt")
    failed = [span for span in traced.all() if span.error is not None]
    assert {span.error for span in failed} == {SourceNotFoundError.reason}
    assert named(failed) == ["download", "attempt"]
    assert attempt.facts["outcome"] in {"dead", "rescheduled"}
    assert attempt.facts["reason"] == SourceNotFoundError.reason


async def test_bug_is_told_by_no_more_than_that(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign exception may quote anything: neither its message nor its frames are sent."""
    rig = Rig()
    await rig.one()

    async def crash(*_: object, **__: object) -> None:
        raise ValueError(canaries.ACCESS_KEY)

    monkeypatch.setattr(rig.archive, "read_back", crash)
    await rig.attempt()

    (verify,) = traced.named("verify")
    assert verify.error == "bug"
    told = [span.to_json() for span in traced.exporter.get_finished_spans()]
    assert canaries.seen("\n".join(told), canaries.ALL) == []
    assert all(not json.loads(span)["events"] for span in told)


async def test_delete_of_a_sibling_stands_in_its_own_trace(traced: Traced) -> None:
    """Whoever closes a recording deletes all its chunks: each trace ends with its delete."""
    rig = Rig()
    chunks = some_chunks(3)
    await rig.put(*chunks)

    for _ in chunks:
        await rig.attempt()

    attempts = traced.named("attempt")
    closing = attempts[-1]
    for chunk in chunks:
        (delete,) = [s for s in traced.of(chunk.key) if s.name == "delete"]
        if delete.trace_id == closing.trace_id:
            assert (delete.parent_id, delete.links) == (closing.span_id, ())
        else:
            assert delete.parent_id == spans.root_id(chunk.key)
            assert delete.links == ((closing.trace_id, closing.span_id),)
    assert len({span.trace_id for span in attempts}) == 3


async def test_delete_of_a_chunk_under_another_key_stands_in_its_trace(
    traced: Traced,
) -> None:
    """A documentId that a false announcement took: the trace is that of the announced key."""
    rig = Rig()
    false = a_chunk(metadata_location=None)
    await rig.put(false)
    await rig.attempt()
    truth = a_chunk()
    await rig.put(truth)

    await rig.attempt()

    assert rig.receipt(truth) is not None
    other = rig.archive.objects.get(names.receipt_name(names.other_key(truth)))
    assert other is not None
    assert {span.trace_id for span in traced.all()} == {spans.trace_id(truth.key)}


async def test_withheld_delete_says_why(traced: Traced) -> None:
    """The trace ends with the delete that was not made."""
    rig = Rig()
    chunk = await rig.one()
    assert chunk.delete_location is not None
    rig.source.plan(chunk.delete_location, HostNotAllowedError("no"))

    await rig.attempt()

    (delete,) = traced.named("delete")
    assert delete.error == HostNotAllowedError.reason
    assert "status" not in delete.facts


async def test_attempts_of_two_workers_are_in_one_trace(traced: Traced) -> None:
    """The second knows nothing of the first, and neither of who received the chunk."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, *[SourceUnavailableError("busy")] * 9)
    await rig.attempt()
    rig.restart()
    rig.clock.advance(3600)

    await rig.attempt()

    attempts = traced.named("attempt")
    assert [span.facts["attempt"] for span in attempts] == [1, 2]
    assert {span.trace_id for span in attempts} == {spans.trace_id(chunk.key)}


async def test_cancelled_attempt_was_cut_short(traced: Traced) -> None:
    """A drain that ended: the step says it, the attempt was released."""
    rig = Rig()
    chunk = await rig.one()
    rig.source.plan(chunk.content_location, Fault.hang())
    lease = await rig.lease()
    running = asyncio.create_task(rig.runner.run(lease))
    while not rig.asked(chunk.content_location):  # noqa: ASYNC110 - the source is a fake
        await asyncio.sleep(0)

    running.cancel()
    await asyncio.wait({running})

    (attempt,) = traced.named("attempt")
    assert attempt.facts["outcome"] == "released"
    assert attempt.error is None
    assert traced.named("download")[-1].error == spans.CUT_SHORT


async def test_attempt_that_a_pause_leaves_unspent_has_failed(traced: Traced) -> None:
    """It is given back, and says of what, as one that is spent does."""
    rig = Rig()
    await rig.one()
    rig.archive.fail_next(ArchiveFullError("512 MiB left"), on="writer", times=2)

    await rig.attempt()

    (attempt,) = traced.named("attempt")
    assert attempt.facts["outcome"] == "released"
    assert attempt.facts["reason"] == attempt.error == ArchiveFullError.reason


async def test_lost_lease_is_said(traced: Traced) -> None:
    """Another worker has the chunk: this attempt's end counts for nothing."""
    rig = Rig()
    await rig.one()
    lease = await rig.lease()
    await rig.queue.release(lease)

    await rig.drive(rig.runner.run(lease))

    (attempt,) = traced.named("attempt")
    assert attempt.error == "lease-lost"


async def test_given_back_lease_leaves_no_attempt(traced: Traced) -> None:
    """Half-open lets one probe through; what goes back was not attempted."""
    rig = Rig()
    await rig.one()

    await rig.runner.give_back(await rig.lease(), Release())

    assert traced.all() == []


async def test_consumer_says_when_it_leased(traced: Traced) -> None:
    """Written before the attempt: a worker that is killed leaves that it had the chunk."""
    rig = Rig()
    chunk = await rig.one()
    stopping = asyncio.Event()
    consumer = rig.consumer(nudge=asyncio.Event(), cut=asyncio.Event())

    await rig.drive(consumer.run(stopping, until_empty=True))

    (lease,) = traced.named("lease")
    assert traced.of(chunk.key)[0] == lease
    assert lease.parent_id == spans.root_id(chunk.key)
    assert lease.facts["attempt"] == 1


async def test_delivery_begins_the_trace_of_each_chunk(traced: Traced) -> None:
    """Its own trace holds what is of all; links lead both ways."""
    await a_receiver().receive(body_of("d1", "d2"), origin="webhook")

    (delivery,) = traced.named("delivery")
    roots = traced.named("chunk announced")
    keys = [ChunkKey("d1"), ChunkKey("d2")]
    assert [r.trace_id for r in roots] == [spans.trace_id(key) for key in keys]
    assert [r.span_id for r in roots] == [spans.root_id(key) for key in keys]
    assert [r.parent_id for r in roots] == [None, None]
    own = (delivery.trace_id, delivery.span_id)
    assert [r.links for r in roots] == [(own,), (own,)]
    assert delivery.links == tuple((r.trace_id, r.span_id) for r in roots)
    assert delivery.trace_id not in {r.trace_id for r in roots}
    assert delivery.facts["origin"] == "webhook"
    assert delivery.facts["chunks"] == 2


async def test_delivery_line_says_its_trace(traced: Traced) -> None:
    """As that of an attempt does."""
    with capture_logs() as logs:
        await a_receiver().receive(body_of("d1"), origin="webhook")

    (delivery,) = traced.named("delivery")
    assert logs[-1]["trace_id"] == delivery.trace_id


async def test_duplicate_adds_to_the_trace_that_there_is(traced: Traced) -> None:
    """Two roots of one id would be two spans that nobody can tell apart."""
    receiver = a_receiver()
    await receiver.receive(body_of("d1"), origin="webhook")

    await receiver.receive(body_of("d1", "d2"), origin="inbox")

    first, second = traced.named("delivery")
    (again,) = traced.named("chunk announced again")
    key = ChunkKey("d1")
    assert (again.trace_id, again.parent_id) == (
        spans.trace_id(key),
        spans.root_id(key),
    )
    assert again.links == ((second.trace_id, second.span_id),)
    assert len(traced.named("chunk announced")) == 2
    assert first.trace_id != second.trace_id


async def test_chunk_named_twice_in_a_delivery_has_one_root(traced: Traced) -> None:
    """Of other locations it is another entry of the queue, in the same trace."""
    other = an_entry("d1", metadataLocation=None)
    body = a_body(a_grid_event(recording_data(an_entry("d1"), other)))

    await a_receiver().receive(body, origin="webhook")

    assert len(traced.named("chunk announced")) == 1
    assert len(traced.named("chunk announced again")) == 1


async def test_what_is_not_durable_begins_no_trace(traced: Traced) -> None:
    """The chunk comes again, and its trace begins then."""
    queue = SmallQueue()
    queue.fails_with = QueueUnavailableError("locked")

    await a_receiver(queue).receive(body_of("d1"), origin="webhook")

    (delivery,) = traced.all()
    assert (delivery.name, delivery.error) == ("delivery", "unavailable")


@pytest.mark.parametrize(
    "sender",
    [
        "",
        "garbage",
        "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        SENDER + "-" + "x" * 999,
    ],
)
async def test_sender_that_names_no_trace_is_not_linked(
    traced: Traced, sender: str
) -> None:
    """A header may hold anything."""
    await a_receiver().receive(body_of(), origin="webhook", traceparent=sender)

    assert traced.named("delivery")[0].links == ()


async def test_trace_of_the_sender_is_linked(traced: Traced) -> None:
    """It is nobody's parent: a stranger picks neither our trace ids nor what is sampled."""
    await a_receiver().receive(body_of(), origin="webhook", traceparent=SENDER)

    (delivery,) = traced.named("delivery")
    assert delivery.links == ((SENDER[3:35], SENDER[36:52]),)
    assert (delivery.parent_id, delivery.trace_id != SENDER[3:35]) == (None, True)


async def test_trace_that_an_event_was_made_in_is_linked_from_its_chunk(
    traced: Traced,
) -> None:
    """CloudEvents carry it within; whoever delivers them may be in another trace."""
    event = a_cloud_event(recording_data(an_entry("d1"))) | {"traceparent": SENDER}
    receiver = a_receiver()

    for _ in range(2):
        await receiver.receive(a_body(event), origin="webhook")

    announced = [span for span in traced.of(ChunkKey("d1")) if span.links]
    assert named(announced) == ["chunk announced", "chunk announced again"]
    for span in announced:
        assert span.links[1:] == ((SENDER[3:35], SENDER[36:52]),)
        assert span.trace_id == spans.trace_id(ChunkKey("d1"))


@pytest.mark.parametrize("sender", [7, None, "garbage", {"traceparent": SENDER}])
async def test_event_that_names_no_trace_is_not_linked(
    traced: Traced, sender: object
) -> None:
    """An event may hold anything, and what it says elsewhere is no trace of its own."""
    data = recording_data(an_entry("d1")) | {"inner": {"traceparent": SENDER}}
    event = a_cloud_event(data) | {"traceparent": sender}

    await a_receiver().receive(a_body(event), origin="webhook")

    (root,) = traced.named("chunk announced")
    assert len(root.links) == 1


@pytest.mark.parametrize("parent_based", [False, True])
async def test_sampling_keeps_or_drops_a_trace_whole(*, parent_based: bool) -> None:
    """All processes sample alike, for what decides is the trace's id."""
    share = TraceIdRatioBased(0.5)
    documents = [f"d{number}" for number in range(40)]
    with tracing(ParentBased(share) if parent_based else share) as traced:
        await a_receiver().receive(body_of(*documents), origin="webhook")
        rig = Rig()
        for document in documents:
            announcement = an_announcement(recording_id=document)
            await rig.put(a_chunk(document_id=document, announcement=announcement))
        await rig.work_off(until=rig.clock.now() + timedelta(minutes=1))

    roots = {span.trace_id for span in traced.named("chunk announced")}
    attempts = {span.trace_id for span in traced.named("attempt")}
    assert roots == attempts
    assert 5 < len(roots) < 35
    for trace_id in roots:
        found = [s.name for s in traced.all() if s.trace_id == trace_id]
        assert found.count("delete") == 1


async def test_line_of_a_trace_that_is_dropped_says_none() -> None:
    """Nobody looks for what was not kept."""
    with tracing(TraceIdRatioBased(0)) as traced, capture_logs() as logs:
        await a_receiver().receive(body_of("d1"), origin="webhook")

    assert traced.all() == []
    assert "trace_id" not in logs[-1]


async def test_put_says_which_chunks_were_known() -> None:
    """What is settled is known too, though it begins anew."""
    rig = Rig()
    one, two = a_chunk(document_id="d1"), a_chunk(document_id="d2")
    first = await rig.queue.put(a_delivery(one))

    second = await rig.queue.put(a_delivery(one, two))

    assert not first.known
    assert second.known == {one.key}
    assert first == PutResult(enqueued=1, duplicates=0)
