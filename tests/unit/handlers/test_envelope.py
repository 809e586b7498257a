"""Any bytes become events, malformed items, or one error; nothing else."""

import base64
import codecs
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import envelope
from handlers.envelope import Event, MalformedEvent
from tests.unit.handlers.bodies import (
    JsonObject,
    a_body,
    a_cloud_event,
    a_grid_event,
    recording_data,
    without,
)
from worker.errors import MalformedEventError

SAMPLES = Path(__file__).parents[3] / "samples" / "events"
SAMPLE_BODIES = [a_body(a_grid_event())] + [
    path.read_bytes() for path in sorted(SAMPLES.rglob("*.json"))
]
TIME = datetime(2026, 3, 1, 11, 59, 0, 219932, tzinfo=UTC)


def parse_one(body: bytes) -> Event:
    """The only event of a body."""
    [event] = envelope.parse(body)
    assert isinstance(event, Event)
    return event


def test_parse_reads_event_grid_schema() -> None:
    """Every field of the Event Grid schema lands where it belongs, time in UTC."""
    sent = a_grid_event()

    event = parse_one(a_body(sent))

    assert event.schema == "eventgrid"
    assert event.id == "event-1"
    assert event.type == sent["eventType"]
    assert event.topic == sent["topic"]
    assert event.subject == sent["subject"]
    assert event.time == TIME
    assert event.data == sent["data"]
    assert event.raw == sent


@pytest.mark.parametrize("spelling", ["specversion", "specVersion", "other"])
def test_parse_reads_cloud_events(spelling: str) -> None:
    """CloudEvents are read whether or not specversion is spelled as the standard has it."""
    sent = {**without(a_cloud_event(), "specversion"), spelling: "1.0"}

    event = parse_one(json.dumps(sent).encode())

    assert event.schema == "cloudevents"
    assert event.id == "event-1"
    assert event.type == sent["type"]
    assert event.topic == sent["source"]
    assert event.subject == sent["subject"]
    assert event.time == TIME
    assert event.data == sent["data"]


def test_parse_keeps_the_order_of_a_batch() -> None:
    """Events of both schemas in one array come out in the order they came in."""
    body = a_body(a_grid_event(id="a"), a_cloud_event(id="b"), a_grid_event(id="c"))

    events = envelope.parse(body)

    assert [event.id for event in events if isinstance(event, Event)] == ["a", "b", "c"]


def test_parse_tolerates_a_byte_order_mark() -> None:
    """A UTF-8 byte order mark is not part of the JSON."""
    assert parse_one(codecs.BOM_UTF8 + a_body(a_grid_event())).id == "event-1"


@pytest.mark.parametrize(
    "encode",
    [
        lambda data: {"data": json.dumps(data)},
        lambda data: {
            "data_base64": base64.b64encode(json.dumps(data).encode()).decode()
        },
    ],
    ids=["twice", "base64"],
)
def test_parse_decodes_data(encode: Callable[[object], dict[str, str]]) -> None:
    """Data encoded twice or in base64 is an object in `data` and in `raw`."""
    sent = {**without(a_cloud_event(), "data"), **encode(recording_data())}

    event = parse_one(a_body(sent))

    assert event.data == recording_data()
    assert event.raw == {**without(sent, "data_base64"), "data": recording_data()}


@pytest.mark.parametrize(
    "data",
    [
        {"data": "{"},
        {"data": "[1]"},
        {"data": 7},
        {"data": None},
        {"data": "[" * 100 + "]" * 100},
        {"data_base64": "~"},
        {"data_base64": "é"},
        {"data_base64": base64.b64encode(b"\xff").decode()},
        {"data_base64": 7},
    ],
    ids=repr,
)
def test_parse_leaves_undecodable_data_to_who_knows_the_type(
    data: dict[str, object],
) -> None:
    """An event of some type may carry any data: it is empty then, and raw has it."""
    sent = {**without(a_cloud_event(), "data"), **data}

    event = parse_one(a_body(sent))

    assert event.data == {}
    assert event.raw == sent


def test_parse_unwraps_what_a_namespace_dead_lettered() -> None:
    """A namespace topic's dead letter holds the event inside."""
    wrapped = {
        "deadLetterProperties": {"deliveryattempts": 3},
        "event": a_cloud_event(),
    }

    assert parse_one(a_body(wrapped)).raw == a_cloud_event()


