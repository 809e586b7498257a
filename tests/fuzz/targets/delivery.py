"""A body, and all that the webhook makes of it: events, chunks, their names, a status."""

import json
import re
from collections.abc import Iterable
from http import HTTPStatus

from handlers import binary_mode, envelope, json_reader, recordings, statuses, usual
from handlers.envelope import Event
from handlers.receiver import Received, Receiver
from samples import events_dir
from tests.factories import RETENTION
from tests.fakes.clock import START, ManualClock
from tests.fuzz import mutations
from tests.fuzz.target import Target, ended, fields_of, text_of
from tests.unit.handlers.bodies import (
    DOCUMENT,
    RECORDING_TYPE,
    SmallQuarantine,
    SmallQueue,
    a_grid_event,
    an_entry,
    recording_data,
)
from worker import names, stored
from worker.archives import object_names
from worker.errors import HostNotAllowedError, MalformedEventError
from worker.model import Chunk, Delivery, PutResult
from worker.queues import columns, entries, puts
from worker.queues.columns import StoredChunk
from worker.queues.storage import parts
from worker.sources.hosts import HostRules

STATUSES = {HTTPStatus.OK, HTTPStatus.BAD_REQUEST}
"""Where queue and quarantine take everything there is no 503."""
_KEY = re.compile(r"~?[A-Za-z0-9._-]{1,128}")
_RULES = HostRules([".asm.skype.com"])
_TEXTS = 7
"""Of an event: subject, topic, documentId, three locations, recordingId."""


class PreparingQueue(SmallQueue):
    """Makes of a delivery what is stored of it, in SQLite and under `announced/`.

    Whatever was sorted as a chunk can be stored: nothing is left for a queue to refuse.
    """

    async def put(self, delivery: Delivery) -> PutResult:
        try:
            put = puts.prepare(delivery, now=delivery.received_at)
        except ValueError as error:
            raise AssertionError("sorted, but can't be stored") from error
        for chunk in put.chunks:
            _check_row(chunk, delivery.body)
        for part in parts.parts_of(delivery, now=delivery.received_at):
            parts.decode_part(part.name, part.data)
            object_names.segments(part.name.document)
        return await super().put(delivery)


def check_body(body: bytes) -> Received:
    """Receive it; a status of the table, and nothing lost or out of bounds."""
    queue, quarantine = PreparingQueue(), SmallQuarantine()
    receiver = Receiver(queue, quarantine, ManualClock(), retention=RETENTION)
    received: Received = ended(receiver.receive(body, origin="webhook"))
    answer = statuses.answer(received.kind, code=received.validation_code)
    assert answer.status in STATUSES, answer.status
    assert bool(quarantine.bodies) == bool(received.quarantined)
    if answer.status == HTTPStatus.BAD_REQUEST:
        assert quarantine.bodies == [body]
    for why in quarantine.reasons:
        why.encode()
    _check_usual(body)
    chunks = [chunk for delivery in queue.deliveries for chunk in delivery.chunks]
    assert len(chunks) == received.chunks
    for chunk in chunks:
        check_chunk(chunk)
    return received


def _check_usual(body: bytes) -> None:
    """What is read in one go is what comes of reading it with care."""
    try:
        batch = envelope.read(body)
    except MalformedEventError:
        return
    for item in batch.items:
        if not isinstance(item, str):
            continue
        found = usual.read(item, received_at=START, retention=RETENTION)
        if found is not None:
            event = batch.event(item)
            assert isinstance(event, Event)
            told = recordings.parse(event, received_at=START, retention=RETENTION)
            assert found == (event.topic, event.time, told)


