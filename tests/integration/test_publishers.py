"""What others' libraries send is understood: Azure's own client, and CNCF's `cloudevents`."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent, EventGridPublisherClient
from azure.eventgrid.aio import EventGridPublisherClient as AsyncPublisherClient
from cloudevents.core.bindings import http
from cloudevents.core.bindings.http import HTTPMessage
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as CncfEvent

from handlers.registry import RECORDING_FILE_STATUS_UPDATED
from tests.factories import SOURCE, TOPIC
from tests.fakes.clock import START
from tests.unit.handlers import bodies
from tests.unit.handlers.bodies import an_entry, recording_data
from worker import opening, receiving
from worker.queues.sqlite import SqliteQueue
from worker.settings import Settings
from worker.settings_rules import Use

KEY = "new&key+%"
FOREIGN = AzureKeyCredential("the-key-of-some-topic")
BATCH = "application/cloudevents-batch+json"
GridEvents = EventGridEvent | list[EventGridEvent]
CloudEvents = CloudEvent[Any] | list[CloudEvent[Any]]
Send = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The webhook as `serve` has it, on loopback, with its queue on disk."""

    url: str
    queue: SqliteQueue

    @property
    def with_key(self) -> str:
        """The URL as an event subscription has it."""
        return f"{self.url}?code=new%26key%2B%25"

    async def landed(self) -> list[tuple[str, int, str, str | None, str | None]]:
        """What came in, by document: index and the three locations."""
        chunks = [queued.chunk for queued in await self.queue.list()]
        return sorted(
            (
                chunk.document_id,
                chunk.index,
                chunk.content_location,
                chunk.metadata_location,
                chunk.delete_location,
            )
            for chunk in chunks
        )

    async def post(self, message: HTTPMessage, **headers: str) -> int:
        """Send what `cloudevents` made; return the status."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                self.with_key, data=message.body, headers={**message.headers, **headers}
            ) as answer,
        ):
            return answer.status


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[Endpoint]:
    """An endpoint that wants a key."""
    settings = Settings.load(
        {
            "AZURE_COMMUNICATION_CONNECTION_STRING": (
                "endpoint=https://calls.communication.azure.com/;accesskey=a2V5"
            ),
            "WORKER_LISTEN": "127.0.0.1:0",
            "WORKER_WEBHOOK_KEYS": f"old-key,{KEY}",
            "WORKER_ARCHIVE": f"file:{tmp_path}/archive",
            "WORKER_ARCHIVE_RESERVE_MIB": "1",
            "WORKER_QUEUE": f"sqlite:{tmp_path}/queue.db",
            "WORKER_UNSAFE_STORAGE": "allow",
        },
        use=Use.SERVE,
    )
    async with (
        opening.open_archive(settings) as archive,
        opening.open_queue(settings, create=True, archive=archive) as queue,
        receiving.open_webhook(
            settings, queue=queue, archive=archive, nudge=asyncio.Event()
        ) as listening,
    ):
        assert isinstance(queue, SqliteQueue)
        yield Endpoint(url=listening.url, queue=queue)


def data_of(number: int) -> dict[str, object]:
    """The data of an event with one chunk, of index `number`."""
    return recording_data(an_entry(f"d{number}", index=number))


def subject_of(number: int) -> str:
    return f"/recording/call/call-1/recordingId/recording-{number}"


def a_landing(number: int) -> tuple[str, int, str, str | None, str | None]:
    """What must be in the queue of such an event."""
    objects = f"{SOURCE}/v1/objects/d{number}"
    content = f"{objects}/content"
    return f"d{number}", number, f"{content}/video", f"{content}/acsmetadata", objects


def a_grid_event(number: int) -> EventGridEvent:
    return EventGridEvent(
        subject_of(number),
        RECORDING_FILE_STATUS_UPDATED,
        data_of(number),
        "1.0",
        topic=f"{TOPIC}calls",
        event_time=START,
    )


def a_cloud_event(number: int, data: object = None) -> CloudEvent[Any]:
    return CloudEvent(
        f"{TOPIC}calls",
        RECORDING_FILE_STATUS_UPDATED,
        subject=subject_of(number),
        time=START,
        data=data_of(number) if data is None else data,
        extensions={"traceparent": "00-1-1-00"},
    )


def bytes_of(number: int) -> bytes:
    return json.dumps(data_of(number)).encode()


def publish(endpoint: str, events: Any) -> None:
    """By the synchronous client."""
    with EventGridPublisherClient(endpoint, FOREIGN) as client:
        client.send(events)


async def publish_in_a_thread(endpoint: str, events: Any) -> None:
    await asyncio.to_thread(publish, endpoint, events)


async def publish_async(endpoint: str, events: Any) -> None:
    async with AsyncPublisherClient(endpoint, FOREIGN, retry_total=0) as client:
        await client.send(events)


@pytest.mark.parametrize("send", [publish_in_a_thread, publish_async])
@pytest.mark.parametrize(
    "events",
    [
        a_grid_event(3),
        [a_grid_event(3)],
        a_cloud_event(3),
        [a_cloud_event(3)],
        a_cloud_event(3, json.dumps(data_of(3))),
        a_cloud_event(3, bytes_of(3)),
        bodies.a_grid_event(
            data_of(3), subject=subject_of(3), eventTime=START.isoformat()
        ),
    ],
    ids=["grid", "grids", "cloud", "clouds", "text", "bytes", "dict"],
)
async def test_event_of_azures_client_lands(
    endpoint: Endpoint, send: Send, events: GridEvents | CloudEvents
) -> None:
    """Both clients, both schemas; the key in the URL survives the client's own query."""
    await send(endpoint.with_key, events)

    assert await endpoint.landed() == [a_landing(3)]
    [queued] = await endpoint.queue.list()
    assert queued.chunk.announcement.recording_id == "recording-3"
    assert queued.chunk.announcement.event_time == START
    assert queued.chunk.announcement.resource == "calls"


