"""Subscriptions, verdicts, batches, bodies and headers are what the documentation says."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from samples import events_dir
from samples.grid.batches import batches_of
from samples.grid.messages import (
    SchemaMismatchError,
    encoded,
    events_in,
    headers_of,
    in_schema,
    schema_of,
    size_of,
)
from samples.grid.subscription import SubscriptionError
from samples.grid.verdicts import (
    BUSY,
    RESOLUTION_ERROR,
    SOCKET_ERROR,
    STATUSES,
    TIMED_OUT,
    Fate,
    Outcome,
    verdict_of,
)
from tests.grid import a_cloud_event, a_subscription, an_event


def test_defaults_are_those_of_event_grid() -> None:
    """24 hours, 30 attempts, one event at a time, 64 KiB."""
    subscription = a_subscription()

    assert subscription.time_to_live == timedelta(hours=24)
    assert subscription.max_attempts == 30
    assert subscription.max_events_per_batch == 1
    assert subscription.preferred_batch_kib == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"max_attempts": 0},
        {"max_attempts": 31},
        {"time_to_live": timedelta(seconds=59)},
        {"time_to_live": timedelta(minutes=1441)},
        {"max_events_per_batch": 0},
        {"max_events_per_batch": 5001},
        {"preferred_batch_kib": 0},
        {"preferred_batch_kib": 1025},
        {"headers": {f"x-{n}": "" for n in range(11)}},
        {"headers": {"AEG-mine": "1"}},
        {"headers": {"x-functions-key": "é" * 2049}},
    ],
    ids=str,
)
def test_subscription_beyond_event_grids_limits_is_refused(
    changes: Mapping[str, object],
) -> None:
    """30 attempts, 1440 minutes, 5000 events, 1024 KiB, 10 headers of 4096 bytes."""
    with pytest.raises(SubscriptionError):
        a_subscription(**changes)


def test_subscription_prints_no_secret() -> None:
    """URL, token and delivery properties stay out of what is printed."""
    subscription = a_subscription(token="token", headers={"x-functions-key": "key"})

    printed = repr(subscription)

    assert "secret" not in printed
    assert "token" not in printed
    assert "key" not in printed


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204])
def test_only_200_to_204_are_success(status: int) -> None:
    """These five statuses are a delivery."""
    assert verdict_of(status).fate is Fate.DELIVERED


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_final_statuses_are_never_sent_again(status: int) -> None:
    """What these answer is dead-lettered or dropped at once."""
    assert verdict_of(status).fate is Fate.FINAL
    assert "never send" in verdict_of(status).words


@pytest.mark.parametrize(
    ("status", "seconds"),
    [(408, 120), (503, 30)]
    + [(n, 10) for n in (100, 206, 302, 405, 410, 415, 429, 500, 502, 504)],
)
def test_everything_else_is_sent_again_after_its_least_time(
    status: int, seconds: int
) -> None:
    """2 min for 408, 30 s for 503, 10 s for all others, redirects and 410 among them."""
    verdict = verdict_of(status)

    assert verdict.fate is Fate.RETRIED
    assert verdict.wait.total_seconds() == seconds


@pytest.mark.parametrize(
    ("verdict", "outcome", "seconds"),
    [
        (BUSY, "Busy", 10),
        (TIMED_OUT, "TimedOut", 10),
        (SOCKET_ERROR, "SocketError", 30),
        (RESOLUTION_ERROR, "ResolutionError", 300),
        (STATUSES[401], "Unauthorized", 300),
        (STATUSES[403], "Forbidden", 300),
        (STATUSES[404], "NotFound", 300),
        (STATUSES[400], "BadRequest", 0),
        (STATUSES[413], "PayloadTooLarge", 0),
    ],
    ids=str,
)
def test_probation_is_as_long_as_documented(
    verdict: Any, outcome: str, seconds: int
) -> None:
    """Each outcome has its documented name and time of probation."""
    assert verdict.outcome == outcome
    assert verdict.probation.total_seconds() == seconds


def test_outcome_says_what_event_grid_would_do() -> None:
    """A line for people: what was seen, and what comes of it."""
    busy, late = verdict_of(503), verdict_of(408)

    assert Outcome(status=503, seen="answered 503", verdict=busy).words == (
        "answered 503: Event Grid would send the events again, in 30 s at the earliest"
    )
    assert late.words.endswith("in 2 min at the earliest")
    assert verdict_of(200).words == "Event Grid would count the events as delivered"


def test_batch_never_has_more_events_than_asked_for() -> None:
    """The number is a ceiling."""
    subscription = a_subscription(max_events_per_batch=3)

    batches = list(batches_of(map(an_event, range(7)), subscription))

    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert [event for batch in batches for event in batch] == [
        an_event(n) for n in range(7)
    ]


def test_batch_is_exceeded_in_size_by_a_lone_event_only() -> None:
    """An event over the preferred size goes in a batch of its own."""
    subscription = a_subscription(max_events_per_batch=5000, preferred_batch_kib=4)
    small, large = an_event(bytes_of_data=1500), an_event(bytes_of_data=10_000)

    batches = list(batches_of([small, small, small, large, small], subscription))

    assert batches == [[small, small], [small], [large], [small]]


def test_batch_may_be_just_as_large_as_preferred() -> None:
    """Each has all the room that the one before had."""
    subscription = a_subscription(max_events_per_batch=5000, preferred_batch_kib=4)
    half = an_event(bytes_of_data=2048 - size_of(an_event()))

    batches = list(batches_of([half] * 6, subscription))

    assert size_of(half) == 2048
    assert [len(batch) for batch in batches] == [2, 2, 2]


def test_events_come_one_at_a_time_by_default() -> None:
    """Batching is off unless it is asked for."""
    batches = list(batches_of(map(an_event, range(2)), a_subscription()))

    assert [len(batch) for batch in batches] == [1, 1]


def test_nothing_makes_no_batch() -> None:
    """No delivery is empty."""
    assert list(batches_of([], a_subscription())) == []


def test_event_grid_event_becomes_a_cloud_event() -> None:
    """Every attribute has its place; the version of the data is the schema's fragment."""
    event = an_event()

    cloud = in_schema(event, "cloudevents")

    assert cloud == {
        "id": event["id"],
        "source": event["topic"],
        "subject": event["subject"],
        "type": event["eventType"],
        "time": event["eventTime"],
        "specversion": "1.0",
        "dataschema": "#1.0",
        "data": event["data"],
    }


