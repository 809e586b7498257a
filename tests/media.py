"""Media built byte by byte, so that a test can say which byte is wrong."""

import struct

from worker.structure.report import Read

PCM, EXTENSIBLE = 1, 0xFFFE


def reader(data: bytes) -> Read:
    """A ranged reader over bytes in memory."""

    async def read(offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or length > 64 * 1024:
            raise AssertionError(f"read of {length} bytes at {offset}")
        return data[offset : offset + length]

    return read


def box(kind: bytes, payload: bytes = b"", *, large: bool = False) -> bytes:
    """One MP4 box; `large` gives it a length of 64 bits."""
    if large:
        return struct.pack(">I4sQ", 1, kind, len(payload) + 16) + payload
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def ftyp() -> bytes:
    return box(b"ftyp", b"isom\0\0\2\0isommp41")


def mvhd(*, timescale: int = 1000, duration: int = 4000, version: int = 0) -> bytes:
    times = struct.pack(">QQIQ" if version else ">IIII", 0, 0, timescale, duration)
    return box(b"mvhd", bytes([version, 0, 0, 0]) + times + bytes(80))


def trak(*chunks: int, large: bool = False) -> bytes:
    """A track whose chunks lie at these bytes."""
    entries = b"".join(struct.pack(">Q" if large else ">I", at) for at in chunks)
    table = box(
        b"co64" if large else b"stco", struct.pack(">II", 0, len(chunks)) + entries
    )
    stbl = box(b"stbl", box(b"stsd", bytes(8)) + table)
    return box(b"trak", box(b"tkhd", bytes(84)) + box(b"mdia", box(b"minf", stbl)))


def moov(*boxes: bytes) -> bytes:
    return box(b"moov", b"".join(boxes))


def mp4(*, media: bytes = bytes(1000), fast_start: bool = False) -> bytes:
    """A small whole MP4 file with two tracks; `fast_start`: headers before the media."""
    headers = len(moov(mvhd(), trak(0), trak(0)))
    begin = len(ftyp()) + 8 + (headers if fast_start else 0)
    movie = moov(mvhd(), trak(begin), trak(begin + len(media) // 2))
    body = [movie, box(b"mdat", media)]
    return ftyp() + b"".join(body if fast_start else reversed(body))


def fragmented_mp4(fragments: int) -> bytes:
    movie = moov(mvhd(duration=0), trak(), box(b"mvex", box(b"trex", bytes(24))))
    fragment = box(b"moof", box(b"mfhd", bytes(8))) + box(b"mdat", bytes(100))
    return ftyp() + movie + fragment * fragments


def riff_chunk(kind: bytes, payload: bytes, *, length: int | None = None) -> bytes:
    """One chunk with its pad byte; `length` overrides what its header says."""
    announced = len(payload) if length is None else length
    return struct.pack("<4sI", kind, announced) + payload + bytes(len(payload) % 2)


def fmt(
    *, tag: int = PCM, channels: int = 1, rate: int = 16_000, bits: int = 16
) -> bytes:
    frame = channels * ((bits + 7) // 8)
    plain = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    if tag != EXTENSIBLE:
        return riff_chunk(b"fmt ", plain)
    guid = struct.pack("<H", PCM) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    return riff_chunk(b"fmt ", plain + struct.pack("<HHI", 22, bits, 0) + guid)


def riff(*chunks: bytes, form: bytes = b"RIFF", length: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return struct.pack("<4sI", form, len(body) if length is None else length) + body


def wav(*, frames: int = 1600, channels: int = 1) -> bytes:
    data = riff_chunk(b"data", bytes(frames * channels * 2))
    return riff(fmt(channels=channels), data)


def rf64(*, data: bytes = bytes(3200), form: bytes = b"RF64") -> bytes:
    """A file that keeps its lengths in ds64."""
    chunks = fmt() + riff_chunk(b"data", data, length=0xFFFFFFFF)
    whole = 4 + 8 + 28 + len(chunks)
    ds64 = riff_chunk(b"ds64", struct.pack("<QQQI", whole, len(data), 0, 0))
    return riff(ds64, chunks, form=form, length=0xFFFFFFFF)


MPEG1_64K = b"\xff\xfb\x50\xc0"
"""MPEG-1 layer III, 64 kbit/s, 44.1 kHz, mono: frames of 208 bytes."""
MPEG2_48K = b"\xff\xf3\x68\xc0"
"""MPEG-2 layer III, 48 kbit/s, 16 kHz, mono: frames of 216 bytes, as the service makes."""


def mp3_frame(header: bytes = MPEG2_48K, payload: bytes = b"") -> bytes:
    length = 208 if header == MPEG1_64K else 216
    return (header + payload).ljust(length, b"\0")


def mp3(*, frames: int = 60, header: bytes = MPEG2_48K) -> bytes:
    return mp3_frame(header) * frames


def id3v2(length: int, *, flags: int = 0) -> bytes:
    size = bytes(length >> shift & 0x7F for shift in (21, 14, 7, 0))
    footer = bytes(10) if flags & 0x10 else b""
    return b"ID3\4\0" + bytes([flags]) + size + bytes(length) + footer


def id3v1() -> bytes:
    return b"TAG".ljust(128, b"\0")


def ape(items: int = 40, *, header: bool = True) -> bytes:
    flags = 0x80000000 if header else 0
    footer = b"APETAGEX" + struct.pack("<IIIIQ", 2000, items + 32, 1, flags, 0)
    return (bytes(32) if header else b"") + bytes(items) + footer
