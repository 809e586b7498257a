"""Signatures in locations of the user's own storage are not kept, and make no other chunk."""

from datetime import timedelta

import pytest

from handlers import envelope, recordings
from handlers.envelope import Event
from handlers.recordings import Announced
from tests.factories import RETENTION, SOURCE
from tests.fakes.clock import START
from tests.unit.handlers.bodies import (
    DOCUMENT,
    a_body,
    a_cloud_event,
    a_grid_event,
    an_entry,
    recording_data,
)
from worker.errors import MalformedEventError

OWN = "https://contoso.blob.core.windows.net/calls/20260301/call-1/record"
JsonObject = dict[str, object]


def an_export(query: str = "?sv=1&sig=SECRET", **overrides: object) -> JsonObject:
    """A chunk as ACS exported it, with something behind its locations."""
    locations = {
        "contentLocation": f"{OWN}/0-audiomp4.{DOCUMENT}.mp4{query}",
        "metadataLocation": f"{OWN}/0-acsmetadata.{DOCUMENT}.json{query}",
        "deleteLocation": f"{OWN}/0-audiomp4.{DOCUMENT}.mp4{query}",
    }
    return an_entry() | locations | overrides


def parse(sent: object, *, later: timedelta = timedelta()) -> Announced:
    [event] = envelope.parse(a_body(sent))
    assert isinstance(event, Event)
    return recordings.parse(event, received_at=START + later, retention=RETENTION)


def data_of(*entries: JsonObject, storage_type: object = "AzureBlob") -> JsonObject:
    return recording_data(*entries, storageType=storage_type)


@pytest.mark.parametrize("make", [a_grid_event, a_cloud_event])
@pytest.mark.parametrize("count", [1, 2])
def test_signature_of_an_export_is_dropped(make: object, count: int) -> None:
    """From the locations, and from the event that the receipt will keep."""
    entries = [an_export(index=index) for index in range(count)]

    announced = parse(make(data_of(*entries)))  # type: ignore[operator] # either of the two

    assert len(announced.chunks) == count
    for chunk in announced.chunks:
        assert chunk.content_location == f"{OWN}/0-audiomp4.{DOCUMENT}.mp4"
        assert chunk.metadata_location == f"{OWN}/0-acsmetadata.{DOCUMENT}.json"
        assert "SECRET" not in repr(chunk)


def test_export_with_a_fresh_signature_is_the_same_chunk() -> None:
    """Announced again, it has the key that it had."""
    queries = ("?sig=SECRET", "?se=2027&sig=ANOTHER", "", "?", "#part")
    found = [
        parse(a_grid_event(data_of(an_export(query)))).chunks[0] for query in queries
    ]

    assert len({chunk.key for chunk in found}) == 1
    assert len({chunk.content_location for chunk in found}) == 1


@pytest.mark.parametrize("storage_type", ["AzureBlob", "AcsStorage", None, 7])
def test_location_at_the_source_stays_as_it_was_said(storage_type: object) -> None:
    """A failed export lies there, and its query may be a part of what is asked for."""
    content = f"{SOURCE}/v1/objects/{DOCUMENT}/content/video?version=2"
    sent = a_grid_event(
        data_of(an_entry(contentLocation=content), storage_type=storage_type)
    )

    assert parse(sent).chunks[0].content_location == content


def test_query_at_the_source_is_kept_without_a_document() -> None:
    """The schema calls the documentId optional; without the query the chunk were lost."""
    content = f"{SOURCE}/v1/objects/{DOCUMENT}/content/video?version=2"
    entry = an_entry(contentLocation=content, documentId=None)

    assert parse(a_grid_event(data_of(entry))).chunks[0].content_location == content


def test_signature_is_dropped_whatever_the_container_is_called() -> None:
    """Nothing at the source is signed in its query."""
    content = "https://contoso.blob.core.windows.net/objects/a.mp4?sv=1&sig=SECRET"
    entry = an_export(contentLocation=content)

    assert "SECRET" not in repr(parse(a_grid_event(data_of(entry))).chunks)


@pytest.mark.parametrize("location", ["https://[::1/a?sig=SECRET", 7, None])
def test_location_that_is_none_is_sorted_as_ever(location: object) -> None:
    """What is no URL is not what trips the reading of the other chunks."""
    sent = a_grid_event(
        data_of(an_export(metadataLocation=location), an_export(index=1))
    )

    announced = parse(sent)

    assert [chunk.index for chunk in announced.chunks] == [0, 1]
    assert "SECRET" not in repr(announced.chunks)


@pytest.mark.parametrize("listed", [None, "chunks", [7]])
def test_event_without_chunks_is_refused_as_ever(listed: object) -> None:
    """That the type is AzureBlob changes nothing in what is malformed."""
    data = {"storageType": "AzureBlob", "recordingStorageInfo": listed}
    nested = {
        "storageType": "AzureBlob",
        "recordingStorageInfo": {"recordingChunks": listed},
    }
    for each in (data, nested):
        with pytest.raises(MalformedEventError):
            parse(a_grid_event(each))
