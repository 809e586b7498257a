"""A recording's event becomes its chunks, and nothing that is lost stays unsaid."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    without,
)
from worker import names, stored
from worker.errors import MalformedEventError
from worker.model import Chunk


def parse(sent: object) -> Announced:
    """What one event announces when it arrives at START."""
    [event] = envelope.parse(a_body(sent))
    assert isinstance(event, Event)
    return recordings.parse(event, received_at=START, retention=RETENTION)


def parse_entries(*entries: object) -> Announced:
    """What an event with these chunks announces."""
    return parse(a_grid_event(recording_data(*entries)))


def only_chunk(sent: object) -> Chunk:
    """The chunk of an event without a flaw."""
    announced = parse(sent)
    assert announced.problems == ()
    [chunk] = announced.chunks
    return chunk


@pytest.mark.parametrize("sent", [a_grid_event(), a_cloud_event()], ids=["eg", "ce"])
def test_parse_reads_every_field(sent: dict[str, object]) -> None:
    """Both schemas give the same chunk, with all that the event says."""
    chunk = only_chunk(sent)

    about = chunk.announcement
    assert chunk.document_id == chunk.key == DOCUMENT
    assert chunk.index == 0
    assert chunk.end_reason == "SessionEnded"
    assert chunk.content_location == f"{SOURCE}/v1/objects/{DOCUMENT}/content/video"
    assert chunk.metadata_location is not None
    assert chunk.metadata_location.endswith("/acsmetadata")
    assert chunk.delete_location == f"{SOURCE}/v1/objects/{DOCUMENT}"
    assert chunk.received_at == START
    assert about.event_id == "event-1"
    assert about.resource == "calls"
    assert about.event_time == datetime(2026, 3, 1, 11, 59, 0, 219932, tzinfo=UTC)
    assert about.recording_start_time == datetime(
        2026, 3, 1, 11, 50, 0, 608975, tzinfo=UTC
    )
    assert about.recording_duration_ms == 6620
    assert (about.content_type, about.channel_type) == ("AudioVideo", "Mixed")
    assert (about.format_type, about.session_end_reason) == ("Mp4", "CallEnded")
    assert about.storage_type is None
    assert json.loads(about.raw) == sent


def test_parse_takes_the_earliest_deadline() -> None:
    """A chunk expires 24 hours after the earliest moment that it can have been stored."""
    chunk = only_chunk(a_grid_event())

    assert chunk.announcement.event_time is not None
    assert chunk.expires_at == chunk.announcement.event_time + timedelta(hours=24)


@pytest.mark.parametrize(
    ("subject", "ids"),
    [
        ("/recording/call/C/recordingId/R", ("C", None, "R")),
        ("/recording/call/C/serverCallId/S/recordingId/R", ("C", "S", "R")),
        ("/recording/call/C/serverCallId/aHR0c", ("C", "aHR0c", None)),
        ("/recording/call/C/callConnectionId/X", ("C", None, None)),
        ("/RECORDING/Call/C/RECORDINGID/R/SERVERCALLID/S", ("C", "S", "R")),
        ("recording/call/call/recordingId/call", ("call", None, "call")),
        ("/call/C", ("C", None, None)),
        ("/recording/call", (None, None, None)),
        ("/recording/call//recordingId/R", (None, None, "R")),
        ("", (None, None, None)),
    ],
)
def test_parse_reads_every_form_of_subject(
    subject: str, ids: tuple[str | None, str | None, str | None]
) -> None:
    """Keys and values in turn, in any case and order, every key optional."""
    about = only_chunk(a_grid_event(subject=subject)).announcement

    assert (about.call_id, about.server_call_id, about.recording_id) == ids
    assert about.subject == subject


def test_parse_takes_the_recording_id_of_the_data_where_the_subject_has_none() -> None:
    """An event of bring-your-own-storage names recording and storage in its data."""
    data = recording_data(recordingId="R2", storageType="AzureBlob")

    about = only_chunk(a_grid_event(data, subject="/recording/call/C")).announcement

    assert (about.recording_id, about.storage_type) == ("R2", "AzureBlob")
    assert only_chunk(a_grid_event(data)).announcement.recording_id == "recording-1"


def test_parse_names_a_recording_by_what_is_known_of_it() -> None:
    """Events of one recording share its key; of calls without recording id, call and start."""
    by_server_call = only_chunk(a_grid_event(subject="/recording/serverCallId/S"))
    by_call = only_chunk(a_grid_event(subject="/recording/call/S"))
    by_id = only_chunk(a_grid_event(subject="/recording/recordingId/R"))

    assert by_server_call.recording == by_call.recording
    assert by_id.recording == names.recording_key(
        recording_id="R", call_id=None, started_at=None
    )


def test_parse_tells_nameless_recordings_apart_by_their_chunks() -> None:
    """Events that name neither recording nor call nor start are of unrelated recordings."""

    def nameless(*documents: str) -> set[str]:
        entries = [an_entry(document) for document in documents]
        data = recording_data(*entries, recordingStartTime=None)
        announced = parse(a_grid_event(data, subject="/recording"))
        return {chunk.recording for chunk in announced.chunks}

    assert len(nameless("d1", "d2")) == 1
    assert nameless("d2", "d1") == nameless("d1", "d2")
    assert nameless("d1") != nameless("d3")


def test_parse_gives_chunks_by_index_and_siblings_to_each() -> None:
    """Chunks come by index, whatever their order; each knows all, and its own entry only."""
    entries = [an_entry(f"d{index}", index=index) for index in (2, 0, 1)]

    announced = parse_entries(*entries)

    assert announced.problems == ()
    assert [chunk.document_id for chunk in announced.chunks] == ["d0", "d1", "d2"]
    for chunk in announced.chunks:
        assert [sibling.key for sibling in chunk.announced] == ["d0", "d1", "d2"]
        [entry] = json.loads(chunk.announcement.raw)["data"]["recordingStorageInfo"][
            "recordingChunks"
        ]
        assert entry["documentId"] == chunk.document_id


def test_parse_keeps_both_of_two_chunks_with_one_index() -> None:
    """Index and recording can repeat: only the documentId tells chunks apart."""
    announced = parse_entries(an_entry("d2"), an_entry("d1"))

    assert [chunk.document_id for chunk in announced.chunks] == ["d1", "d2"]
    assert len(announced.chunks[0].announced) == 2


def test_parse_lists_a_repeated_chunk_once_among_the_siblings() -> None:
    """The same chunk twice in one event is one sibling."""
    announced = parse_entries(an_entry(), an_entry())

    assert len(announced.chunks[0].announced) == 1


def test_parse_keeps_what_it_does_not_know() -> None:
    """Unknown fields and enum values of event, data and chunk are in `raw`."""
    entries = [an_entry(f"d{i}", index=i, checksum="abc") for i in range(2)]
    data = recording_data(*entries, recordingFormatType="Flac", extra={"a": [1]})

    chunk = parse(a_grid_event(data, novelty=True)).chunks[1]

    raw = json.loads(chunk.announcement.raw)
    assert chunk.announcement.format_type == "Flac"
    assert raw["novelty"] is True
    assert raw["data"]["extra"] == {"a": [1]}
    assert raw["data"]["recordingStorageInfo"] == {"recordingChunks": [entries[1]]}


def test_parse_reads_events_of_2021() -> None:
    """Old events have no deleteLocation and no formats."""
    entry = without(an_entry(), "deleteLocation")
    formats = ("recordingContentType", "recordingChannelType", "recordingFormatType")

    chunk = only_chunk(a_grid_event(without(recording_data(entry), *formats)))

    assert chunk.delete_location is None
    assert chunk.announcement.content_type is None
    assert chunk.announcement.format_type is None


def test_parse_takes_times_that_are_none() -> None:
    """Broken times are None: the chunk is due by its arrival."""
    chunk = only_chunk(
        a_grid_event(recording_data(recordingStartTime="never"), eventTime=7)
    )

    assert chunk.announcement.event_time is None
    assert chunk.announcement.recording_start_time is None
    assert chunk.expires_at == START + RETENTION


@pytest.mark.parametrize(
    ("said", "duration"),
    [(0, 0), ("12", 12), (-1, None), (True, None), (1.5, None), (2**60, None)],
)
def test_parse_takes_a_sane_duration_only(said: object, duration: int | None) -> None:
    """A duration is a whole number of milliseconds, or not known."""
    chunk = only_chunk(a_grid_event(recording_data(recordingDurationMs=said)))

    assert chunk.announcement.recording_duration_ms == duration


def test_parse_without_document_id_takes_the_location_for_identity() -> None:
    """A chunk without documentId is known by a hash of its content location."""
    chunk = only_chunk(
        a_grid_event(recording_data(without(an_entry(), "documentId", "endReason")))
    )

    assert chunk.document_id == ""
    assert chunk.key == names.chunk_key("", chunk.content_location)
    assert chunk.end_reason is None


def test_parse_takes_digits_for_an_index() -> None:
    """An index in a string is an index."""
    assert only_chunk(a_grid_event(recording_data(an_entry(index="3")))).index == 3


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (7, "chunk 1: not an object"),
        (without(an_entry(), "contentLocation"), "chunk 1: contentLocation is missing"),
        (an_entry(contentLocation=""), "chunk 1: contentLocation is missing"),
        (an_entry(contentLocation=7), "chunk 1: contentLocation is not a string"),
        (an_entry(contentLocation="h" * 4097), "chunk 1: contentLocation is too long"),
        (an_entry(contentLocation="https://h/\r\n"), "chunk 1: contentLocation is too"),
        (an_entry(documentId=7), "chunk 1: documentId is not a string"),
        (an_entry(documentId="d" * 1025), "chunk 1: documentId is too long"),
        (
            an_entry(documentId="d\x00"),
            "chunk 1: documentId is too long or has control",
        ),
        (an_entry(index=-1), "chunk 1: index is not a number"),
        (an_entry(index=2**31), "chunk 1: index is not a number"),
        (an_entry(index="first"), "chunk 1: index is not a number"),
        (an_entry(index=True), "chunk 1: index is not a number"),
        (an_entry(index=0.5), "chunk 1: index is not a number"),
    ],
)
def test_parse_reports_a_bad_chunk_beside_a_good_one(entry: object, why: str) -> None:
    """A chunk that can't be read is a problem; the good one beside it is queued."""
    announced = parse_entries(an_entry("good"), entry)

    assert [chunk.document_id for chunk in announced.chunks] == ["good"]
    [problem] = announced.problems
    assert problem.startswith(why)
    assert "\n" not in problem
    with pytest.raises(MalformedEventError, match="^" + why.replace("1", "0", 1)):
        parse_entries(entry)


