"""What the MP3 check accepts and refuses."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media import (
    MPEG1_64K,
    MPEG2_48K,
    ape,
    id3v1,
    id3v2,
    mp3,
    mp3_frame,
    reader,
)
from worker.structure import mp3 as mp3_module
from worker.structure.mp3 import WINDOW_BYTES, Frame, check_mp3, frame_at
from worker.structure.report import StructureReport

LONG = 2000
"""Frames of a file that has a start, a middle and an end apart from each other."""


async def check(data: bytes) -> StructureReport:
    return await check_mp3(reader(data), len(data))


@pytest.mark.parametrize("header", [MPEG1_64K, MPEG2_48K])
@pytest.mark.parametrize("frames", [1, 2, 60, LONG])
async def test_whole_file_is_accepted(header: bytes, frames: int) -> None:
    """Frames from the first byte to the last; a constant rate gives the duration."""
    report = await check(mp3(frames=frames, header=header))

    length_ms = 1152 * 1000 / 44100 if header == MPEG1_64K else 36
    assert (report.ok, report.kind) == (True, "mp3")
    assert report.duration_ms == pytest.approx(frames * length_ms)


@pytest.mark.parametrize("frames", [3, LONG])
@pytest.mark.parametrize("cut", [1, 4, 100, 215])
async def test_cut_last_frame_is_refused(frames: int, cut: int) -> None:
    """The last frame must be there to its last byte."""
    report = await check(mp3(frames=frames)[:-cut])

    assert not report.ok


@pytest.mark.parametrize("extra", [1, 3, 4, 500])
async def test_junk_behind_the_last_frame_is_refused(extra: int) -> None:
    """What is neither frame nor tag does not belong there."""
    assert not (await check(mp3() + bytes(extra))).ok
    assert not (await check(mp3(frames=LONG) + bytes(extra))).ok


@pytest.mark.parametrize("frames", [60, LONG])
async def test_tags_are_passed_over(frames: int) -> None:
    """ID3v2 before the audio, APE and ID3v1 behind it, in all mixtures."""
    audio = mp3(frames=frames)
    for before in (b"", id3v2(300), id3v2(20, flags=0x10), id3v2(5) + id3v2(0)):
        for behind in (b"", id3v1(), ape(), ape(header=False), ape() + id3v1()):
            report = await check(before + audio + behind)
            assert report.ok, report.detail
            assert report.duration_ms == pytest.approx(frames * 36)


@pytest.mark.parametrize("header", [MPEG1_64K, MPEG2_48K])
@pytest.mark.parametrize("name", [b"Xing", b"Info"])
@pytest.mark.parametrize("mono", [True, False])
async def test_frame_count_of_a_xing_tag_gives_the_duration(
    header: bytes,
    name: bytes,
    mono: bool,  # noqa: FBT001 - a case
) -> None:
    """The tag lies behind the side information, whose size depends on the stream."""
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}
    spec = header[:3] + (b"\xc0" if mono else b"\x00")
    tag = bytes(side[header == MPEG1_64K, mono]) + name + struct.pack(">II", 1, 1000)
    length = 208 if header == MPEG1_64K else 216

    report = await check((spec + tag).ljust(length, b"\0") + mp3(header=header))

    each = 1152 * 1000 / 44100 if header == MPEG1_64K else 36
    assert report.duration_ms == pytest.approx(1000 * each)


async def test_frame_count_of_a_vbri_tag_gives_the_duration() -> None:
    """The other encoders' tag is known too."""
    tag = bytes(32) + b"VBRI" + bytes(10) + struct.pack(">I", 500)

    report = await check(mp3_frame(payload=tag) + mp3())

    assert report.duration_ms == 500 * 36


async def test_xing_tag_without_a_count_is_no_duration() -> None:
    """A tag that doesn't say how many frames there are leaves it to the bit rate."""
    first = mp3_frame(payload=bytes(9) + b"Xing" + struct.pack(">II", 0, 9999))

    report = await check(first + mp3(frames=59))

    assert report.duration_ms == pytest.approx(60 * 36)


@pytest.mark.parametrize("place", [0.001, 0.51, 0.999])
async def test_hole_in_a_sampled_window_is_refused(place: float) -> None:
    """A stretch of zeros at the start, in the middle or at the end is noticed."""
    data = bytearray(mp3(frames=LONG))
    begin = int(len(data) * place)
    data[begin : begin + 40_000] = bytes(len(data[begin : begin + 40_000]))

    assert not (await check(bytes(data))).ok


