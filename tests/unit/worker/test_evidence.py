"""What raises a flag: such a chunk is archived, but never deleted at its source."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import media
from tests.factories import SOURCE, a_chunk, an_announcement
from tests.fakes.archive import MemoryArchive
from tests.fakes.source import ScriptedSource
from tests.proofs import a_proof
from worker import deadline, evidence
from worker.errors import ArchiveUnavailableError
from worker.evidence import MetadataFacts
from worker.model import Chunk

DOCUMENT = a_chunk().document_id
FACTS = MetadataFacts(readable=True, document_id=DOCUMENT)
REAL: dict[str, Any] = {
    "chunkDocumentId": DOCUMENT,
    "chunkIndex": 0,
    "chunkStartTime": "2026-02-03T09:15:50.1089757Z",
    "chunkDuration": 3500.0,
    "recordingInfo": {
        "format": "mp4",
        "audioConfiguration": {"sampleRate": 16000, "channels": 2},
    },
}
LAST = datetime.max.replace(tzinfo=UTC)


def facts_of(**changes: Any) -> MetadataFacts:
    """The facts of a real metadata file with some fields replaced."""
    return evidence.metadata_facts(json.dumps(REAL | changes).encode())


def test_real_metadata_is_read() -> None:
    """Seven digits of a second and a duration with a point are as the service writes them."""
    start = datetime(2026, 2, 3, 9, 15, 50, 108975, tzinfo=UTC)

    facts = facts_of()

    assert facts == MetadataFacts(
        readable=True,
        document_id=DOCUMENT,
        chunk_start=start,
        duration_ms=3500.0,
        channels=2,
    )
    assert facts.chunk_end == start + timedelta(seconds=3.5)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"3",
        b"\xff\xfe\xfd",
        b"<html>",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
    ],
    ids=lambda data: repr(data[:8]),
)
def test_what_is_no_object_is_unreadable(data: bytes) -> None:
    """The metadata is archived as it came, and says nothing to us."""
    assert evidence.metadata_facts(data) == MetadataFacts(readable=False)


def test_metadata_with_a_byte_order_mark_is_read() -> None:
    """Tools of the ecosystem write one."""
    data = json.dumps(REAL).encode("utf-8-sig")

    assert evidence.metadata_facts(data).document_id == DOCUMENT


def test_metadata_that_says_nothing_is_readable() -> None:
    """Every field is optional."""
    facts = evidence.metadata_facts(b"{}")

    assert facts == MetadataFacts(readable=True)
    assert facts.chunk_end is None


ODD: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["audioConfiguration", "channels", "x"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


@given(st.binary(max_size=40))
def test_any_bytes_give_facts(data: bytes) -> None:
    """Nothing that a source sends as metadata fails the attempt."""
    assert isinstance(evidence.metadata_facts(data), MetadataFacts)


@given(
    st.dictionaries(st.sampled_from(sorted(REAL)), ODD, max_size=5),
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
)
@example({"chunkDuration": 3500}, LAST.isoformat())
@example({"chunkDuration": 10**400}, "0001-01-01T00:00:00+14:00")
@example({"chunkDuration": 86_400_000}, "9999-12-31T23:59:59-14:00")
def test_any_fields_give_facts_that_can_be_reckoned_with(
    fields: dict[str, Any], start: str
) -> None:
    """No time or duration overflows what is made of it."""
    facts = (
        facts_of(chunkStartTime=start, **fields)
        if ("chunkStartTime" not in fields)
        else facts_of(**fields)
    )

    arrival = datetime(2026, 3, 1, tzinfo=UTC)
    expires = deadline.tightened(
        arrival + timedelta(hours=24),
        chunk_end=facts.chunk_end,
        retention=timedelta(hours=24),
        received_at=arrival,
    )

    assert facts.readable
    assert arrival <= expires <= arrival + timedelta(hours=24)
    assert facts.channels is None or facts.channels > 0


@pytest.mark.parametrize(
    ("said", "duration_ms"),
    [
        (19320, 19320.0),
        (9220.0, 9220.0),
        (0, 0.0),
        (86_400_000, 86_400_000.0),
        (86_400_001, None),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
        (True, None),
        ("19320", None),
        (None, None),
    ],
)
def test_duration_is_a_number_of_milliseconds_within_a_day(
    said: object, duration_ms: float | None
) -> None:
    """It was an int once and is a float now; nonsense is as good as nothing."""
    assert facts_of(chunkDuration=said).duration_ms == duration_ms


@pytest.mark.parametrize(
    "said", [None, 5, "", "yesterday", "2026-02-03T09:15:50", "2026-13-01T00:00:00Z"]
)
def test_start_without_a_zone_or_sense_is_none(said: object) -> None:
    """A time that could be any time tightens no deadline."""
    facts = facts_of(chunkStartTime=said)

    assert facts.chunk_start is None
    assert facts.chunk_end is None


def test_start_is_told_in_utc() -> None:
    """Whatever zone it was written in, the deadline made of it is printed as UTC."""
    facts = facts_of(chunkStartTime="2026-02-03T14:15:50+05:00")

    assert facts.chunk_start == datetime(2026, 2, 3, 9, 15, 50, tzinfo=UTC)
    assert facts.chunk_start.tzinfo is UTC


def test_end_counts_pauses() -> None:
    """Whether the duration counts them is not known; the later end gives nothing up."""
    facts = facts_of(
        chunkStartTime="2026-02-03T09:00:00Z",
        chunkDuration=60_000,
        pauseResumeIntervals=[{"duration": 30_000}, {"duration": "x"}, 7],
    )

    assert facts.chunk_end == datetime(2026, 2, 3, 9, 1, 30, tzinfo=UTC)


def test_end_beyond_the_calendar_is_none() -> None:
    """A start in the last second there is has no end."""
    start = "9999-12-31T23:59:59Z"

    assert facts_of(chunkStartTime=start).chunk_end is None
    assert facts_of(chunkStartTime=start, chunkDuration=None).chunk_end is None


@pytest.mark.parametrize(
    ("info", "channels"),
    [
        ({"audioConfiguration": {"channels": 5}}, 5),
        ({"audioConfiguration": {"channels": 0}}, None),
        ({"audioConfiguration": {"channels": -1}}, None),
        ({"audioConfiguration": {"channels": "2"}}, None),
        ({"audioConfiguration": {"channels": 2.0}}, None),
        ({"audioConfiguration": [1]}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_channels_are_a_positive_number(info: object, channels: int | None) -> None:
    """They say how large a WAV must be."""
    assert facts_of(recordingInfo=info).channels == channels


def test_chunk_of_one_document_raises_no_flag() -> None:
    """Content, metadata and what the metadata says agree."""
    assert evidence.identity_flags(a_chunk(), FACTS) == []


OTHER = f"{SOURCE}/v1/objects/0-other/content"
OF_DOCUMENT = f"{SOURCE}/v1/objects/{DOCUMENT}"


@pytest.mark.parametrize(
    ("chunk", "facts", "flags"),
    [
        (
            a_chunk(document_id=""),
            replace(FACTS, document_id=""),
            ["document-id-missing"],
        ),
        (a_chunk(content_location=OTHER), FACTS, ["content-not-of-document"]),
        (a_chunk(metadata_location=OTHER), FACTS, ["metadata-not-of-document"]),
        (
            a_chunk(content_location=f"{OF_DOCUMENT}/content/acsmetadata"),
            FACTS,
            ["content-of-unknown-form"],
        ),
        (
            a_chunk(metadata_location=f"{OF_DOCUMENT}/content/video"),
            FACTS,
            ["metadata-of-unknown-form"],
        ),
        (
            a_chunk(metadata_location=None),
            None,
            ["metadata-not-announced", "metadata-missing"],
        ),
        (a_chunk(), None, ["metadata-missing"]),
        (a_chunk(), MetadataFacts(readable=False), ["metadata-unreadable"]),
        (
            a_chunk(),
            replace(FACTS, document_id="0-other"),
            ["metadata-names-another-document"],
        ),
        (
            a_chunk(),
            replace(FACTS, document_id=None),
            ["metadata-names-another-document"],
        ),
        (
            a_chunk(content_location=OTHER, metadata_location=OTHER),
            replace(FACTS, document_id="0-other"),
            [
                "content-not-of-document",
                "metadata-not-of-document",
                "metadata-names-another-document",
            ],
        ),
    ],
)
def test_what_is_not_of_one_document_is_flagged(
    chunk: Chunk, facts: MetadataFacts | None, flags: list[str]
) -> None:
    """Each disagreement by its own name."""
    assert evidence.identity_flags(chunk, facts) == flags


@pytest.mark.parametrize(
    ("location", "flags"),
    [
        (None, []),
        (f"{SOURCE}/v1/objects/{DOCUMENT}", []),
        (f"{OF_DOCUMENT}/content/deletedata", []),
        (f"{OF_DOCUMENT}/content/video", ["delete-location-of-unknown-form"]),
        (f"{OF_DOCUMENT}?recursive=true", ["delete-location-of-unknown-form"]),
        (f"{SOURCE}/v1/objects/0-other", ["delete-location-not-of-document"]),
        (f"https://evil.example/v1/objects/{DOCUMENT}", ["delete-host-not-allowed"]),
        (
            "https://evil.example/v1/objects/0-other",
            ["delete-location-not-of-document", "delete-host-not-allowed"],
        ),
        ("", ["delete-location-not-of-document", "delete-host-not-allowed"]),
    ],
)
def test_delete_location_is_of_the_document_and_on_the_allow_list(
    location: str | None, flags: list[str]
) -> None:
    """A chunk without one has nothing to be deleted, and nothing to be flagged."""
    chunk = a_chunk(delete_location=location)

    assert evidence.delete_flags(chunk, ScriptedSource()) == flags


async def structure(
    data: bytes, *, format_type: str | None, facts: MetadataFacts | None = FACTS
) -> tuple[str, list[str]]:
    """What is found in a chunk of this content."""
    archive = MemoryArchive()
    name = "recordings/content"
    await archive.create(name, data)
    content = replace(a_proof("d").content, name=name, size_bytes=len(data))
    chunk = a_chunk(announcement=an_announcement(format_type=format_type))
    return await evidence.structure_flags(archive, content, chunk=chunk, metadata=facts)


@pytest.mark.parametrize(
    ("format_type", "data"),
    [
        ("Mp4", media.mp4()),
        ("Mp3", media.mp3()),
        ("Wav", media.wav()),
        (None, media.mp4()),
        ("later", media.wav()),
    ],
)
@pytest.mark.parametrize("facts", [None, MetadataFacts(readable=False), FACTS])
async def test_whole_media_raise_no_flag(
    format_type: str | None, data: bytes, facts: MetadataFacts | None
) -> None:
    """Also where the metadata has no duration to compare the size with."""
    detail, flags = await structure(data, format_type=format_type, facts=facts)

    assert flags == []
    kind = (format_type or "mp4").casefold().replace("later", "wav")
    assert detail.startswith(f"{kind}: ")
    assert ";" not in detail


@pytest.mark.parametrize(
    ("format_type", "data"),
    [
        ("Mp4", media.mp4()[:-1]),
        ("Mp4", media.wav()),
        ("Wav", media.wav()[:-1]),
        ("Mp3", bytes(5000)),
        (None, b"<html>"),
        ("Mp4", b""),
    ],
)
async def test_broken_media_are_flagged(format_type: str | None, data: bytes) -> None:
    """What is cut, or of another format than announced, is kept at the source."""
    detail, flags = await structure(data, format_type=format_type)

    assert flags == ["structure"]
    assert ": " in detail


async def test_size_that_the_duration_denies_is_flagged() -> None:
    """A tenth of a second of sound is not the hour that the metadata tells of."""
    facts = replace(FACTS, duration_ms=3_600_000.0, channels=1)

    detail, flags = await structure(media.wav(), format_type="Wav", facts=facts)

    assert flags == ["implausible-size"]
    assert "; 3244 bytes for 3600000 ms" in detail


async def test_channels_of_the_metadata_count_for_the_size() -> None:
    """Five channels take five times the room."""
    wav = media.wav(frames=16_000 * 60, channels=5)
    facts = replace(FACTS, duration_ms=60_000.0, channels=5)

    _, right = await structure(wav, format_type="Wav", facts=facts)
    _, wrong = await structure(wav, format_type="Wav", facts=replace(facts, channels=1))

    assert right == []
    assert wrong == ["implausible-size"]


async def test_broken_and_implausible_are_two_flags() -> None:
    """Both are told."""
    facts = replace(FACTS, duration_ms=3_600_000.0, channels=1)

    _, flags = await structure(b"RIFF", format_type="Wav", facts=facts)

    assert flags == ["structure", "implausible-size"]


async def test_trouble_of_the_archive_is_no_flag() -> None:
    """What can't be read now is tried again, not condemned."""
    archive = MemoryArchive()
    archive.fail_next(ArchiveUnavailableError(), on="read_range")
    content = replace(a_proof("d").content, size_bytes=1000)

    with pytest.raises(ArchiveUnavailableError):
        await evidence.structure_flags(
            archive, content, chunk=a_chunk(), metadata=FACTS
        )