def test_parse_counts_what_else_is_wrong() -> None:
    """An event of bad chunks only says the first reason, and how many more there are."""
    with pytest.raises(MalformedEventError, match=r"^chunk 0: .* \(and 2 more\)$"):
        parse_entries(1, 2, 3)


def test_parse_guesses_a_missing_index_and_says_so() -> None:
    """A chunk without index is brought home all the same, and reported."""
    announced = parse_entries(an_entry("d0"), without(an_entry("d1"), "index"))

    assert [chunk.index for chunk in announced.chunks] == [0, 1]
    assert announced.problems == ("chunk 1: index is missing; its position is taken",)


@pytest.mark.parametrize("name", ["metadataLocation", "deleteLocation"])
@pytest.mark.parametrize(
    "value", [7, "h" * 4097, "https://h/\n"], ids=["7", "long", "nl"]
)
def test_parse_drops_the_delete_with_a_bad_location(name: str, value: object) -> None:
    """A bad location beside the content doesn't hold it back, but forbids the delete."""
    announced = parse_entries({**an_entry(), name: value})

    [chunk] = announced.chunks
    [problem] = announced.problems
    assert chunk.delete_location is None
    assert (chunk.metadata_location is None) == (name == "metadataLocation")
    assert problem.startswith(f"chunk 0: {name} ")


