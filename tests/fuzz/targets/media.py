"""Media as archived: any bytes give a report, after a number of reads that their size bounds."""

import math
import struct
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from samples import media_dir
from tests import media
from tests.fuzz.target import Target, ended
from worker.structure import checks, mp3, mp4, wav
from worker.structure.report import Read, StructureReport

Check = Callable[[Read, int], Coroutine[Any, Any, StructureReport]]
HEAD_BYTES = 2048
MOST_READS = 1000
MOST_READ_BYTES = 64 * 1024
SIZES = (0, 0, 0, 1, 7, 64 * 1024, 2**31, 2**40)
"""How much larger than its bytes an object may be: what is behind them reads as zeros."""
CUT = 8
"""In the last byte: what is behind can't be read at all."""


class Archived:
    """An object as far as it is there; counts who reads."""

    def __init__(self, data: bytes, size: int, *, is_cut: bool = False) -> None:
        self._data = data
        self._size = len(data) if is_cut else size
        self.reads = 0

    async def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        assert self.reads <= MOST_READS, "reads without an end"
        assert offset >= 0, offset
        assert 0 <= length <= MOST_READ_BYTES, length
        there = max(0, min(length, self._size - offset))
        return self._data[offset : offset + there].ljust(there, b"\0")


def check(data: bytes, *, kind: str, structure: Check) -> None:
    """The last byte says how large the object is beside the others."""
    data, told = data[:-1], (data or b"\0")[-1]
    size = len(data) + SIZES[told % len(SIZES)]
    archived = Archived(data, size, is_cut=bool(told & CUT))
    report = _report(structure, archived, size)
    assert report.kind == kind
    if size == len(data) and report.ok and kind == "wav":
        _check_whole_wav(report, structure, data)
    guess = partial(checks.check_structure, format_type=None)
    _report(guess, archived, size)


def _report(structure: Check, archived: Archived, size: int) -> StructureReport:
    archived.reads = 0
    report: StructureReport = ended(structure(archived.read, size))
    report.detail.encode("latin-1")
    assert 0 < len(report.detail) < 200, report
    lasts = report.duration_ms
    assert lasts is None or (math.isfinite(lasts) and lasts >= 0), report
    assert report.ok or lasts is None, report
    return report


def _check_whole_wav(report: StructureReport, structure: Check, data: bytes) -> None:
    """What is whole lasts, and is not whole with its first half alone."""
    assert report.duration_ms
    half = data[: len(data) // 2]
    assert not _report(structure, Archived(half, len(half)), len(half)).ok


def _mp4_seeds() -> Iterable[bytes]:
    yield from (whole + b"\0" for whole in (media.mp4(), media.mp4(fast_start=True)))
    yield media.fragmented_mp4(3) + b"\0"
    yield from _heads("*.mp4")


def _heads(pattern: str) -> Iterable[bytes]:
    for path in sorted(media_dir().glob(pattern)):
        yield path.read_bytes()[:HEAD_BYTES] + b"\5"


def _wav_seeds() -> Iterable[bytes]:
    yield from _heads("*.wav")
    whole = (media_dir() / "unmixed.wav").read_bytes()[:4096]
    short = _cut_wav(whole, frames=500)
    yield short + b"\0"
    yield _cut_wav(whole, frames=0) + b"\0"
    # Of frames without a byte, as nothing says that there are none.
    at = short.index(b"fmt ") + 8
    yield short[: at + 8] + bytes(8) + short[at + 16 :] + b"\0"


def _cut_wav(data: bytes, *, frames: int) -> bytes:
    """A shorter file of two channels of 16 bits, whose lengths agree."""
    at = data.index(b"data") + 4
    payload = data[at + 4 :][: frames * 4]
    told = data[8:at] + struct.pack("<I", len(payload)) + payload
    return b"RIFF" + struct.pack("<I", len(told)) + told


def _mp3_seeds() -> Iterable[bytes]:
    yield from _heads("*.mp3")
    frames = (media_dir() / "mixed.mp3").read_bytes()[:HEAD_BYTES]
    yield frames + b"\0"
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
    yield b"ID3\4\0\0\0\0\0\4abcd" + frames + ape + b"TAG" + bytes(125) + b"\0"


MP4 = Target(
    name="mp4",
    check=partial(check, kind="mp4", structure=mp4.check_mp4),
    seeds=_mp4_seeds,
)
WAV = Target(
    name="wav",
    check=partial(check, kind="wav", structure=wav.check_wav),
    seeds=_wav_seeds,
)
MP3 = Target(
    name="mp3",
    check=partial(check, kind="mp3", structure=mp3.check_mp3),
    seeds=_mp3_seeds,
)