async def test_stream_that_changes_its_nature_is_refused() -> None:
    """Frames of another version or rate don't continue the first ones."""
    report = await check(mp3(frames=30) + mp3(frames=30, header=MPEG1_64K))

    assert not report.ok
    assert f"no frame at byte {30 * 216}" in report.detail


REFUSED = {
    "empty": (b"", "no frame at byte 0"),
    "page": (b"<!DOCTYPE html><html></html>", "no frame at byte 0"),
    "tag only": (id3v2(100), "reaches past"),
    "cut tag": (id3v2(100)[:50], "reaches past"),
    "insane tag": (b"ID3\4\0\0\xff\xff\xff\xff" + mp3(), "sane length"),
    "insane ape": (mp3(frames=1) + ape()[-32:-20] + b"\xff" * 20, "sane length"),
    "nothing but tags": (id3v2(10) + id3v1(), "no frame at byte 20"),
    "many tags": (id3v2(0) * 9 + mp3(), "no frame at byte 80"),
    "one cut frame": (mp3(frames=1)[:-1], "cut"),
}


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=REFUSED)
async def test_broken_file_is_refused_with_the_reason(data: bytes, why: str) -> None:
    """The report names what is wrong."""
    report = await check(data)

    assert not report.ok
    assert why in report.detail
    assert report.duration_ms is None


@pytest.mark.parametrize(
    "header",
    [
        b"\xff\xfb\x50",
        b"\xfe\xfb\x50\xc0",
        b"\xff\x1b\x50\xc0",
        b"\xff\xeb\x50\xc0",
        b"\xff\xfd\x50\xc0",
        b"\xff\xff\x50\xc0",
        b"\xff\xfb\x00\xc0",
        b"\xff\xfb\xf0\xc0",
        b"\xff\xfb\x5c\xc0",
    ],
    ids=[
        *("short", "no sync", "half a sync", "reserved version", "layer II", "layer I"),
        *("free format", "bad bit rate", "bad sample rate"),
    ],
)
def test_what_is_no_frame_header_is_none(header: bytes) -> None:
    """Only layer III with a known rate is a frame."""
    assert frame_at(header, 0) is None


@pytest.mark.parametrize(
    ("header", "rate", "length"),
    [
        (MPEG1_64K, 44100, 208),
        (b"\xff\xfb\x52\xc0", 44100, 209),
        (MPEG2_48K, 16000, 216),
        (b"\xff\xe3\x68\xc0", 8000, 432),
        (b"\xff\xfb\xe8\x00", 32000, 1440),
    ],
)
def test_frame_header_gives_the_frame(header: bytes, rate: int, length: int) -> None:
    """Lengths follow from version, bit rate, sample rate and padding."""
    frame = frame_at(b"." + header, 1)

    assert frame is not None
    assert (frame.rate_hz, frame.length) == (rate, length)


@given(st.binary(max_size=600))
async def test_any_bytes_get_a_report(data: bytes) -> None:
    """Random bytes get a report, never an exception."""
    assert (await check(data)).kind == "mp3"
    assert (await check(b"ID3" + data)).kind == "mp3"
    assert (await check(mp3_frame() + data)).kind == "mp3"
    assert (await check(mp3_frame() + data + ape()[-32:] + data)).kind == "mp3"


@given(at=st.integers(min_value=0), new=st.binary(max_size=300))
async def test_changed_file_gets_a_report(at: int, new: bytes) -> None:
    """Whatever bytes are changed, the check comes to an end and says something."""
    data = id3v2(30) + mp3() + ape() + id3v1()
    begin = at % len(data)

    report = await check(data[:begin] + new + data[begin + len(new) :])

    assert report.detail


async def test_no_bytes_make_the_search_for_frames_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Headers wherever one looks, with runs that all come to nothing, are read about once."""
    parsed = 0

    def counted(data: bytes, offset: int) -> Frame | None:
        nonlocal parsed
        parsed += 1
        return frame_at(data, offset)

    monkeypatch.setattr(mp3_module, "frame_at", counted)
    tiny = b"\xff\xf3\x14\xc0"  # 8 kbit/s at 24 kHz: 24 bytes, here at every 4th byte
    data = tiny * 10_000 + bytes(200) + tiny * 7_000 + bytes(200)

    report = await check(data)

    assert not report.ok
    assert "no frames behind byte" in report.detail
    assert parsed < WINDOW_BYTES
