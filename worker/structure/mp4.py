"""MP4 (ISO/IEC 14496-12): the boxes add up to the size, and the movie has its media.

A file cut anywhere is refused, but for two cuts that leave a valid file: behind the last
media (a trailing `free` box), and between two fragments of a fragmented file.
"""

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from worker.structure.report import (
    BrokenMediaError,
    Read,
    StructureReport,
    Window,
    broken,
)

MAX_BOXES = 100_000
"""Four hours in fragments of a second stay below it."""
HEADER_BYTES, LARGE_HEADER_BYTES = 8, 16
_SIZE_AND_TYPE = struct.Struct(">I4s")
_LARGE_SIZE = struct.Struct(">Q")
_FOLDERS = {b"trak", b"mdia", b"minf", b"stbl"}
_NEEDS_FTYP = {b"moov", b"moof", b"mdat"}
_ENTRY_BYTES = {b"stco": 4, b"co64": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One box: its payload is [body, end)."""

    kind: bytes
    start: int
    body: int
    end: int


@dataclass(slots=True, kw_only=True)
class Movie:
    """What the headers (`moov`) say."""

    duration_ms: float | None = None
    has_header: bool = False
    tracks: int = 0
    fragmented: bool = False
    last_chunks: list[int] = field(default_factory=list)
    """Where the last chunk of each track lies."""


@dataclass(slots=True, kw_only=True)
class Layout:
    """What the top level has shown so far."""

    has_type: bool = False
    movie: Movie | None = None
    media_start: int | None = None
    media_end: int = 0
    fragments: int = 0
    fragment_open: bool = False
    """A `moof` has come, and its `mdat` has not."""


class Boxes:
    """Reads box headers, up to MAX_BOXES of them."""

    def __init__(self, read: Read, size: int) -> None:
        self._window = Window(read, size)
        self._size = size
        self._left = MAX_BOXES

    async def within(self, start: int, end: int) -> AsyncIterator[Box]:
        """The boxes that tile [start, end), or BrokenMediaError where they don't."""
        offset = start
        while offset < end:
            box = await self._box(offset, end)
            yield box
            offset = box.end

    async def payload(self, box: Box, *, skip: int, length: int) -> bytes:
        """`length` bytes of the payload behind its first `skip`."""
        if box.body + skip + length > box.end:
            raise BrokenMediaError(
                f"{_text(box.kind)} at byte {box.start} is too short"
            )
        data = await self._window.at(box.body + skip, length)
        if len(data) < length:
            raise BrokenMediaError(f"cut at byte {box.body + skip + len(data)}")
        return data

    async def _box(self, start: int, end: int) -> Box:
        self._left -= 1
        if self._left < 0:
            raise BrokenMediaError(f"more than {MAX_BOXES} boxes")
        head = (await self._window.at(start, LARGE_HEADER_BYTES))[: end - start]
        if len(head) < HEADER_BYTES:
            raise BrokenMediaError(f"cut inside a box header at byte {start}")
        size, kind = _SIZE_AND_TYPE.unpack_from(head)
        length, header = self._length(size, head, end - start)
        if not _is_type(kind):
            raise BrokenMediaError(f"no box at byte {start}")
        if not header <= length <= end - start:
            raise BrokenMediaError(f"{_text(kind)} at byte {start} does not fit")
        return Box(kind=kind, start=start, body=start + header, end=start + length)

    def _length(self, size: int, head: bytes, room: int) -> tuple[int, int]:
        """A box's length and its header's."""
        if size == 0:  # to the end of the file
            return room, HEADER_BYTES
        if size > 1:
            return size, HEADER_BYTES
        if len(head) < LARGE_HEADER_BYTES:
            raise BrokenMediaError("cut inside a box header")
        return _LARGE_SIZE.unpack_from(head, HEADER_BYTES)[0], LARGE_HEADER_BYTES


async def check_mp4(read: Read, size: int) -> StructureReport:
    """Check the file's structure without reading its media."""
    boxes = Boxes(read, size)
    layout = Layout()
    try:
        async for box in boxes.within(0, size):
            await _take(boxes, box, layout)
        movie = _complete(layout)
    except BrokenMediaError as error:
        return broken("mp4", error)
    fragments = f", {layout.fragments} fragments" if layout.fragments else ""
    return StructureReport(
        ok=True,
        kind="mp4",
        detail=f"boxes add up to {size} bytes, {movie.tracks} tracks{fragments}",
        duration_ms=movie.duration_ms,
    )


async def _take(boxes: Boxes, box: Box, layout: Layout) -> None:
    if box.kind in _NEEDS_FTYP and not layout.has_type:
        raise BrokenMediaError(f"{_text(box.kind)} without ftyp before it")
    match box.kind:
        case b"ftyp":
            layout.has_type = True
        case b"moov":
            if layout.movie is not None:
                raise BrokenMediaError("a second moov")
            layout.movie = await _read_movie(boxes, box)
        case b"moof":
            layout.fragments += 1
            layout.fragment_open = True
        case b"mdat":
            if layout.media_start is None:
                layout.media_start = box.body
            layout.media_end = box.end
            layout.fragment_open = False
        case _:
            pass


def _complete(layout: Layout) -> Movie:
    movie = layout.movie
    if movie is None:
        raise BrokenMediaError("no moov")
    if layout.media_start is None:
        raise BrokenMediaError("no mdat")
    if not movie.has_header or movie.tracks == 0:
        raise BrokenMediaError("a moov without mvhd or tracks")
    if layout.fragments:
        _check_fragments(layout, movie)
    elif not movie.last_chunks:
        raise BrokenMediaError("no samples")
    for offset in movie.last_chunks:
        if not layout.media_start <= offset < layout.media_end:
            raise BrokenMediaError(f"media at byte {offset} is not there")
    return movie


def _check_fragments(layout: Layout, movie: Movie) -> None:
    if not movie.fragmented:
        raise BrokenMediaError("moof without mvex")
    if layout.fragment_open:
        raise BrokenMediaError("the last moof has no mdat")


async def _read_movie(boxes: Boxes, moov: Box) -> Movie:
    movie = Movie()
    folders = [moov]
    while folders:
        folder = folders.pop()
        async for box in boxes.within(folder.body, folder.end):
            if box.kind in _FOLDERS:
                folders.append(box)
            await _take_header(boxes, box, movie)
    return movie


async def _take_header(boxes: Boxes, box: Box, movie: Movie) -> None:
    match box.kind:
        case b"trak":
            movie.tracks += 1
        case b"mvex":
            movie.fragmented = True
        case b"mvhd":
            movie.has_header = True
            movie.duration_ms = await _duration_ms(boxes, box)
        case b"stco" | b"co64":
            movie.last_chunks += await _last_chunk(boxes, box)
        case _:
            pass


async def _duration_ms(boxes: Boxes, mvhd: Box) -> float | None:
    """The movie's length; None where it isn't said (all ones, or 0 as in fragmented files)."""
    version = (await boxes.payload(mvhd, skip=0, length=1))[0]
    skip, layout, unknown = (
        (20, ">IQ", 2**64 - 1) if version else (12, ">II", 2**32 - 1)
    )
    length = struct.calcsize(layout)
    data = await boxes.payload(mvhd, skip=skip, length=length)
    timescale, duration = struct.unpack(layout, data)
    if timescale == 0:
        raise BrokenMediaError("a movie without a timescale")
    return None if duration in {0, unknown} else duration * 1000 / timescale


async def _last_chunk(boxes: Boxes, table: Box) -> list[int]:
    entry = _ENTRY_BYTES[table.kind]
    count = int.from_bytes(await boxes.payload(table, skip=4, length=4))
    if count == 0:
        return []
    last = await boxes.payload(table, skip=8 + (count - 1) * entry, length=entry)
    return [int.from_bytes(last)]


def _is_type(kind: bytes) -> bool:
    # QuickTime's own types may begin with the copyright sign.
    text = _text(kind).replace("\xa9", "c")
    return text.isascii() and text.isprintable()


def _text(kind: bytes) -> str:
    return kind.decode("latin-1")