@pytest.mark.parametrize("field", ["topic", "subject"])
@pytest.mark.parametrize("value", ["x" * 4097, "a\x1bb"], ids=["long", "control"])
def test_parse_leaves_out_a_wild_topic_or_subject(field: str, value: str) -> None:
    """A topic or subject out of bounds is reported; the chunk is queued without it."""
    announced = parse(a_grid_event(**{field: value}))

    [chunk] = announced.chunks
    [problem] = announced.problems
    assert getattr(chunk.announcement, field) == ""
    assert problem.startswith(field)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"recordingStorageInfo": []},
        {"recordingStorageInfo": {}},
        {"recordingStorageInfo": {"recordingChunks": "none"}},
        {"recordingStorageInfo": {"recordingChunks": []}},
        {"recordingStorageInfo": {"recordingChunks": [an_entry()] * 1001}},
    ],
    ids=["none", "array", "empty", "text", "no chunk", "too many"],
)
def test_parse_refuses_data_without_chunks(data: object) -> None:
    """Data that announces no chunk, or more than 1000, is malformed."""
    with pytest.raises(MalformedEventError):
        parse(a_grid_event(data))


def test_parse_refuses_an_event_that_would_swell() -> None:
    """Each chunk carries its event: many chunks of a long event are refused before."""
    data = recording_data(*[an_entry(f"d{i}", index=i) for i in range(400)])

    assert len(parse(a_grid_event(data)).chunks) == 400
    with pytest.raises(MalformedEventError, match="400 chunks"):
        parse(a_grid_event({**data, "novelty": "x" * 100_000}))


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.just({"a": 1})
)
ENTRIES = st.lists(
    VALUES
    | st.fixed_dictionaries(
        {"contentLocation": st.text(min_size=1) | VALUES},
        optional=dict.fromkeys(
            ["documentId", "index", "endReason", "metadataLocation", "deleteLocation"],
            VALUES,
        ),
    ),
    max_size=5,
)


@given(ENTRIES, VALUES, VALUES)
def test_parse_gives_chunks_that_can_be_stored(
    entries: list[object], subject: object, said: object
) -> None:
    """Whatever is in an event, each chunk survives the queue, and its raw event is JSON."""
    data = recording_data(*entries, recordingId=said, recordingStartTime=said)
    try:
        announced = parse(a_grid_event(data, subject=subject, id=said, topic=said))
    except MalformedEventError as error:
        assert str(error)  # noqa: PT017 - both ends are right, and there is no third
        return
    for chunk in announced.chunks:
        json.loads(chunk.announcement.raw)
        names.content_name(chunk)
        assert stored.chunk_from_json(stored.chunk_to_json(chunk)) == chunk
