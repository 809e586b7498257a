"""The samples are what their names say, and the stand-in has all that they announce."""

import hashlib
import json
import struct
import wave
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from samples import events_dir, media_dir
from samples.catalogue import SampleObject, load_catalogue

MEDIA_BUDGET_BYTES = 1_000_000
RECORDING = "Microsoft.Communication.RecordingFileStatusUpdated"
EVENT_FILES = sorted(events_dir().rglob("*.json"))
READABLE = [path for path in EVENT_FILES if path.name != "bad-json.json"]
ANNOUNCING = [
    path
    for path in sorted(events_dir().glob("*.json"))
    + sorted(events_dir().glob("demo/*"))
    if not path.name.startswith(("own-storage.", "byos-exported.", "byos-mixed."))
]
CATALOGUE = load_catalogue()


def _name(value: object) -> str:
    if isinstance(value, Path):
        return str(value.relative_to(events_dir()))
    return value.document_id if isinstance(value, SampleObject) else str(value)


def _events(path: Path) -> list[dict[str, Any]]:
    body = json.loads(path.read_bytes())
    return body if isinstance(body, list) else [body]


def _type(event: dict[str, Any]) -> str:
    return str(event.get("eventType") or event.get("type"))


def _chunks(path: Path) -> list[dict[str, Any]]:
    return [
        chunk
        for event in _events(path)
        if _type(event) == RECORDING
        for chunk in event["data"]["recordingStorageInfo"]["recordingChunks"]
    ]


def _demo(number: str) -> Path:
    return next(events_dir().glob(f"demo/{number}-*.json"))


def _documents(path: Path) -> list[str]:
    return [chunk["documentId"] for chunk in _chunks(path)]


def _metadata(sample: SampleObject) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(sample.metadata.read_bytes())
    return parsed


def _boxes(data: bytes) -> list[tuple[bytes, int]]:
    """Name and size of every top-level MP4 box."""
    boxes, at = [], 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        boxes.append((name, size))
        at += size
    return boxes


@pytest.mark.parametrize("path", READABLE, ids=_name)
def test_sample_event_file_is_json(path: Path) -> None:
    """Every sample event file but the one that says otherwise is JSON."""
    assert isinstance(json.loads(path.read_bytes()), list | dict)


def test_bad_json_is_not_json() -> None:
    """The sample of a body that can't be parsed can't be parsed."""
    body = (events_dir() / "malformed" / "bad-json.json").read_bytes()

    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


@pytest.mark.parametrize(
    "path", [path for path in READABLE if ".event-grid." in path.name], ids=_name
)
def test_event_grid_sample_has_the_envelope_of_the_schema(path: Path) -> None:
    """What is named event-grid has every field of that envelope."""
    envelope = {"id", "topic", "subject", "data", "eventType", "dataVersion"}
    envelope |= {"metadataVersion", "eventTime"}

    assert all(envelope == event.keys() for event in _events(path))


@pytest.mark.parametrize(
    ("file_name", "spelling"),
    [
        ("one-chunk.cloud-event.json", "specversion"),
        ("one-chunk.misspelt-spec-version.cloud-event.json", "specVersion"),
        ("two-recordings.cloud-events.json", "specversion"),
        ("byos-exported.cloud-event.json", "specversion"),
        ("demo/03-audio-unmixed-wav.cloud-event.json", "specversion"),
    ],
)
def test_cloud_event_sample_says_its_version(file_name: str, spelling: str) -> None:
    """CloudEvents samples say 1.0, one of them as the public example misspells it."""
    events = _events(events_dir() / file_name)

    assert {event.get(spelling) for event in events} == {"1.0"}
    assert {event["type"] for event in events} == {RECORDING}


@pytest.mark.parametrize("path", ANNOUNCING, ids=_name)
def test_every_announced_document_is_in_the_catalogue(path: Path) -> None:
    """What a well-formed sample announces, the stand-in can serve."""
    known = {sample.document_id for sample in CATALOGUE}

    assert set(_documents(path)) <= known


@pytest.mark.parametrize("path", ANNOUNCING, ids=_name)
def test_locations_bear_their_document(path: Path) -> None:
    """Each location of a well-formed chunk is an https location of its own document."""
    for chunk in _chunks(path):
        here = f".asm.skype.com/v1/objects/{chunk['documentId']}"
        locations = [chunk[key] for key in chunk if key.endswith("Location")]

        assert all(place.startswith("https://") for place in locations)
        assert all(here in f"{place}/" for place in locations)


@pytest.mark.parametrize("path", ANNOUNCING, ids=_name)
def test_metadata_agree_with_the_announcement(path: Path) -> None:
    """The metadata of a chunk name its index and the call of its event."""
    catalogue = {sample.document_id: sample for sample in CATALOGUE}
    for event in (event for event in _events(path) if _type(event) == RECORDING):
        for chunk in event["data"]["recordingStorageInfo"]["recordingChunks"]:
            metadata = _metadata(catalogue[chunk["documentId"]])

            assert metadata["chunkIndex"] == chunk["index"]
            assert f"/call/{metadata['callId']}/" in event["subject"]