def check_chunk(chunk: Chunk) -> None:
    """What an untrusted event made of it can be worked on, and stays in its place."""
    assert _KEY.fullmatch(chunk.key), chunk.key
    assert 0 <= chunk.index < 2**31
    assert START <= chunk.expires_at <= START + RETENTION
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    made = [
        names.content_name(chunk, candidate=2),
        names.metadata_name(chunk),
        names.receipt_name(chunk.key),
        names.source_deleted_name(chunk.key),
        names.receipt_name(names.other_key(chunk)),
        names.content_proof_name(chunk),
        names.manifest_name(folder, 1),
    ]
    for name in made:
        assert object_names.segments(name)[0] in {"recordings", "receipts"}, name
        assert name.isascii(), name
    _check_depth(json.loads(chunk.announcement.raw))
    assert stored.chunk_from_json(stored.chunk_to_json(chunk)) == chunk
    entries.resource_of(chunk).encode()
    for location in (chunk.content_location, chunk.delete_location or ""):
        try:
            _RULES.check(location)
        except HostNotAllowedError as error:
            str(error).encode()


def _check_depth(document: object) -> None:
    """Data that came as text may be as deep again as the event around it."""
    level: list[object] = [document]
    for _ in range(2 * json_reader.MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
    assert not level, "too deep"


def _inside(outer: object) -> Iterable[object]:
    if isinstance(outer, dict):
        return outer.values()
    return outer if isinstance(outer, list) else ()


def _check_row(row: StoredChunk, body: bytes) -> None:
    chunk = columns.chunk_within(row, body, {})
    assert len(chunk.announced) >= 1
    columns.outline(row._asdict())
    for value in row:
        str(value).encode()
        assert not isinstance(value, int) or abs(value) < 2**63


def _check_body(data: bytes) -> None:
    check_body(data)


def _check_binary(data: bytes) -> None:
    """Header lines, an empty line, and the body."""
    head, _, body = data.partition(b"\n\n")
    lines = head.decode(errors="surrogateescape").split("\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip(): value.strip() for name, _, value in pairs}
    check_body(binary_mode.as_structured(body, headers))


def _check_texts(data: bytes) -> None:
    """An event that is sound but for its texts, one a line; `{}` is the documentId."""
    texts = fields_of(text_of(data), _TEXTS)
    subject, topic, document, content, metadata, delete, recording = texts
    entry = an_entry(
        document,
        contentLocation=content.replace("{}", document),
        metadataLocation=metadata.replace("{}", document),
        deleteLocation=delete.replace("{}", document),
    )
    event = a_grid_event(
        recording_data(entry, recordingId=recording), subject=subject, topic=topic
    )
    received = check_body(json.dumps([event]).encode())
    assert received.events == 1


def _samples() -> Iterable[bytes]:
    return (path.read_bytes() for path in sorted(events_dir().rglob("*.json")))


def _binary_seeds() -> Iterable[bytes]:
    data = json.dumps(recording_data()).encode()
    head = (
        f"ce-type: {RECORDING_TYPE}\nce-id: 1\nce-source: /communicationServices/a"
        "\nce-subject: /recording/call/a%20b/recordingId/c\nce-specversion: 1.0"
        "\nContent-Type: application/json"
    )
    yield head.encode() + b"\n\n" + data


def _text_seeds() -> Iterable[bytes]:
    events = json.loads(
        (events_dir() / "four-subject-forms.event-grid.json").read_bytes()
    )
    content, metadata, delete = (
        f"https://a.asm.skype.com/v1/objects/{{}}{view}"
        for view in ("/content/video", "/content/acsmetadata", "")
    )
    for event in events:
        subject, topic = event["subject"], event["topic"]
        texts = (subject, topic, DOCUMENT, content, metadata, delete, "recording-1")
        yield "\n".join(texts).encode()


BODY = Target(name="body", check=_check_body, seeds=_samples, mutate=mutations.of_json)
BINARY = Target(
    name="binary-mode",
    check=_check_binary,
    seeds=_binary_seeds,
    mutate=mutations.of_lines,
)
SUBJECT = Target(
    name="subject", check=_check_texts, seeds=_text_seeds, mutate=mutations.of_lines
)
