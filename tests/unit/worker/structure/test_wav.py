"""What the WAV check accepts and refuses."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media import EXTENSIBLE, fmt, reader, rf64, riff, riff_chunk, wav
from worker.structure import wav as wav_module
from worker.structure.report import StructureReport
from worker.structure.wav import check_wav


async def check(data: bytes) -> StructureReport:
    return await check_wav(reader(data), len(data))


@pytest.mark.parametrize("channels", [1, 2, 5, 64])
async def test_whole_file_is_accepted(channels: int) -> None:
    """Any sane number of channels; the duration is that of the samples."""
    report = await check(wav(frames=8000, channels=channels))

    assert (report.ok, report.kind, report.duration_ms) == (True, "wav", 500)
    assert f"{channels} channels" in report.detail


@given(
    frames=st.integers(1, 100), channels=st.integers(1, 5), cut=st.integers(min_value=1)
)
async def test_cut_file_is_refused(frames: int, channels: int, cut: int) -> None:
    """A file is accepted whole, and refused however much of its end is missing."""
    data = wav(frames=frames, channels=channels)

    assert (await check(data)).ok
    assert not (await check(data[: -(cut % len(data) + 1)])).ok


@given(at=st.integers(min_value=0), new=st.binary(max_size=12), large=st.booleans())
async def test_changed_file_gets_a_report(at: int, new: bytes, large: bool) -> None:  # noqa: FBT001 - a case
    """Whatever bytes are changed, the check comes to an end and says something."""
    data = rf64() if large else wav()
    begin = at % 120

    report = await check(data[:begin] + new + data[begin + len(new) :])

    assert report.kind == "wav"
    assert report.detail


@given(st.binary(max_size=400))
async def test_any_bytes_get_a_report(data: bytes) -> None:
    """Random bytes are refused, never an exception."""
    assert not (await check(data)).ok
    await check(riff(data))
    await check(riff(fmt(), data))


@pytest.mark.parametrize("form", [b"RF64", b"BW64"])
async def test_large_forms_keep_lengths_in_ds64(form: bytes) -> None:
    """RF64 and BW64 are accepted with the lengths of their ds64, whole only."""
    data = rf64(form=form)

    report = await check(data)

    assert (report.ok, report.duration_ms) == (True, 100)
    assert not (await check(data[:-2])).ok
    assert not (await check(data + b"\0\0")).ok


@pytest.mark.parametrize(
    "format_chunk",
    [
        fmt(tag=EXTENSIBLE),
        fmt(tag=3, bits=32),
        fmt(tag=6, bits=8, rate=8000),
        fmt(tag=7, bits=8, rate=8000),
        fmt(bits=24),
        fmt(rate=48_000),
    ],
    ids=["extensible", "float", "A-law", "mu-law", "24 bits", "48 kHz"],
)
async def test_usual_formats_are_accepted(format_chunk: bytes) -> None:
    """The formats that recorders write are known."""
    assert (await check(riff(format_chunk, riff_chunk(b"data", bytes(96))))).ok


async def test_other_chunks_are_passed_over() -> None:
    """Chunks before, between and behind, odd ones too, are no reason to refuse."""
    data = riff_chunk(b"data", bytes(32))
    odd = riff_chunk(b"LIST", b"odd")

    assert (await check(riff(odd, fmt(), odd, data, odd))).ok
    assert (await check(riff(fmt(), fmt(channels=2), data))).ok


async def test_pad_byte_at_the_end_may_be_missing() -> None:
    """Samples of an odd length end the file with or without their pad byte."""
    padded = riff(fmt(bits=8), riff_chunk(b"data", bytes(5)))
    bare = bytearray(padded[:-1])
    bare[4:8] = struct.pack("<I", len(bare) - 8)

    assert (await check(padded)).ok
    assert (await check(bytes(bare))).ok
    assert (await check(bytes(bare) + b"\0")).ok
    assert not (await check(bytes(bare) + b"\0\0")).ok


SAMPLES = riff_chunk(b"data", bytes(32))
REFUSED = {
    "empty": (b"", "cut at byte 0"),
    "other file": (b"<!DOCTYPE html>", "no RIFF"),
    "other form": (b"RIFF\4\0\0\0AVI ", "no RIFF"),
    "longer than announced": (wav() + b"\0\0", "announced"),
    "a byte longer": (wav() + b"\0", "announced"),
    "into the pad": (
        riff(fmt(bits=8), struct.pack("<4sI6x", b"data", 6), length=4 + 24 + 8 + 5),
        "past",
    ),
    "open length": (riff(fmt(), SAMPLES, length=0xFFFFFFFF), "announced"),
    "no length": (riff(fmt(), SAMPLES, length=0), "announced"),
    "no fmt": (riff(riff_chunk(b"LIST", b"")), "no fmt"),
    "no data": (riff(fmt()), "no data"),
    "data first": (riff(SAMPLES, fmt()), "before fmt"),
    "data twice": (riff(fmt(), SAMPLES, SAMPLES), "data twice"),
    "no samples": (riff(fmt(), riff_chunk(b"data", b"")), "whole frames"),
    "half a sample": (riff(fmt(), riff_chunk(b"data", bytes(31))), "whole frames"),
    "half a frame": (riff(fmt(channels=2), riff_chunk(b"data", bytes(30))), "whole"),
    "data too long": (riff(fmt(), riff_chunk(b"data", b"", length=999)), "past"),
    "open data": (riff(fmt(), riff_chunk(b"data", b"", length=0xFFFFFFFF)), "past"),
    "short fmt": (riff(riff_chunk(b"fmt ", bytes(14)), SAMPLES), "too short"),
    "unknown tag": (riff(fmt(tag=0x55), SAMPLES), "neither PCM"),
    "short extensible": (
        riff(riff_chunk(b"fmt ", fmt(tag=EXTENSIBLE)[8:26]), SAMPLES),
        "neither PCM",
    ),
    "no channels": (riff(fmt(channels=0), SAMPLES), "0 channels"),
    "many channels": (riff(fmt(channels=65), SAMPLES), "65 channels"),
    "slow": (riff(fmt(rate=999), SAMPLES), "999 Hz"),
    "fast": (riff(fmt(rate=768_001), SAMPLES), "768001 Hz"),
    "no bits": (riff(fmt(bits=0), SAMPLES), "0 bits"),
    "cut chunk header": (riff(fmt(), SAMPLES, b"LI"), "cut at byte"),
    "ds64 missing": (riff(fmt(), SAMPLES, form=b"RF64"), "no ds64"),
    "ds64 short": (riff(riff_chunk(b"ds64", bytes(8)), form=b"RF64"), "no ds64"),
    "ds64 cut": (riff(riff_chunk(b"ds64", b"", length=28), form=b"RF64"), "cut at"),
}


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=REFUSED)
async def test_broken_file_is_refused_with_the_reason(data: bytes, why: str) -> None:
    """The report names what is wrong."""
    report = await check(data)

    assert not report.ok
    assert why in report.detail
    assert report.duration_ms is None


@pytest.mark.parametrize(
    ("offset", "why"), [(28, "bytes per second"), (32, "frames of")]
)
async def test_format_that_contradicts_itself_is_refused(offset: int, why: str) -> None:
    """Byte rate and frame size must follow from channels, rate and bits."""
    data = bytearray(wav())
    data[offset] += 1

    report = await check(bytes(data))

    assert not report.ok
    assert why in report.detail


async def test_number_of_chunks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of nothing but headers is given up."""
    monkeypatch.setattr(wav_module, "MAX_CHUNKS", 10)

    report = await check(riff(*[riff_chunk(b"junk", b"")] * 20))

    assert "more than 10 chunks" in report.detail


async def test_reader_that_gives_too_little_is_a_cut() -> None:
    """An object that is shorter than its size says is refused."""
    data = wav(frames=10)

    for short in range(44):
        assert not (await check_wav(reader(data[:short]), len(data))).ok