def test_demo_begins_with_the_handshake() -> None:
    """The demo plays the subscription's validation before anything else."""
    (event,) = _events(_demo("01"))

    assert _type(event) == "Microsoft.EventGrid.SubscriptionValidationEvent"
    assert event["data"]["validationCode"]


def test_demo_has_one_recording_of_six_chunks() -> None:
    """Six MP4 chunks in one event add up to the recording and end its session."""
    (event,) = _events(_demo("02"))
    chunks = _chunks(_demo("02"))
    catalogue = {sample.document_id: sample for sample in CATALOGUE}
    metadata = [_metadata(catalogue[chunk["documentId"]]) for chunk in chunks]

    assert [chunk["index"] for chunk in chunks] == [0, 1, 2, 3, 4, 5]
    assert chunks[-1]["endReason"] == "SessionEnded"
    assert len({catalogue[doc].content for doc in _documents(_demo("02"))}) == 6
    assert event["data"]["recordingDurationMs"] == sum(
        m["chunkDuration"] for m in metadata
    )
    assert event["data"]["recordingFormatType"] == "Mp4"


def test_demo_batch_announces_one_recording_twice_out_of_order() -> None:
    """The batch holds three recordings, one of them in two events, the later chunk first."""
    events = _events(_demo("05"))
    subjects = [event["subject"] for event in events]
    twice = [chunk["index"] for chunk in _chunks(_demo("05"))][0:3:2]

    assert len(events) == 4
    assert len(set(subjects)) == 3
    assert subjects[0] == subjects[2]
    assert twice == [1, 0]


def test_demo_ends_with_a_duplicate() -> None:
    """The last event of the demo is the six-chunk event again."""
    assert _demo("06").read_bytes() == _demo("02").read_bytes()


def test_demo_documents_are_distinct_but_for_the_duplicate() -> None:
    """No two recordings of the demo share a document."""
    documents = [
        doc
        for path in sorted(events_dir().glob("demo/0[2-5]-*"))
        for doc in _documents(path)
    ]

    assert len(documents) == len(set(documents)) == 12


def test_four_subject_forms_differ_in_their_keys() -> None:
    """The four forms of the subject that were seen in the wild are all there."""
    path = events_dir() / "four-subject-forms.event-grid.json"
    keys = {tuple(event["subject"].split("/")[2::2]) for event in _events(path)}

    assert keys == {
        ("call", "recordingId"),
        ("call", "serverCallId", "recordingId"),
        ("call", "serverCallId"),
        ("call", "callConnectionId"),
    }


def test_old_event_has_no_delete_location_and_no_formats() -> None:
    """The event of 2021 has exactly the fields of then."""
    path = events_dir() / "old-2021.event-grid.json"
    (event,) = _events(path)

    assert "deleteLocation" not in _chunks(path)[0]
    assert event["data"].keys() == {
        "recordingStorageInfo",
        "recordingStartTime",
        "recordingDurationMs",
        "sessionEndReason",
    }


def test_gap_leaves_an_index_out() -> None:
    """The recording with a gap announces its first and its last chunk only."""
    chunks = _chunks(events_dir() / "gap.event-grid.json")

    assert [chunk["index"] for chunk in chunks] == [0, 2]


@pytest.mark.parametrize(
    ("file_name", "hosts"),
    [
        ("own-storage.event-grid.json", ["blob.core.windows.net"]),
        ("byos-exported.cloud-event.json", ["blob.core.windows.net"]),
        ("byos-failed-export.event-grid.json", ["asm.skype.com"]),
        ("byos-mixed.event-grid.json", ["blob.core.windows.net", "asm.skype.com"]),
    ],
)
def test_own_storage_is_said_whether_the_export_failed_or_not(
    file_name: str, hosts: list[str]
) -> None:
    """Each such event says AzureBlob; where its chunks lie tells how the export ended."""
    path = events_dir() / file_name
    (event,) = _events(path)

    assert event["data"]["storageType"] == "AzureBlob"
    assert event["data"]["recordingId"] in event["subject"]
    found = [
        urlsplit(c["contentLocation"]).netloc.partition(".")[2] for c in _chunks(path)
    ]
    assert found == hosts


def test_batch_with_a_malformed_event_has_good_ones_around_it() -> None:
    """Only the middle event of the batch is malformed."""
    path = events_dir() / "malformed" / "one-in-a-good-batch.event-grid.json"
    chunks = [
        event["data"]["recordingStorageInfo"]["recordingChunks"]
        for event in _events(path)
    ]

    assert [type(chunk) for chunk in chunks] == [list, dict, list]


@pytest.mark.parametrize(
    ("file_name", "start"),
    [
        ("plain-http", "http://storage.asm.skype.com/"),
        ("foreign-host", "https://storage.asm.skype.com.evil.example/"),
        ("userinfo-host", "https://storage.asm.skype.com@evil.example/"),
    ],
)
def test_hostile_locations_point_elsewhere(file_name: str, start: str) -> None:
    """Each hostile sample names the host that must never be asked."""
    (chunk,) = _chunks(events_dir() / "hostile" / f"{file_name}.event-grid.json")

    assert chunk["contentLocation"].startswith(start)
    assert chunk["deleteLocation"].startswith(start)


