"""What the MP4 check accepts and refuses."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media import box, fragmented_mp4, ftyp, moov, mp4, mvhd, reader, trak
from worker.structure import mp4 as mp4_module
from worker.structure.mp4 import check_mp4
from worker.structure.report import StructureReport


async def check(data: bytes) -> StructureReport:
    return await check_mp4(reader(data), len(data))


@pytest.mark.parametrize("fast_start", [False, True])
async def test_whole_file_is_accepted(fast_start: bool) -> None:  # noqa: FBT001 - a case
    """Headers may come before the media or behind it."""
    report = await check(mp4(fast_start=fast_start))

    assert (report.ok, report.kind, report.duration_ms) == (True, "mp4", 4000)
    assert "2 tracks" in report.detail


@given(
    media=st.binary(min_size=2, max_size=300),
    fast_start=st.booleans(),
    cut=st.integers(min_value=1),
)
async def test_cut_file_is_refused(media: bytes, fast_start: bool, cut: int) -> None:  # noqa: FBT001 - a case
    """A file is accepted whole, and refused however much of its end is missing."""
    data = mp4(media=media, fast_start=fast_start)

    assert (await check(data)).ok
    assert not (await check(data[: -(cut % len(data) + 1)])).ok


@given(
    fast_start=st.booleans(), at=st.integers(min_value=0), new=st.binary(max_size=12)
)
async def test_changed_file_gets_a_report(
    fast_start: bool,  # noqa: FBT001 - a case
    at: int,
    new: bytes,
) -> None:
    """Whatever bytes are changed, the check comes to an end and says something."""
    data = mp4(fast_start=fast_start)
    begin = at % len(data)

    report = await check(data[:begin] + new + data[begin + len(new) :])

    assert report.kind == "mp4"
    assert report.detail


@given(st.binary(max_size=400))
async def test_any_bytes_get_a_report(data: bytes) -> None:
    """Random bytes are refused, never an exception."""
    assert not (await check(data)).ok
    await check(ftyp() + data)
    await check(ftyp() + moov(data) + box(b"mdat"))


async def test_large_sizes_are_read() -> None:
    """Boxes with lengths and offsets of 64 bits are understood."""
    begin = len(ftyp()) + 16
    data = ftyp() + box(b"mdat", bytes(99), large=True)
    data += moov(mvhd(version=1, duration=2**33), trak(begin, large=True))

    report = await check(data)

    assert report.ok
    assert report.duration_ms == 2**33


async def test_media_may_reach_to_the_end_of_the_file() -> None:
    """A last box of size 0 ends with the file."""
    movie = moov(mvhd(), trak(0))
    movie = moov(mvhd(), trak(len(ftyp()) + len(movie) + 8))
    open_end = struct.pack(">I4s", 0, b"mdat") + bytes(100)

    assert (await check(ftyp() + movie + open_end)).ok
    assert not (await check(ftyp() + open_end + movie)).ok


@pytest.mark.parametrize("leading", [b"styp", b"free", b"skip", b"wide", b"uuid"])
async def test_harmless_boxes_may_come_before_ftyp(leading: bytes) -> None:
    """Only headers and media need an ftyp before them."""
    begin = 16 + len(ftyp()) + 8
    data = box(leading, bytes(8)) + ftyp() + box(b"mdat", bytes(50))

    assert (await check(data + moov(mvhd(), trak(begin)))).ok


@pytest.mark.parametrize("kind", [b"\xa9xyz", b"    "])
async def test_unknown_boxes_are_passed_over(kind: bytes) -> None:
    """A box of a type that nobody told us about is no reason to refuse."""
    assert (await check(mp4() + box(kind, bytes(5)))).ok


@pytest.mark.parametrize(
    ("duration", "version"), [(0, 0), (2**32 - 1, 0), (2**64 - 1, 1)]
)
async def test_unsaid_duration_is_none(duration: int, version: int) -> None:
    """Zero and all ones mean that the duration is not said."""
    head = ftyp() + box(b"mdat", bytes(50))
    movie = moov(mvhd(duration=duration, version=version), trak(len(ftyp()) + 8))

    report = await check(head + movie)

    assert (report.ok, report.duration_ms) == (True, None)


async def test_fragmented_file_is_accepted() -> None:
    """Fragments behind an empty movie are a whole file."""
    report = await check(fragmented_mp4(3))

    assert report.ok
    assert "3 fragments" in report.detail


@pytest.mark.parametrize("cut", [1, 99, 108, 109, 124])
async def test_fragmented_file_cut_inside_its_last_fragment_is_refused(
    cut: int,
) -> None:
    """A fragment without all of its media is noticed."""
    assert not (await check(fragmented_mp4(3)[:-cut])).ok


MEDIA = box(b"mdat", bytes(100))
BEGIN = len(ftyp()) + 8
MOVIE = moov(mvhd(), trak(BEGIN))
REFUSED = {
    "empty": (b"", "no moov"),
    "no ftyp": (MEDIA + MOVIE, "without ftyp"),
    "no moov": (ftyp() + MEDIA, "no moov"),
    "no mdat": (ftyp() + MOVIE, "no mdat"),
    "two moov": (ftyp() + MEDIA + MOVIE + MOVIE, "second moov"),
    "no mvhd": (ftyp() + MEDIA + moov(trak(BEGIN)), "without mvhd"),
    "no tracks": (ftyp() + MEDIA + moov(mvhd()), "without mvhd or tracks"),
    "no samples": (ftyp() + MEDIA + moov(mvhd(), trak()), "no samples"),
    "no timescale": (ftyp() + MEDIA + moov(mvhd(timescale=0)), "timescale"),
    "chunk behind media": (
        ftyp() + MEDIA + moov(mvhd(), trak(BEGIN + 100)),
        "not there",
    ),
    "chunk before media": (ftyp() + MEDIA + moov(mvhd(), trak(BEGIN - 1)), "not there"),
    "moof without mvex": (ftyp() + MOVIE + box(b"moof") + MEDIA, "without mvex"),
    "short mvhd": (ftyp() + MEDIA + moov(box(b"mvhd", bytes(8))), "too short"),
    "short stco": (ftyp() + MEDIA + moov(box(b"stco", bytes(7) + b"\1")), "too short"),
    "cut box in moov": (ftyp() + MEDIA + moov(mvhd(), b"\0\0\0\x10trak"), "not fit"),
    "junk in moov": (ftyp() + MEDIA + moov(mvhd(), bytes(4)), "cut inside"),
    "tiny box": (ftyp() + struct.pack(">I4s", 7, b"free"), "not fit"),
    "tiny large box": (ftyp() + struct.pack(">I4sQ", 1, b"free", 15), "not fit"),
    "cut large header": (ftyp() + struct.pack(">I4sI", 1, b"free", 0), "cut inside"),
    "no type": (ftyp() + box(b"\0\1\2\3"), "no box"),
    "page": (b"<!DOCTYPE html><html><body>404</body></html>", "not fit"),
}


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=REFUSED)
async def test_broken_file_is_refused_with_the_reason(data: bytes, why: str) -> None:
    """The report names what is wrong."""
    report = await check(data)

    assert not report.ok
    assert why in report.detail
    assert report.duration_ms is None


async def test_number_of_boxes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of nothing but headers is given up."""
    monkeypatch.setattr(mp4_module, "MAX_BOXES", 10)

    report = await check(ftyp() + box(b"free") * 20)

    assert not report.ok
    assert "more than 10 boxes" in report.detail


async def test_reader_that_gives_too_little_is_a_cut() -> None:
    """An object that is shorter than its size says is refused."""
    data = mp4()

    for short in range(0, len(data), 7):
        assert not (await check_mp4(reader(data[:short]), len(data))).ok


async def test_error_of_the_reader_passes() -> None:
    """What the archive raises is not a finding about the file."""

    async def read(_offset: int, _length: int) -> bytes:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await check_mp4(read, 100)
