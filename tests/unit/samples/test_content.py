"""Made-up content is deterministic, whole, and never held."""

import hashlib
import json
import struct
from itertools import pairwise

import pytest

from samples.acsmetadata import metadata_of
from samples.content import MIB, MemoryContent, SyntheticContent
from worker.structure.mp4 import check_mp4


@pytest.mark.parametrize("mp4", [False, True])
def test_synthetic_content_reads_the_same_in_any_ranges(mp4: bool) -> None:  # noqa: FBT001 - a parameter
    """However the bytes are cut into ranges, they are the same bytes."""
    content = SyntheticContent(2 * MIB + 70_001, 7, mp4=mp4)
    cuts = [0, 3, 100, 65_533, 65_540, 131_072, MIB - 1, 2 * MIB + 5, content.size]

    pieces = [content.read(start, end - start) for start, end in pairwise(cuts)]

    whole = content.read(0, content.size)
    assert b"".join(pieces) == whole
    assert content.sha256() == hashlib.sha256(whole).hexdigest()


def test_synthetic_content_ends_at_its_size() -> None:
    """A range over the end is cut, and one behind the end is empty."""
    content = SyntheticContent(100)

    assert len(content.read(90, 50)) == 10
    assert content.read(100, 1) == content.read(500, 5) == b""


def test_synthetic_content_differs_by_place_and_seed() -> None:
    """Ranges that change places and other seeds give other bytes."""
    content = SyntheticContent(4 * MIB, 1)

    assert content.read(0, MIB) != content.read(MIB, MIB)
    assert content.read(0, 100) != SyntheticContent(4 * MIB, 2).read(0, 100)
    assert content.read(0, 100) == SyntheticContent(4 * MIB, 1).read(0, 100)


@pytest.mark.parametrize("size", [300, 5 * 2**30])
def test_synthetic_mp4_is_whole_at_any_size(size: int) -> None:
    """The boxes of a made-up MP4 add up, past 4 GiB too, without its bytes existing."""
    content = SyntheticContent(size, mp4=True)
    head = bytes(content.read(0, 4096))

    names, at = [], 0
    while at < size:
        length, name = struct.unpack_from(">I4s", head, at)
        names.append(name)
        at += struct.unpack_from(">Q", head, at + 8)[0] if length == 1 else length

    assert names == [b"ftyp", b"moov", b"mdat"]
    assert at == size
    assert 0 < content.duration_ms <= 4 * 3600 * 1000


async def test_synthetic_mp4_passes_the_structural_check() -> None:
    """A made-up MP4 is as whole to the worker as a real one: it may be deleted."""
    content = SyntheticContent(MIB, mp4=True)

    async def read(offset: int, length: int) -> bytes:
        return bytes(content.read(offset, length))

    assert (await check_mp4(read, content.size)).ok


def test_synthetic_mp4_refuses_a_size_without_room_for_its_head() -> None:
    """An MP4 too small for its own boxes can't be asked for."""
    with pytest.raises(ValueError, match="at least"):
        SyntheticContent(10, mp4=True)


def test_memory_content_reads_views() -> None:
    """A range of bytes in memory is that range."""
    assert bytes(MemoryContent(b"0123456789").read(3, 4)) == b"3456"


@pytest.mark.parametrize(("file_format", "has_video"), [("mp4", True), ("mp3", False)])
def test_made_up_metadata_have_the_shape_of_their_format(
    file_format: str,
    has_video: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Metadata for a made-up document name it and say video only where there is some."""
    raw = metadata_of("doc-1", index=3, duration_ms=1500, file_format=file_format)
    parsed = json.loads(raw)

    assert (parsed["chunkDocumentId"], parsed["chunkIndex"]) == ("doc-1", 3)
    assert parsed["chunkDuration"] == 1500.0
    assert ("videoConfiguration" in parsed["recordingInfo"]) == has_video
    assert b"\r\n" in raw