def test_hostile_delete_names_a_document_that_exists() -> None:
    """The delete that must not happen would remove a document that is served."""
    path = events_dir() / "hostile" / "delete-of-another-document.event-grid.json"
    (chunk,) = _chunks(path)
    victim = chunk["deleteLocation"].split("/")[5]

    assert victim != chunk["documentId"]
    assert {victim, chunk["documentId"]} <= {s.document_id for s in CATALOGUE}


def test_media_stay_small() -> None:
    """All media and their metadata together stay under a megabyte."""
    total = sum(path.stat().st_size for path in media_dir().iterdir())

    assert total < MEDIA_BUDGET_BYTES


@pytest.mark.parametrize("sample", CATALOGUE, ids=_name)
def test_metadata_belong_to_their_document(sample: SampleObject) -> None:
    """Each document has metadata of its own, in its own name and its content's format."""
    metadata = _metadata(sample)

    assert metadata["chunkDocumentId"] == sample.document_id
    assert metadata["recordingInfo"]["format"] == sample.content.suffix[1:]
    assert metadata["participants"]


def test_metadata_come_in_every_shape_of_the_real_files() -> None:
    """CRLF, swapped types with whole durations, channels, and pauses all occur."""
    raw = [sample.metadata.read_bytes() for sample in CATALOGUE]
    parsed = [_metadata(sample) for sample in CATALOGUE]
    types = {m["recordingInfo"]["contentType"] for m in parsed}

    assert any(b"\r\n" in body for body in raw)
    assert {"mixed", "audioVideo", "audio"} <= types
    assert {type(m["chunkDuration"]) for m in parsed} == {int, float}
    assert any("channel" in p for m in parsed for p in m["participants"])
    assert any(m["pauseResumeIntervals"] for m in parsed)
    assert b'"framerate"' in raw[0]


@pytest.mark.parametrize(
    "path", sorted(media_dir().glob("*.mp4")), ids=lambda p: p.name
)
def test_mp4_boxes_fill_the_file(path: Path) -> None:
    """The boxes of each MP4 add up to its size, with one moov and one mdat."""
    boxes = _boxes(path.read_bytes())
    names = [name for name, _ in boxes]

    assert names[0] == b"ftyp"
    assert names.count(b"moov") == names.count(b"mdat") == 1
    assert sum(size for _, size in boxes) == path.stat().st_size


def test_mp4_parts_differ() -> None:
    """The six parts are six different films."""
    hashes = {
        hashlib.sha256(path.read_bytes()).digest()
        for path in media_dir().glob("part-*.mp4")
    }

    assert len(hashes) == 6


def test_mp4_parts_have_their_index_before_and_behind_the_media() -> None:
    """Both layouts of an MP4 occur: moov in front of mdat, and behind."""
    orders = {
        tuple(name for name, _ in _boxes(path.read_bytes()) if name != b"free")
        for path in media_dir().glob("*.mp4")
    }

    assert orders == {(b"ftyp", b"moov", b"mdat"), (b"ftyp", b"mdat", b"moov")}


@pytest.mark.parametrize(
    "sample", [s for s in CATALOGUE if s.content.suffix == ".mp4"], ids=_name
)
def test_metadata_duration_is_that_of_the_mp4(sample: SampleObject) -> None:
    """The duration in the metadata is what the MP4's own header says."""
    data = sample.content.read_bytes()
    at = data.index(b"mvhd") + 4 + 4 + 8
    timescale, duration = struct.unpack_from(">II", data, at)

    assert _metadata(sample)["chunkDuration"] == duration * 1000 / timescale


@pytest.mark.parametrize(
    "sample", [s for s in CATALOGUE if s.content.suffix == ".wav"], ids=_name
)
def test_wav_is_unmixed_as_its_metadata_say(sample: SampleObject) -> None:
    """16 kHz, 16 bit, a channel per participant, as long as the metadata say."""
    metadata = _metadata(sample)
    with wave.open(str(sample.content), "rb") as wav:
        seconds = wav.getnframes() / wav.getframerate()

        assert (wav.getframerate(), wav.getsampwidth()) == (16000, 2)
        assert wav.getnchannels() == len(metadata["participants"]) == 2
        assert metadata["chunkDuration"] == seconds * 1000


@pytest.mark.parametrize(
    "sample", [s for s in CATALOGUE if s.content.suffix == ".mp3"], ids=_name
)
def test_mp3_is_as_long_as_its_metadata_say(sample: SampleObject) -> None:
    """At 48 kbit/s the file's size gives the duration of the metadata, within a few frames."""
    seconds = sample.content.stat().st_size * 8 / 48_000

    assert seconds == pytest.approx(_metadata(sample)["chunkDuration"] / 1000, abs=0.2)
