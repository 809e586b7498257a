"""Reading blobs back: every piece whole and in order, and within one bound on memory."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from worker.archives import blob_read_back
from worker.archives.blob_read_back import MOST_PIECES, BlobReader
from worker.archives.threads import Threads
from worker.errors import IntegrityError

PIECE = 4
DATA = b"0123456789abcdefgh"
PATIENCE_S = 5


class Pieces:
    """Serves DATA; `cut` maps an offset to how much comes of the piece there."""

    def __init__(self, cut: dict[int, int] | None = None) -> None:
        self._cut = cut or {}
        self.held = self.most_held = 0

    async def get(self, name: str, offset: int, length: int) -> bytes | None:
        assert name == "a"
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        await asyncio.sleep(0)
        self.held -= 1
        return DATA[offset : offset + self._cut.get(offset, length)]


@pytest.fixture
async def threads(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Threads]:
    monkeypatch.setattr(blob_read_back, "PIECE_BYTES", PIECE)
    threads = Threads(2)
    yield threads
    await threads.close()


async def test_blob_is_hashed_in_order(threads: Threads) -> None:
    """The last piece is as long as what is left."""
    reader = BlobReader(Pieces(), threads)

    found = await reader.digest("a", size=len(DATA), block_bytes=8)

    assert found.sha256 == hashlib.sha256(DATA).hexdigest()
    assert [block.length for block in found.blocks] == [8, 8, 2]


@pytest.mark.parametrize("offset", [0, PIECE, 16])
@pytest.mark.parametrize("length", [0, 1])
async def test_piece_that_is_too_short_is_an_error(
    threads: Threads, offset: int, length: int
) -> None:
    """Whoever waits for the piece behind it would wait for ever."""
    reader = BlobReader(Pieces({offset: length}), threads)

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(IntegrityError):
            await reader.digest("a", size=len(DATA), block_bytes=8)


async def test_piece_that_is_too_long_is_an_error(threads: Threads) -> None:
    """A blob that has grown is not the one that was looked at."""
    reader = BlobReader(Pieces(), threads)

    with pytest.raises(IntegrityError):
        await reader.digest("a", size=len(DATA) - 1, block_bytes=8)


async def test_readers_can_share_one_bound(threads: Threads) -> None:
    """However many blobs are read at once, so many pieces are held and no more."""
    pieces, room = Pieces(), asyncio.Semaphore(MOST_PIECES)

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        for _ in range(5):
            reader = BlobReader(pieces, threads, room=room)
            group.create_task(reader.digest("a", size=len(DATA), block_bytes=8))

    assert pieces.most_held <= MOST_PIECES
