"""Subscriptions and events for the tests of the stand-in for Event Grid."""

from typing import Any

from samples.grid.messages import JsonObject, in_schema
from samples.grid.subscription import Subscription

URL = "http://127.0.0.1:1/api/events?code=secret"


def a_subscription(**changes: Any) -> Subscription:
    return Subscription(**{"name": "recordings", "endpoint": URL, **changes})


def an_event(number: int = 0, *, bytes_of_data: int = 0) -> JsonObject:
    return {
        "id": f"event-{number}",
        "topic": "/topic",
        "subject": "/recording/call/1",
        "eventType": "Microsoft.Communication.RecordingFileStatusUpdated",
        "eventTime": "2026-03-01T12:00:00.1234567Z",
        "dataVersion": "1.0",
        "metadataVersion": "1",
        "data": {"filler": "x" * bytes_of_data},
    }


def a_cloud_event() -> JsonObject:
    return in_schema(an_event(), "cloudevents")
