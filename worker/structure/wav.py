"""WAV (RIFF, RF64, BW64): the header's lengths agree with the file's, and with each other.

RF64 and BW64 (EBU Tech 3306, ITU-R BS.2088) keep lengths of 64 bits in a `ds64` chunk.
"""

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from worker.structure.report import (
    BrokenMediaError,
    Read,
    StructureReport,
    Window,
    broken,
)

MAX_CHUNKS = 10_000
MAX_CHANNELS = 64
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
LARGE_FORMS = {b"RF64", b"BW64"}
UNSET = 0xFFFFFFFF
"""A length that stands in `ds64` instead."""
_PCM, _EXTENSIBLE = 0x0001, 0xFFFE
_FORMATS = {_PCM: "PCM", 0x0003: "float", 0x0006: "A-law", 0x0007: "mu-law"}
_HEADER_BYTES = 12
_CHUNK = struct.Struct("<4sI")
_FMT = struct.Struct("<HHIIHH")
_DS64 = struct.Struct("<QQ")
_EXTENSIBLE_BYTES, _SUBFORMAT_OFFSET = 40, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class RiffChunk:
    """One chunk: its payload is [body, body + length)."""

    kind: bytes
    body: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFormat:
    """What `fmt ` says."""

    name: str
    channels: int
    rate_hz: int
    bytes_per_second: int
    frame_bytes: int


class WavFile:
    """One walk over the chunks of a file."""

    def __init__(self, read: Read, size: int) -> None:
        self._window = Window(read, size)
        self._size = size
        self._end = 0
        self._large: tuple[int, int] | None = None
        """Lengths of the whole and of `data`, from `ds64`."""
        self._format: AudioFormat | None = None
        self._data: RiffChunk | None = None

    async def check(self) -> tuple[AudioFormat, RiffChunk]:
        await self._read_header()
        async for chunk in self._chunks():
            await self._take(chunk)
        if self._format is None or self._data is None:
            raise BrokenMediaError("no fmt or no data")
        if self._data.length == 0 or self._data.length % self._format.frame_bytes:
            raise BrokenMediaError(
                f"{self._data.length} bytes of data are not whole frames"
            )
        return self._format, self._data

    async def _read_header(self) -> None:
        head = await self._exactly(0, _HEADER_BYTES)
        form, length = _CHUNK.unpack_from(head)
        if form not in {b"RIFF", *LARGE_FORMS} or head[8:] != b"WAVE":
            raise BrokenMediaError("no RIFF/WAVE header")
        if form in LARGE_FORMS:
            length = await self._read_ds64()
        announced = length + 8
        # An odd whole may or may not be followed by its pad byte.
        if self._size not in {announced, announced + announced % 2}:
            raise BrokenMediaError(f"{announced} bytes announced, {self._size} there")
        self._end = announced

    async def _read_ds64(self) -> int:
        kind, length = _CHUNK.unpack(await self._exactly(_HEADER_BYTES, _CHUNK.size))
        if kind != b"ds64" or length < _DS64.size:
            raise BrokenMediaError("no ds64 behind the header")
        body = _HEADER_BYTES + _CHUNK.size
        self._large = _DS64.unpack(await self._exactly(body, _DS64.size))
        return self._large[0]

    async def _chunks(self) -> AsyncIterator[RiffChunk]:
        offset = _HEADER_BYTES
        for _ in range(MAX_CHUNKS):
            if offset >= self._end:
                return
            chunk = await self._chunk(offset)
            yield chunk
            offset = chunk.body + chunk.length + chunk.length % 2
        raise BrokenMediaError(f"more than {MAX_CHUNKS} chunks")

    async def _chunk(self, offset: int) -> RiffChunk:
        kind, length = _CHUNK.unpack(await self._exactly(offset, _CHUNK.size))
        if self._large is not None and kind == b"data" and length in {0, UNSET}:
            length = self._large[1]
        body = offset + _CHUNK.size
        if body + length > self._end:
            raise BrokenMediaError(f"chunk at byte {offset} reaches past the end")
        return RiffChunk(kind=kind, body=body, length=length)

    async def _take(self, chunk: RiffChunk) -> None:
        if chunk.kind == b"fmt " and self._format is None:
            self._format = await self._read_format(chunk)
        elif chunk.kind == b"data":
            if self._data is not None or self._format is None:
                raise BrokenMediaError("data twice, or before fmt")
            self._data = chunk

    async def _read_format(self, chunk: RiffChunk) -> AudioFormat:
        if chunk.length < _FMT.size:
            raise BrokenMediaError("fmt is too short")
        data = await self._exactly(chunk.body, min(chunk.length, _EXTENSIBLE_BYTES))
        tag, channels, rate, bytes_per_second, frame, bits = _FMT.unpack_from(data)
        if tag == _EXTENSIBLE and len(data) == _EXTENSIBLE_BYTES:
            tag = int.from_bytes(data[_SUBFORMAT_OFFSET:][:2], "little")
        found = AudioFormat(
            name=_FORMATS.get(tag, ""),
            channels=channels,
            rate_hz=rate,
            bytes_per_second=bytes_per_second,
            frame_bytes=frame,
        )
        _check_format(found, bits)
        return found

    async def _exactly(self, offset: int, length: int) -> bytes:
        data = await self._window.at(offset, length)
        if len(data) < length:
            raise BrokenMediaError(f"cut at byte {offset + len(data)}")
        return data


async def check_wav(read: Read, size: int) -> StructureReport:
    """Check the file's structure without reading its samples."""
    try:
        audio, data = await WavFile(read, size).check()
    except BrokenMediaError as error:
        return broken("wav", error)
    return StructureReport(
        ok=True,
        kind="wav",
        detail=f"{audio.name}, {audio.channels} channels, {audio.rate_hz} Hz",
        duration_ms=data.length * 1000 / audio.bytes_per_second,
    )


def _check_format(audio: AudioFormat, bits: int) -> None:
    if not audio.name:
        raise BrokenMediaError("neither PCM nor float, A-law or mu-law")
    if not 1 <= audio.channels <= MAX_CHANNELS:
        raise BrokenMediaError(f"{audio.channels} channels")
    if not MIN_RATE_HZ <= audio.rate_hz <= MAX_RATE_HZ:
        raise BrokenMediaError(f"{audio.rate_hz} Hz")
    if bits == 0 or audio.frame_bytes != audio.channels * ((bits + 7) // 8):
        raise BrokenMediaError(f"frames of {audio.frame_bytes} bytes at {bits} bits")
    if audio.bytes_per_second != audio.rate_hz * audio.frame_bytes:
        raise BrokenMediaError(f"{audio.bytes_per_second} bytes per second")
