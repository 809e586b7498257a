"""What is read in one go is what would be read with care, or it isn't."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import envelope, recordings, registry, usual
from handlers.envelope import Event
from handlers.registry import EventKind
from handlers.usual import Usual
from samples import events_dir
from tests.factories import RETENTION
from tests.fakes.clock import START
from tests.unit.handlers.bodies import (
    VALIDATION_TYPE,
    a_cloud_event,
    a_grid_event,
    an_entry,
    recording_data,
    without,
)


def read(text: str) -> Usual | None:
    return usual.read(text, received_at=START, retention=RETENTION)


def read_with_care(text: str) -> Usual:
    """The same by the long way; it must be an event that announces something."""
    [event] = envelope.parse(f"[{text}]".encode())
    assert isinstance(event, Event)
    assert registry.kind_of(event.type) is EventKind.RECORDING
    announced = recordings.parse(event, received_at=START, retention=RETENTION)
    return Usual(topic=event.topic, time=event.time, announced=announced)


GRID, CLOUD = a_grid_event(), a_cloud_event()
LEAST = recording_data(without(an_entry(), "metadataLocation", "deleteLocation"))
USUAL = [
    GRID,
    CLOUD,
    without(CLOUD, "specversion"),
    without(GRID, "dataVersion", "metadataVersion"),
    a_grid_event(subject="/recording/call/c/serverCallId/s/recordingId/r"),
    a_grid_event(subject="/other", data=recording_data(recordingId="r")),
    a_grid_event(subject="/other"),
    a_grid_event(eventTime="soon", data=recording_data(recordingStartTime=None)),
    a_grid_event(eventType=str(GRID["eventType"]).upper()),
    a_grid_event(data=LEAST),
    a_grid_event(data=recording_data(an_entry(documentId="d", index=7))),
    a_grid_event(data=recording_data(an_entry(endReason=None), recordingDurationMs=0)),
    a_grid_event(data=recording_data(storageType="AzureCommunicationsServices")),
]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("sent", USUAL, ids=range(len(USUAL)))
def test_what_acs_sends_is_read_in_one_go(
    sent: dict[str, object], indent: int | None
) -> None:
    """Both schemas, with all that the documentation calls optional, or without."""
    text = json.dumps(sent, indent=indent)

    found = read(text)

    assert found is not None
    assert found == read_with_care(text)
    assert found.announced.chunks[0].announcement.raw == text


@pytest.mark.parametrize(
    "name", ["one-chunk.event-grid.json", "one-chunk.cloud-event.json"]
)
def test_the_samples_are_usual(name: str) -> None:
    """The quick way is the one that is taken for what ACS really sends."""
    sample = json.loads((events_dir() / name).read_bytes())
    (event,) = sample if isinstance(sample, list) else [sample]

    assert read(json.dumps(event)) is not None


def chunk_with(**changes: Any) -> dict[str, object]:
    return a_grid_event(data=recording_data(an_entry(**changes)))


def data_with(**changes: object) -> dict[str, object]:
    return a_grid_event(data=recording_data(**changes))


UNUSUAL = [
    a_grid_event(novelty=1),
    data_with(novelty={"a": [1]}),
    chunk_with(novelty=None),
    a_grid_event(eventType=VALIDATION_TYPE),
    a_grid_event(id=None),
    a_grid_event(subject='a "quote"'),
    a_grid_event(subject="é"),
    a_grid_event(subject="\x7f"),
    a_grid_event(subject=""),
    a_grid_event(topic="x" * 4097),
    a_grid_event(data="{}"),
    a_grid_event(data=recording_data(an_entry(), an_entry(documentId="d2"))),
    a_grid_event(data={"recordingStorageInfo": {"recordingChunks": []}}),
    chunk_with(index="7"),
    chunk_with(index=True),
    chunk_with(index=1.0),
    chunk_with(index=-1),
    chunk_with(contentLocation=""),
    chunk_with(deleteLocation=7),
    data_with(storageType="azureblob"),
    data_with(recordingDurationMs=2**53 + 1),
    data_with(recordingContentType=""),
    without(a_grid_event(), "eventTime"),
    {"deadLetterProperties": {}, "event": a_cloud_event()},
    {**a_cloud_event(), "eventType": "x"},
]


@pytest.mark.parametrize("sent", UNUSUAL, ids=range(len(UNUSUAL)))
def test_anything_else_is_left_to_care(sent: dict[str, object]) -> None:
    """What is odd, unknown or absent could mean anything."""
    assert read(json.dumps(sent)) is None


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "{}", '{"eventType": 7}'])
def test_what_is_no_event_is_left_to_care(text: str) -> None:
    """It is for others to say what is wrong with it."""
    assert read(text) is None


ODD = [
    *(None, True, 0, -1, 7, 1.0, 1.5, 2**31, 2**53, 2**70, "", "7", "x", "x" * 300),
    *("x" * 5000, "é", "a\tb", "\x7f", "\ud800", [], {}, ["x"], {"x": 1}),
    *("2026-03-01T12:00:00Z", "AzureBlob", "AzureBlob ", "/recording/call/a/b/c"),
    *("https://h/v1/objects/d1/content/video", "SessionEnded", VALIDATION_TYPE),
]
ADDED = ["novelty", "eventType", "type", "data_base64", "specVersion", "recordingId"]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and name in it, or number, under which something lies."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in inside:
        yield value, name
        if isinstance(inner, (dict, list)):
            yield from places(inner)


@st.composite
def almost_usual(draw: st.DrawFn) -> str:
    """The text of a usual event with a few things changed, added or left out."""
    event: Any = copy.deepcopy(draw(st.sampled_from(USUAL)))
    for _ in range(draw(st.integers(0, 3))):
        holder, name = draw(st.sampled_from([(event, "id"), *places(event)]))
        odd = copy.deepcopy(draw(st.sampled_from(ODD)))
        change = draw(st.sampled_from(["change", "add", "leave out"]))
        if change == "change":
            holder[name] = odd
        elif change == "add" and isinstance(holder, dict):
            holder[draw(st.sampled_from(ADDED))] = odd
        elif isinstance(holder, list) or name in holder:
            del holder[name]
    return json.dumps(event, ensure_ascii=draw(st.booleans()))


@given(almost_usual())
def test_both_ways_read_the_same(text: str) -> None:
    """Whatever is read in one go at all."""
    found = read(text)

    assert found is None or found == read_with_care(text)


@given(almost_usual(), almost_usual())
def test_what_is_said_twice_counts_the_same(one: str, other: str) -> None:
    """A name that occurs twice in an object has its last value, either way."""
    text = one.rstrip()[:-1] + "," + other.lstrip()[1:]

    found = read(text)

    assert found is None or found == read_with_care(text)


def test_repr_shows_nothing() -> None:
    """It may end in a log, and the event holds what no log may."""
    shape = usual._GRID.decode(json.dumps(GRID))

    assert repr(shape) == "_GridEvent(…)"
