"""MP3 (MPEG audio layer III): frames follow each other at the start, amid and to the very end.

Only windows are walked, so a long file costs no more than a short one. A file cut at a frame's
edge is a valid file; its tag's frame count is not held against it.
"""

from collections.abc import Collection
from dataclasses import dataclass

from worker.structure.report import (
    BrokenMediaError,
    Read,
    StructureReport,
    broken,
)

WINDOW_BYTES = 32 * 1024
"""Holds at least 20 frames behind the first that fits; so many in a row are no accident."""
MAX_ID3V2_TAGS = 8
_HEADER_BYTES = 4
_MAX_FRAME_BYTES = 1441
_RESYNC_BYTES = 2 * _MAX_FRAME_BYTES
_SYNC = 0xFFE0
_MPEG1, _MPEG2, _MPEG25 = 3, 2, 0
_LAYER_III = 1
_MONO = 3
_KBPS_MPEG1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_KBPS_MPEG2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_RATES_HZ = {
    _MPEG1: (44100, 48000, 32000, 0),
    _MPEG2: (22050, 24000, 16000, 0),
    _MPEG25: (11025, 12000, 8000, 0),
}
_ID3V2_HEADER_BYTES, _ID3V1_BYTES, _APE_FOOTER_BYTES = 10, 128, 32
_VBRI_OFFSET = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame's header."""

    version: int
    rate_hz: int
    length: int
    mono: bool

    @property
    def samples(self) -> int:
        return 1152 if self.version == _MPEG1 else 576

    def continues(self, first: "Frame") -> bool:
        """Whether both can belong to one stream."""
        return (self.version, self.rate_hz) == (first.version, first.rate_hz)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Frames in a row, from header to header."""

    offsets: tuple[int, ...]
    """Where they begin, in the bytes at hand."""
    length: int
    end: int
    """Where the next would begin, in the file."""
    whole: bool
    """It ended with the bytes at hand, not at something else than a frame."""


async def check_mp3(read: Read, size: int) -> StructureReport:
    """Check frames at the start, in the middle and at the end."""
    try:
        start = await _skip_id3v2(read, size)
        end = await _strip_tags(read, start, size)
        return await _check_audio(read, start, end)
    except BrokenMediaError as error:
        return broken("mp3", error)


def frame_at(data: bytes, offset: int) -> Frame | None:
    """Parse a header; None if there is none. Free format (no bitrate) is not accepted."""
    head = data[offset : offset + _HEADER_BYTES]
    if len(head) < _HEADER_BYTES or int.from_bytes(head[:2]) & _SYNC != _SYNC:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer != _LAYER_III or version not in _RATES_HZ:
        return None
    kbps = (_KBPS_MPEG1 if version == _MPEG1 else _KBPS_MPEG2)[head[2] >> 4]
    rate = _RATES_HZ[version][head[2] >> 2 & 3]
    if kbps == 0 or rate == 0:
        return None
    padding = head[2] >> 1 & 1
    length = (144 if version == _MPEG1 else 72) * kbps * 1000 // rate + padding
    mono = head[3] >> 6 == _MONO
    return Frame(version=version, rate_hz=rate, length=length, mono=mono)


async def _check_audio(read: Read, start: int, end: int) -> StructureReport:
    head = await _window(read, start, end)
    first = frame_at(head, 0)
    if first is None:
        raise BrokenMediaError(f"no frame at byte {start}")
    runs = [_run(head, first, at=start)]
    if not runs[0].whole:
        raise BrokenMediaError(f"no frame at byte {runs[0].end}")
    if end - start > 2 * WINDOW_BYTES:
        runs.append(await _probe(read, first, start=(start + end) // 2, end=end))
    if runs[0].end < end:
        tail = max(end - WINDOW_BYTES, start)
        runs.append(await _probe(read, first, start=tail, end=end))
    if runs[-1].end != end:
        raise BrokenMediaError(f"the last frame is cut at byte {end}")
    return StructureReport(
        ok=True,
        kind="mp3",
        detail=f"frames at {first.rate_hz} Hz fill bytes {start} to {end}",
        duration_ms=_duration_ms(head, first, runs, audio_bytes=end - start),
    )


async def _probe(read: Read, first: Frame, *, start: int, end: int) -> Run:
    """Find the frames again from an arbitrary byte."""
    data = await _window(read, start, end)
    dead: set[int] = set()
    for begin in range(min(_RESYNC_BYTES, len(data))):
        run = _run(data, first, at=start, begin=begin, dead=dead)
        if run.whole:
            return run
        dead.update(run.offsets)
    raise BrokenMediaError(f"no frames behind byte {start}")


def _run(
    data: bytes,
    first: Frame,
    *,
    at: int,
    begin: int = 0,
    dead: Collection[int] = (),
) -> Run:
    """Walk frame by frame, as far as `data` (which lies at byte `at`) has headers.

    `dead`: offsets that are known to lead nowhere, so that no bytes make probing quadratic.
    """
    offset, offsets, whole = begin, [], True
    while offset + _HEADER_BYTES <= len(data):
        frame = frame_at(data, offset)
        if frame is None or not frame.continues(first) or offset in dead:
            whole = False
            break
        offsets.append(offset)
        offset += frame.length
    return Run(
        offsets=tuple(offsets), length=offset - begin, end=at + offset, whole=whole
    )


def _duration_ms(
    head: bytes, first: Frame, runs: list[Run], *, audio_bytes: int
) -> float:
    """From the frame count of a Xing, Info or VBRI tag, else from the frames seen."""
    frames: float | None = _tagged_frames(head, first)
    if frames is None:
        seen = sum(len(run.offsets) for run in runs)
        frames = audio_bytes * seen / sum(run.length for run in runs)
    return frames * first.samples * 1000 / first.rate_hz


def _tagged_frames(head: bytes, first: Frame) -> int | None:
    xing = _HEADER_BYTES + _side_info_bytes(first)
    flags = head[xing + 7 : xing + 8]
    if head[xing : xing + 4] in {b"Xing", b"Info"} and flags and flags[0] & 1:
        return int.from_bytes(head[xing + 8 : xing + 12])
    if head[_VBRI_OFFSET : _VBRI_OFFSET + 4] == b"VBRI":
        return int.from_bytes(head[_VBRI_OFFSET + 14 : _VBRI_OFFSET + 18])
    return None


def _side_info_bytes(frame: Frame) -> int:
    if frame.version == _MPEG1:
        return 17 if frame.mono else 32
    return 9 if frame.mono else 17


async def _skip_id3v2(read: Read, size: int) -> int:
    offset = 0
    for _ in range(MAX_ID3V2_TAGS):
        head = await read(offset, min(_ID3V2_HEADER_BYTES, size - offset))
        if len(head) < _ID3V2_HEADER_BYTES or head[:3] != b"ID3":
            break
        offset += _id3v2_bytes(head)
        if offset >= size:
            raise BrokenMediaError("the ID3v2 tag reaches past the end")
    return offset


def _id3v2_bytes(head: bytes) -> int:
    length = 0
    for byte in head[6:10]:
        if byte & 0x80:
            raise BrokenMediaError("the ID3v2 tag has no sane length")
        length = length << 7 | byte
    footer = _ID3V2_HEADER_BYTES if head[5] & 0x10 else 0
    return _ID3V2_HEADER_BYTES + length + footer


async def _strip_tags(read: Read, start: int, size: int) -> int:
    """Where the audio ends: before ID3v1, and APEv2 before that."""
    end = size
    if (await _before(read, start, end, _ID3V1_BYTES))[:3] == b"TAG":
        end -= _ID3V1_BYTES
    footer = await _before(read, start, end, _APE_FOOTER_BYTES)
    if footer[:8] == b"APETAGEX":
        header = _APE_FOOTER_BYTES if footer[23] & 0x80 else 0
        end -= int.from_bytes(footer[12:16], "little") + header
        if end <= start:
            raise BrokenMediaError("the APE tag has no sane length")
    return end


async def _before(read: Read, start: int, end: int, length: int) -> bytes:
    """The `length` bytes before `end`; empty if there are fewer."""
    if end - start < length:
        return b""
    data = await read(end - length, length)
    return data if len(data) == length else b""


async def _window(read: Read, start: int, end: int) -> bytes:
    return await read(start, min(WINDOW_BYTES, end - start))
