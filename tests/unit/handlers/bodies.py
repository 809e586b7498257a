"""Deliveries as Event Grid would send them, and stand-ins for what receives them."""

import json
from datetime import datetime

from tests.factories import SOURCE, TOPIC
from worker.model import Delivery, PutResult

JsonObject = dict[str, object]
DOCUMENT = "0-eus-d12-801b3f3fc462fe8a01e6810cbff729b8"
RECORDING_TYPE = "Microsoft.Communication.RecordingFileStatusUpdated"
VALIDATION_TYPE = "Microsoft.EventGrid.SubscriptionValidationEvent"
DELETED_TYPE = "Microsoft.EventGrid.SubscriptionDeletedEvent"


def an_entry(document_id: str = DOCUMENT, **overrides: object) -> JsonObject:
    """One element of recordingChunks."""
    objects = f"{SOURCE}/v1/objects/{document_id}"
    entry: JsonObject = {
        "documentId": document_id,
        "index": 0,
        "endReason": "SessionEnded",
        "contentLocation": f"{objects}/content/video",
        "metadataLocation": f"{objects}/content/acsmetadata",
        "deleteLocation": objects,
    }
    return {**entry, **overrides}


def without(entry: JsonObject, *names: str) -> JsonObject:
    """The same without these fields."""
    return {name: value for name, value in entry.items() if name not in names}


def recording_data(*entries: object, **overrides: object) -> JsonObject:
    """The data of a RecordingFileStatusUpdated event."""
    data: JsonObject = {
        "recordingStorageInfo": {"recordingChunks": list(entries or [an_entry()])},
        "recordingStartTime": "2026-03-01T11:50:00.6089755Z",
        "recordingDurationMs": 6620,
        "sessionEndReason": "CallEnded",
        "recordingContentType": "AudioVideo",
        "recordingChannelType": "Mixed",
        "recordingFormatType": "Mp4",
    }
    return {**data, **overrides}


def a_grid_event(data: object = None, **overrides: object) -> JsonObject:
    """A recording's event in Event Grid schema, unless `eventType` says otherwise."""
    event: JsonObject = {
        "id": "event-1",
        "topic": f"{TOPIC}calls",
        "subject": "/recording/call/call-1/recordingId/recording-1",
        "data": recording_data() if data is None else data,
        "eventType": RECORDING_TYPE,
        "dataVersion": "1.0",
        "metadataVersion": "1",
        "eventTime": "2026-03-01T11:59:00.2199328Z",
    }
    return {**event, **overrides}


def a_cloud_event(data: object = None, **overrides: object) -> JsonObject:
    """The same event as CloudEvents 1.0."""
    event: JsonObject = {
        "id": "event-1",
        "source": f"{TOPIC}calls",
        "subject": "/recording/call/call-1/recordingId/recording-1",
        "data": recording_data() if data is None else data,
        "type": RECORDING_TYPE,
        "specversion": "1.0",
        "time": "2026-03-01T11:59:00.2199328Z",
    }
    return {**event, **overrides}


def a_validation(code: object = "code-1", **overrides: object) -> JsonObject:
    """What Event Grid sends when a subscription is made or changed."""
    data = {"validationCode": code, "validationUrl": "https://example.invalid/validate"}
    return a_grid_event(data, eventType=VALIDATION_TYPE, **overrides)


def a_body(*events: object) -> bytes:
    """A delivery of these events."""
    return json.dumps(events).encode()


class SmallQueue:
    """Takes deliveries; a chunk seen before is a duplicate. Raises `fails_with` if set."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.fails_with: BaseException | None = None
        self._keys: set[str] = set()

    async def put(self, delivery: Delivery) -> PutResult:
        if self.fails_with is not None:
            raise self.fails_with
        self.deliveries.append(delivery)
        keys = [chunk.key for chunk in delivery.chunks]
        known = [key for key in keys if key in self._keys]
        self._keys.update(keys)
        return PutResult(
            enqueued=len(keys) - len(known),
            duplicates=len(known),
            known=frozenset(known),
        )


class SmallQuarantine:
    """Keeps what it is given. Raises `fails_with` if set."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.reasons: list[str] = []
        self.fails_with: BaseException | None = None

    async def put(self, body: bytes, why: str, received_at: datetime) -> str:
        if self.fails_with is not None:
            raise self.fails_with
        self.bodies.append(body)
        self.reasons.append(why)
        return f"quarantine/{received_at:%Y/%m/%d}/{len(self.bodies)}.json"