@pytest.mark.parametrize(
    "sent",
    [
        a_grid_event(
            deadLetterReason="MaxDeliveryAttemptsExceeded", deliveryAttempts=9
        ),
        a_cloud_event(deadletterreason="TimeToLiveExceeded", deliveryattempts=9),
    ],
    ids=["eventgrid", "cloudevents"],
)
def test_parse_reads_dead_letters_with_extra_properties(
    sent: dict[str, object],
) -> None:
    """What Event Grid adds to a dead letter doesn't hide the event."""
    event = parse_one(a_body(sent))

    assert event.data == recording_data()
    assert event.raw == sent


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1,",
        b"\xff\xfe",
        b"7",
        b'"text"',
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"a":' * 70 + b"1" + b"}" * 70,
        a_body(a_grid_event()) + b"x",
        a_body(a_grid_event())[:-1],
        a_body(a_grid_event())[:-2] + b",]",
        b"[" + b",".join([b"[]"] * 250_000) + b"]",
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_parse_refuses_what_cannot_be_read(body: bytes) -> None:
    """A body that is no object or array of JSON within bounds is refused as a whole."""
    with pytest.raises(MalformedEventError):
        envelope.parse(body)


def test_parse_takes_the_largest_legal_batch() -> None:
    """5000 events, as many as Event Grid puts into one delivery, are read."""
    assert len(envelope.parse(a_body(*[{"type": "x"}] * 5000))) == 5000


def test_parse_sets_aside_what_is_beyond_the_largest_batch() -> None:
    """The first 5000 are read; the others are one malformed item that has them all."""
    sent = [{"type": "x", "id": str(number)} for number in range(5002)]

    *events, beyond = envelope.parse(a_body(*sent))

    assert [event.id for event in events if isinstance(event, Event)][-1] == "4999"
    assert isinstance(beyond, MalformedEvent)
    assert json.loads(beyond.raw) == sent[5000:]
    assert beyond.why == "5002 events, over 5000"


DEEP = b'{"eventType":"x","data":' + b"[" * 2000 + b"]" * 2000 + b"}"


@pytest.mark.parametrize(
    "bad",
    [
        DEEP,
        b'{"a":' * 70 + b"{}" + b"}" * 70,
        b'{"eventType":"x" "data":[1,{"a":"]}"}]}',
        b'{"eventType": yes}',
        b'"\\x"',
    ],
    ids=["far-too-deep", "too-deep", "no-comma", "no-word", "no-escape"],
)
@pytest.mark.receiver_row(7)
def test_parse_isolates_what_cannot_be_read(bad: bytes) -> None:
    """An item beyond every depth, or no JSON, costs itself and no other, byte for byte."""
    good = a_body(a_grid_event(subject='a "quoted, ]} one" \\'))[1:-1]

    events = envelope.parse(b"[" + good + b" , " + bad + b",\n" + good + b"]")

    assert [isinstance(event, Event) for event in events] == [True, False, True]
    assert isinstance(events[1], MalformedEvent)
    assert events[1].raw == bad


def test_parse_isolates_beyond_the_largest_batch_too() -> None:
    """What can't be read stays as it is among what is beyond the bound."""
    sent = b"[" + b'{"type":"x"},' * 5001 + DEEP + b"]"

    beyond = envelope.parse(sent)[-1]

    assert isinstance(beyond, MalformedEvent)
    assert beyond.raw == b'[{"type":"x"},' + DEEP + b"]"


def test_parse_bounds_what_strings_hide() -> None:
    """Data in base64 weighs as much as any other: all of a delivery has one bound."""
    heavy = base64.b64encode(json.dumps({"a": [[]] * 50_000}).encode()).decode()
    sent = [{"type": "x", "data_base64": heavy}] * 6

    read = envelope.parse(a_body(*sent))

    has_data = [bool(event.data) for event in read if isinstance(event, Event)]
    assert has_data == [True, True, True, False, False, False]


def test_parse_takes_nesting_up_to_its_bound() -> None:
    """64 levels are read, 65 are not: inside an event nobody needs more."""
    deep = b'{"a":' * 63 + b"{}" + b"}" * 63

    assert len(envelope.parse(deep)) == 1
    with pytest.raises(MalformedEventError):
        envelope.parse(b'{"a":' + deep + b"}")


@pytest.mark.parametrize(
    "item",
    [7, None, "text", [], {}, {"type": 7}, {"type": ""}, {"eventType": "x" * 513}],
    ids=repr,
)
def test_parse_isolates_what_is_no_event(item: object) -> None:
    """One item that is no event leaves the others alone, and keeps its own JSON."""
    good, bad = envelope.parse(a_body(a_grid_event(), item))

    assert isinstance(good, Event)
    assert isinstance(bad, MalformedEvent)
    assert json.loads(bad.raw) == item
    assert bad.why


