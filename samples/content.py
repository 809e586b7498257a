"""Bytes that the stand-in serves: held in memory, or made up as they are asked for."""

import hashlib
import random
import struct
from dataclasses import dataclass
from typing import Protocol

KIB = 1024
MIB = 1024 * KIB
STAMP_EVERY_BYTES = 64 * KIB
"""Distance of the offset stamps: two ranges that change places change the hash."""
AV_BITS_PER_SECOND = 1_000_000
"""Upper bound of a mixed audio and video recording, as documented."""
MAX_CHUNK_MS = 4 * 60 * 60 * 1000
_STAMP = struct.Struct(">Q")
_MDAT_HEADER = struct.Struct(">I4sQ")


class Content(Protocol):
    """Something with a size whose ranges can be read in any order."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes | bytearray | memoryview: ...


@dataclass(frozen=True, slots=True)
class MemoryContent:
    """Bytes in memory; a range is a view, not a copy."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> memoryview:
        return memoryview(self.data)[offset : offset + length]


class SyntheticContent:
    """Gigabytes of deterministic bytes, never held.

    One random block of 1 MiB repeats, with its own offset stamped in every 64 KiB. With
    `mp4` the bytes begin like an MP4 (ftyp, moov, one mdat) whose boxes add up to the size.
    """

    def __init__(self, size: int, seed: int = 0, *, mp4: bool = False) -> None:
        self._head = _mp4_head(size) if mp4 else b""
        if size < len(self._head):
            raise ValueError(f"an MP4 takes at least {len(self._head)} bytes")
        self._size = size
        self._twice = memoryview(random.Random(seed).randbytes(MIB) * 2)

    @property
    def size(self) -> int:
        return self._size

    @property
    def duration_ms(self) -> int:
        """How long a recording of this size lasts, four hours at the most."""
        return _duration_ms(self._size)

    def read(self, offset: int, length: int) -> bytearray:
        """Return bytes [offset, offset + length), fewer at the end."""
        length = max(0, min(length, self._size - offset))
        data = bytearray()
        while len(data) < length:
            start = (offset + len(data)) % MIB
            data += self._twice[start : start + min(MIB, length - len(data))]
        self._stamp(data, offset)
        head = self._head[offset : offset + length]
        data[: len(head)] = head
        return data

    def sha256(self) -> str:
        """Hash it all, in hex. Blocks for about a second per GiB: run it in a thread."""
        hashed = hashlib.sha256()
        for offset in range(0, self._size, MIB):
            hashed.update(self.read(offset, MIB))
        return hashed.hexdigest()

    @staticmethod
    def _stamp(data: bytearray, offset: int) -> None:
        first = offset - offset % STAMP_EVERY_BYTES
        for place in range(first, offset + len(data), STAMP_EVERY_BYTES):
            stamp, at = _STAMP.pack(place), place - offset
            if at < 0:
                stamp, at = stamp[-at:], 0
            stamp = stamp[: len(data) - at]
            data[at : at + len(stamp)] = stamp


def _duration_ms(size: int) -> int:
    return min(size * 8 * 1000 // AV_BITS_PER_SECOND, MAX_CHUNK_MS)


def _mp4_head(size: int) -> bytes:
    """`ftyp`, `moov` and the header of an `mdat` that fills the rest."""
    ftyp = _box(b"ftyp", b"mp42" + bytes(4) + b"isommp42")
    # The track says where its media begin, and its place there changes no size.
    before = len(ftyp) + len(_moov(size, media_at=0))
    moov = _moov(size, media_at=before + _MDAT_HEADER.size)
    # Size 1 says that a 64-bit size follows: one form for all sizes.
    mdat_size = max(size - before, _MDAT_HEADER.size)
    return ftyp + moov + _MDAT_HEADER.pack(1, b"mdat", mdat_size)


def _moov(size: int, *, media_at: int) -> bytes:
    """The movie's header, and one track of one run of media."""
    # Version 0: creation, modification, timescale, duration; then rate, volume, matrix.
    times = struct.pack(">IIIII", 0, 0, 0, 1000, _duration_ms(size))
    scale = struct.pack(">IH10x9I24xI", 0x10000, 0x100, *_UNITY_MATRIX, 2)
    track = _box(b"co64", struct.pack(">IIQ", 0, 1, media_at))
    for folder in (b"stbl", b"minf", b"mdia", b"trak"):
        track = _box(folder, track)
    return _box(b"moov", _box(b"mvhd", times + scale) + track)


_UNITY_MATRIX = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def _box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), name) + payload