@pytest.mark.parametrize("send", [publish_in_a_thread, publish_async])
@pytest.mark.parametrize("make", [a_grid_event, a_cloud_event])
async def test_every_event_of_a_list_lands(
    endpoint: Endpoint, send: Send, make: Callable[[int], object]
) -> None:
    """A list is one delivery, whose chunks are all queued."""
    await send(endpoint.with_key, [make(number) for number in range(40)])

    assert await endpoint.landed() == sorted(a_landing(number) for number in range(40))


async def test_key_may_be_a_header_of_the_client(endpoint: Endpoint) -> None:
    """As a delivery property has it: the URL needs no key then."""
    async with AsyncPublisherClient(
        endpoint.url, FOREIGN, headers={"x-functions-key": KEY}
    ) as client:
        await client.send(a_cloud_event(1))

    assert await endpoint.landed() == [a_landing(1)]


async def test_key_of_a_topic_is_none_of_ours(endpoint: Endpoint) -> None:
    """What the client shows a topic lets nobody in here; it is told to come again."""
    with pytest.raises(HttpResponseError) as refused:
        await publish_async(endpoint.url, a_cloud_event(1))

    assert refused.value.status_code == 503
    assert await endpoint.landed() == []


def a_cncf_event(number: int, data: Any = None, **attributes: str) -> CncfEvent:
    return CncfEvent(
        attributes={
            "id": f"event-{number}",
            "type": RECORDING_FILE_STATUS_UPDATED,
            "source": f"{TOPIC}calls",
            "subject": subject_of(number),
            "time": START,
            "datacontenttype": "application/json",
            **attributes,
        },
        data=data_of(number) if data is None else data,
    )


def a_batch(events: Sequence[CncfEvent]) -> HTTPMessage:
    """The package has no batches of its own: a batch is an array of what it writes."""
    written = [JSONFormat().write(event) for event in events]
    body = b"[" + b",".join(written) + b"]"
    return HTTPMessage(headers={"content-type": BATCH}, body=body)


@pytest.mark.parametrize(
    "write", [http.to_structured_event, http.to_binary_event], ids=["json", "headers"]
)
@pytest.mark.parametrize(
    "event",
    [
        a_cncf_event(2),
        a_cncf_event(2, bytes_of(2)),
        a_cncf_event(2, bytes_of(2).decode()),
        a_cncf_event(2, datacontenttype="application/vnd.recording+json"),
        a_cncf_event(2, traceparent="00-1-1-00"),
    ],
    ids=["object", "bytes", "text", "suffix", "extension"],
)
async def test_event_of_cloudevents_lands(
    endpoint: Endpoint,
    write: Callable[[CncfEvent], HTTPMessage],
    event: CncfEvent,
) -> None:
    """Structured or binary, and with its data in every form."""
    status = await endpoint.post(write(event))

    assert status == 200
    assert await endpoint.landed() == [a_landing(2)]
    [queued] = await endpoint.queue.list()
    assert queued.chunk.announcement.event_id == "event-2"
    assert queued.chunk.announcement.recording_id == "recording-2"
    assert queued.chunk.announcement.event_time == START


async def test_batch_of_cloudevents_lands(endpoint: Endpoint) -> None:
    """An array of structured events, under the content type of batches."""
    status = await endpoint.post(a_batch([a_cncf_event(number) for number in range(5)]))

    assert status == 200
    assert await endpoint.landed() == [a_landing(number) for number in range(5)]


async def test_binary_event_is_kept_so_that_it_can_be_replayed(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    """Of an event that can't be used the headers are kept as well, in one JSON."""
    message = http.to_binary_event(a_cncf_event(1, {"recordingStorageInfo": None}))

    assert await endpoint.post(message) == 400

    [kept] = (tmp_path / "archive" / "quarantine").rglob("*.json")
    told: Mapping[str, str] = json.loads(kept.read_bytes())
    assert (told["type"], told["subject"]) == (
        RECORDING_FILE_STATUS_UPDATED,
        subject_of(1),
    )
    assert datetime.fromisoformat(told["time"]) == START


async def test_binary_event_of_another_type_is_none_of_ours(
    endpoint: Endpoint,
) -> None:
    """200, as for any other event that means nothing here."""
    event = a_cncf_event(1, type="com.example.other")

    assert await endpoint.post(http.to_binary_event(event)) == 200
    assert await endpoint.landed() == []
