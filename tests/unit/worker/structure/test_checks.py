"""Which check fits, and which sizes are plausible."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import __file__ as samples_init
from tests.media import id3v2, mp3, mp4, reader, rf64, wav
from worker.structure.checks import check_structure, kind_from_magic, plausible

MEDIA = Path(samples_init).parent / "media"
FILES = {"mp4": mp4(), "wav": wav(), "mp3": mp3()}


@pytest.mark.parametrize("announced", ["Mp4", "mp4", "MP4", None, "", "Ogg"])
async def test_format_is_announced_or_recognised(announced: str | None) -> None:
    """Case doesn't matter, and an unknown announcement is as good as none."""
    data = mp4()

    report = await check_structure(reader(data), len(data), format_type=announced)

    assert (report.ok, report.kind) == (True, "mp4")


@pytest.mark.parametrize("announced", FILES)
@pytest.mark.parametrize("actual", FILES)
async def test_file_of_another_format_than_announced_is_refused(
    announced: str, actual: str
) -> None:
    """The announced format is what the file must be."""
    data = FILES[actual]

    report = await check_structure(reader(data), len(data), format_type=announced)

    assert report.ok == (announced == actual)
    assert report.kind == announced


@pytest.mark.parametrize("data", [b"", b"OggS", b"<html>", bytes(100)])
async def test_unknown_format_is_not_ok(data: bytes) -> None:
    """What nobody can check is reported as such."""
    report = await check_structure(reader(data), len(data), format_type=None)

    assert (report.ok, report.kind) == (False, "unknown")
    assert report.detail == "unknown format"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (mp4(), "mp4"),
        (b"\0\0\0\x08styp", "mp4"),
        (wav(), "wav"),
        (rf64(), "wav"),
        (rf64(form=b"BW64"), "wav"),
        (mp3(), "mp3"),
        (id3v2(5), "mp3"),
        (b"RIFF\0\0\0\0AVI ", "unknown"),
        (b"", "unknown"),
    ],
)
def test_first_bytes_tell_the_format(data: bytes, kind: str) -> None:
    """The magic numbers of each format are known."""
    assert kind_from_magic(data[:12]) == kind


@given(
    data=st.binary(max_size=300),
    format_type=st.sampled_from([None, "mp4", "wav", "mp3", "x"]),
)
async def test_any_bytes_get_a_report(data: bytes, format_type: str | None) -> None:
    """No bytes make the door raise."""
    report = await check_structure(reader(data), len(data), format_type=format_type)

    assert report.detail


def objects() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads((MEDIA / "objects.json").read_text())
    return found


@pytest.mark.parametrize("files", objects().values(), ids=objects())
async def test_sample_media_pass(files: dict[str, str]) -> None:
    """Every sample is whole, as long as its metadata says, and plausible in size."""
    data = (MEDIA / files["content"]).read_bytes()
    metadata = json.loads((MEDIA / files["metadata"]).read_text())
    info, duration_ms = metadata["recordingInfo"], metadata["chunkDuration"]

    report = await check_structure(reader(data), len(data), format_type=info["format"])
    fits, _ = plausible(
        len(data),
        duration_ms=duration_ms,
        format_type=info["format"],
        channels=info["audioConfiguration"]["channels"],
    )

    assert report.ok, report.detail
    assert report.duration_ms == pytest.approx(duration_ms, abs=100)
    assert fits


MINUTE = 60_000


@pytest.mark.parametrize(
    ("size", "duration_ms", "format_type", "channels", "expected"),
    [
        (1_920_000, MINUTE, "wav", 1, True),
        (9_600_044, MINUTE, "Wav", 5, True),
        (9_600_044, MINUTE, "wav", None, True),
        (9_600_044, MINUTE, "wav", 0, True),
        (9_600_044, MINUTE, "wav", 10**400, True),
        (9_600_044, MINUTE, "wav", 2, False),
        (1_730_000, MINUTE, "wav", 1, True),
        (1_720_000, MINUTE, "wav", 1, False),
        (2_110_000, MINUTE, "wav", 1, True),
        (2_120_000, MINUTE, "wav", 1, False),
        (1_000_000, MINUTE, "wav", None, False),
        (44, 1_900, "wav", 1, True),
        (44, 2_100, "wav", 1, False),
        (7_500_000, MINUTE, "mp4", None, True),
        (29_000_000, MINUTE, "mp4", None, True),
        (31_000_000, MINUTE, "mp4", None, False),
        (38_000, MINUTE, "mp4", None, True),
        (37_000, MINUTE, "mp4", None, False),
        (100, 10_000, "mp4", None, True),
        (4_000_000, 1, "mp4", None, True),
        (6_000_000, 1, "mp4", None, False),
        (360_000, MINUTE, "Mp3", 1, True),
        (1_450_000, MINUTE, "mp3", 1, False),
        (1_700, MINUTE, "mp3", 1, False),
        (1, MINUTE, "ogg", 1, True),
        (1, MINUTE, None, 1, True),
        (1, 0, "mp4", 1, True),
        (1, -5, "wav", 1, True),
        (1, float("nan"), "wav", 1, True),
        (1, float("inf"), "wav", 1, True),
        (1, 1e308, "wav", 1, False),
    ],
)
def test_only_absurd_sizes_are_implausible(
    size: int,
    duration_ms: float,
    format_type: str | None,
    channels: int | None,
    expected: bool,  # noqa: FBT001 - a case
) -> None:
    """Sizes are held against the documented rates, with room on both sides."""
    fits, why = plausible(
        size, duration_ms=duration_ms, format_type=format_type, channels=channels
    )

    assert fits == expected
    assert why


@given(
    size=st.integers(min_value=0, max_value=2**63),
    duration_ms=st.floats(),
    format_type=st.sampled_from(["mp4", "mp3", "wav", None]),
    channels=st.none() | st.integers(),
)
def test_any_numbers_get_a_verdict(
    size: int, duration_ms: float, format_type: str | None, channels: int | None
) -> None:
    """No metadata makes the comparison raise."""
    _, why = plausible(
        size, duration_ms=duration_ms, format_type=format_type, channels=channels
    )

    assert why