def test_attribute_that_is_not_there_is_left_out() -> None:
    """Nothing is invented for an event without a subject."""
    event = an_event()
    del event["subject"]

    assert "subject" not in in_schema(event, "cloudevents")


def test_event_in_the_subscriptions_schema_is_left_as_it_is() -> None:
    """Nothing is converted that need not be."""
    assert in_schema(an_event(), "eventgrid") == an_event()
    assert in_schema(a_cloud_event(), "cloudevents") == a_cloud_event()


def test_cloud_event_never_becomes_an_event_grid_event() -> None:
    """Event Grid does not offer this direction."""
    with pytest.raises(SchemaMismatchError):
        in_schema(a_cloud_event(), "eventgrid")


@pytest.mark.parametrize("name", ["event-grid", "cloud-event"])
def test_samples_are_told_apart_by_their_schema(name: str) -> None:
    """The schema of a saved event is known from the event alone."""
    body = (events_dir() / f"one-chunk.{name}.json").read_bytes()

    (event,) = events_in(json.loads(body))

    assert schema_of(event) == name.replace("-event", "events").replace("-", "")


def test_dead_letters_of_a_namespace_are_unwrapped() -> None:
    """The event is inside; in the other shapes it is outside."""
    wrapped = {"deadLetterProperties": {"deliveryattempts": 1}, "event": an_event()}

    assert events_in([wrapped, an_event(1)]) == [an_event(), an_event(1)]
    assert events_in(an_event()) == [an_event()]


def test_body_of_something_else_has_no_events() -> None:
    """An array of numbers is no delivery."""
    with pytest.raises(ValueError, match="not an object"):
        events_in([1])


def test_event_grid_delivery_is_an_array_with_the_documented_headers() -> None:
    """Even a lone event comes in an array; the name comes in capitals."""
    subscription = a_subscription(token="t", headers={"x-functions-key": "k"})

    headers = headers_of([an_event()], subscription, delivery_count=2)

    assert json.loads(encoded([an_event()], subscription)) == [an_event()]
    assert headers == {
        "Content-Type": "application/json; charset=utf-8",
        "Accept-Encoding": "gzip, deflate",
        "aeg-subscription-name": "RECORDINGS",
        "aeg-event-type": "Notification",
        "aeg-delivery-count": "2",
        "aeg-metadata-version": "1",
        "aeg-data-version": "1.0",
        "aeg-output-event-id": "event-0",
        "x-functions-key": "k",
        "Authorization": "Bearer t",
    }


def test_delivery_of_several_events_names_none_of_them() -> None:
    """The header is about one event."""
    headers = headers_of([an_event(), an_event(1)], a_subscription(), delivery_count=0)

    assert "aeg-output-event-id" not in headers


def test_lone_cloud_event_is_an_object_in_structured_mode() -> None:
    """One event at a time: an object, with the type of one CloudEvent."""
    subscription = a_subscription(schema="cloudevents")

    headers = headers_of([a_cloud_event()], subscription, delivery_count=0)

    assert json.loads(encoded([a_cloud_event()], subscription)) == a_cloud_event()
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["aeg-metadata-version"] == "1.0"
    assert headers["WebHook-Request-Origin"] == "eventgrid.azure.net"
    assert "aeg-data-version" not in headers


@pytest.mark.parametrize("count", [1, 3])
def test_batched_cloud_events_are_an_array(count: int) -> None:
    """A subscription with batches sends arrays, of one event too."""
    subscription = a_subscription(schema="cloudevents", max_events_per_batch=10)
    events = [a_cloud_event()] * count

    headers = headers_of(events, subscription, delivery_count=0)

    assert json.loads(encoded(events, subscription)) == events
    assert headers["Content-Type"] == (
        "application/cloudevents-batch+json; charset=utf-8"
    )


def test_size_is_counted_in_bytes() -> None:
    """Letters beyond ASCII go out as they are, and count as what they take."""
    assert size_of({"a": "é"}) == len(b'{"a":""}') + 2


def test_lone_surrogate_goes_out_as_an_escape() -> None:
    """It is legal in JSON, and can't be written as UTF-8."""
    event = {**an_event(), "subject": "\ud800", "id": "é"}

    assert json.loads(encoded([event], a_subscription())) == [event]


@pytest.mark.parametrize("name", ["id", "dataVersion", "metadataVersion"])
def test_headers_hold_what_headers_can_hold(name: str) -> None:
    """An event may say anything; a line break in a header would be another header."""
    event = {**an_event(), name: "a\r\nb: \x00c\ud800é"}

    headers = headers_of([event], a_subscription(), delivery_count=0)

    assert "ab: cé" in headers.values()
    assert all(value.isprintable() for value in headers.values())
