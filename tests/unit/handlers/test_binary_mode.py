"""A CloudEvent in binary mode is the event that its headers and its body are together."""

import json

import pytest

from handlers import binary_mode, envelope
from handlers.envelope import Event
from tests.factories import TOPIC
from tests.unit.handlers.bodies import (
    RECORDING_TYPE,
    a_body,
    a_cloud_event,
    recording_data,
)

DATA = json.dumps(recording_data()).encode()
HEADERS = {
    "Content-Type": "application/json",
    "ce-id": "event-1",
    "CE-Source": f"{TOPIC}calls",
    "ce-type": RECORDING_TYPE,
    "ce-specversion": "1.0",
    "ce-subject": "/recording/call/call%201/recordingId/recording-%C3%A9",
}


def read(body: bytes, headers: dict[str, str]) -> Event:
    """The only event of what was received."""
    [event] = envelope.parse(binary_mode.as_structured(body, headers))
    assert isinstance(event, Event)
    return event


def test_event_is_put_together_from_headers_and_body() -> None:
    """Attributes in whatever case, percent-encoded as the standard has it; data as sent."""
    event = read(DATA, HEADERS)

    assert event.schema == "cloudevents"
    assert event.id == "event-1"
    assert event.type == RECORDING_TYPE
    assert event.topic == f"{TOPIC}calls"
    assert event.subject == "/recording/call/call 1/recordingId/recording-é"
    assert event.data == recording_data()


@pytest.mark.parametrize("kind", ["", "-batch"])
def test_event_in_the_body_counts_whatever_the_headers_say(kind: str) -> None:
    """The content type of structured mode outranks headers, as the standard has it."""
    headers = HEADERS | {"Content-Type": f"Application/CloudEvents{kind}+json"}

    assert binary_mode.as_structured(DATA, headers) == DATA


@pytest.mark.parametrize("name", ["aeg-event-type", "ce-id", "xce-type"])
def test_body_without_a_type_in_the_headers_is_left_alone(name: str) -> None:
    """What Event Grid sends is what is received, to the byte."""
    body = a_body(a_cloud_event())

    assert binary_mode.as_structured(body, {name: "Notification"}) == body


@pytest.mark.parametrize("name", ["ce-data", "ce-data_base64", "CE-DATA"])
def test_header_does_not_stand_in_for_the_body(name: str) -> None:
    """No attribute is called so; the data is what was sent as the body."""
    assert read(DATA, HEADERS | {name: "{}"}).data == recording_data()


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{"])
def test_body_that_is_no_object_leaves_an_event_without_data(body: bytes) -> None:
    """Whoever knows the type decides what that means."""
    event = read(body, HEADERS)

    assert (event.type, event.data) == (RECORDING_TYPE, {})


def test_headers_that_are_no_text_do_not_crash() -> None:
    """Bytes that are no UTF-8 reach us as lone surrogates, and become U+FFFD."""
    event = read(DATA, HEADERS | {"ce-subject": "/a\udcff%ff%"})

    assert event.subject == "/a\ufffd\ufffd%"