@pytest.mark.parametrize("sent", [a_grid_event(subject="é"), a_cloud_event()], ids=str)
def test_text_of_an_event_is_what_was_received(sent: JsonObject) -> None:
    """Nobody writes again, blanks and all, what was read just so: it may be a batch."""
    said = json.dumps(sent, indent=1, ensure_ascii=False)
    body = f"[\n{said} , {said}]".encode()

    events = envelope.parse(body)

    assert [event.text for event in events if isinstance(event, Event)] == [said] * 2


@pytest.mark.parametrize(
    "said",
    [
        '{"type": "x", "data": "{\\"n\\": 1}"}',
        '{"type": "x", "data_base64": "e30="}',
        '{"deadLetterProperties": {}, "event": {"type": "x"}}',
        '{"type": "x", "id": "\\ud800"}',
        '{"type": "x", "data": {"n": NaN}}',
        '{"type": "x", "data": {"n": 1e999}}',
        '{"type": "x", "data": {"n": 12345678901234567890}}',
    ],
)
def test_text_of_an_event_says_what_its_raw_says(said: str) -> None:
    """What was decoded, unwrapped, scrubbed or kept as text is written anew."""
    body = f'[{said}, {{"type": "y", "data": 1}}]'.encode()

    changed, other = envelope.parse(body)

    assert isinstance(changed, Event)
    assert json.loads(changed.text) == changed.raw
    assert changed.text.isascii()
    assert changed.text != said
    assert isinstance(other, Event)
    assert other.text == '{"type": "y", "data": 1}'


def test_repr_of_an_event_shows_none_of_its_data() -> None:
    """It ends in a log some day, and a validation's data is as good as a key."""
    event = parse_one(a_body(a_grid_event(data={"validationCode": "c0de"})))

    assert "c0de" not in repr(event) + repr(event.item)
    assert "event-1" in repr(event)


def test_parse_keeps_unwritable_numbers_as_text() -> None:
    """NaN, infinities and endless digits neither crash nor change: they become text."""
    numbers = f"[NaN, -Infinity, 1e999, -1e999, {'9' * 5000}, 1.5, 12]"
    body = b'{"type": "x", "data": {"n": %s}}' % numbers.encode()

    event = parse_one(body)

    assert event.data["n"] == [
        "NaN",
        "-Infinity",
        "1e999",
        "-1e999",
        "9" * 5000,
        1.5,
        12,
    ]


def test_parse_replaces_lone_surrogates_everywhere() -> None:
    """A lone surrogate becomes U+FFFD, in names too; a pair stays the character it is."""
    body = rb'{"type": "x", "id": "\ud800", "data": {"\uDFFF": ["\ud83d\ude00", 1]}}'

    event = parse_one(body)

    assert event.id == "\ufffd"
    assert event.data == {"\ufffd": ["\U0001f600", 1]}


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "soon",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59Z",
        "1999-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
    ],
    ids=repr,
)
def test_moment_is_none_for_what_is_no_time(value: object) -> None:
    """Anything but a time in a sane year is None, so that no arithmetic overflows."""
    assert envelope.moment(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01T11:59:00.2199328Z",
        "2026-03-01T12:59:00.219932+01:00",
        "2026-03-01T11:59:00.219932",
    ],
)
def test_moment_is_in_utc(value: str) -> None:
    """Seven digits, an offset, or no zone at all: the same moment in UTC."""
    assert envelope.moment(value) == TIME
    assert str(envelope.moment(value)).endswith("+00:00")


def total(body: bytes) -> list[Event | MalformedEvent]:
    """What parse says, with a refusal as an empty list."""
    try:
        return envelope.parse(body)
    except MalformedEventError:
        return []


@pytest.mark.parametrize("body", SAMPLE_BODIES, ids=range(len(SAMPLE_BODIES)))
def test_parse_has_an_answer_for_every_sample(body: bytes) -> None:
    """No sample, malformed and hostile ones included, is more than parse can answer."""
    for item in total(body):
        if isinstance(item, Event):
            assert envelope.compact(item.raw).isascii()


@given(st.binary())
def test_parse_has_an_answer_for_any_bytes(body: bytes) -> None:
    """Any bytes are events, malformed items, or MalformedEventError."""
    total(body)


FIELDS = [
    *("id", "type", "subject", "source", "time", "data", "data_base64"),
    *("eventType", "topic", "eventTime", "event", "deadLetterProperties"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_parse_has_an_answer_for_any_json(document: object) -> None:
    """Whatever is in an event can be written again, and its time is in UTC."""
    for item in total(json.dumps(document).encode()):
        if isinstance(item, MalformedEvent):
            json.loads(item.raw)
            continue
        envelope.compact(item.raw).encode()
        assert item.time is None or item.time.utcoffset() == timedelta(0)
