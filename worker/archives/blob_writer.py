"""The Blob archive's block writer: blocks are staged as they come, and committed once."""

import asyncio
import hashlib
from collections.abc import Sequence

from worker.archives import blob_block_ids as block_ids
from worker.archives import blob_facts
from worker.archives.blob_block_ids import BlockId
from worker.archives.blob_store import BlobStore, Description
from worker.archives.threads import Threads
from worker.archives.tiling import check_tiling
from worker.errors import (
    AlreadyExistsError,
    ArchiveUnavailableError,
    IntegrityError,
)
from worker.model import BlockDigest, Stored
from worker.stored import blocks_sha256

SMALL_BYTES = 1024 * 1024
"""What is no larger goes in one request instead of three: it is kept until the commit."""


class BlobWriter:
    """Satisfies ports.BlockWriter.

    A name that is taken is noticed before the first block is sent; from then on blocks are
    only hashed, so that they can be compared with what is there.
    """

    def __init__(
        self,
        name: str,
        *,
        store: BlobStore,
        threads: Threads,
        block_bytes: int,
        is_content: bool = True,
    ) -> None:
        self._name = name
        self._is_content = is_content
        self._store = store
        self._threads = threads
        self._block_bytes = block_bytes
        self._origin = block_ids.NO_ORIGIN
        self._blocks: dict[int, BlockId] = {}
        self._small: tuple[bytes, bytes] | None = None
        """All of a small object, and its MD5."""
        self._taken: bool | None = None
        self._looking = asyncio.Lock()

    @property
    def block_bytes(self) -> int:
        return self._block_bytes

    async def held(self, origin: str) -> Sequence[BlockDigest]:
        self._origin = block_ids.origin_tag(origin)
        if await self._is_taken():
            return ()
        staged = await self._store.staged(self._name)
        found = [(block_ids.decode(each.id), each.size) for each in staged]
        ours = [id_ for id_, size in found if id_ is not None and self._fits(id_, size)]
        for each in ours:
            self._blocks[each.block.offset] = each
        # Two that disagree: the source sent different bytes. Neither is to be believed.
        for each in ours:
            if self._blocks.get(each.block.offset, each) != each:
                del self._blocks[each.block.offset]
        return [self._blocks[offset].block for offset in sorted(self._blocks)]

    def _fits(self, found: BlockId, size: int) -> bool:
        block = found.block
        is_on_grid = block.offset % self._block_bytes == 0
        is_whole = 0 < block.length <= self._block_bytes and block.length == size
        return found.origin == self._origin and is_on_grid and is_whole

    async def write(self, offset: int, block: bytearray | memoryview | bytes) -> str:
        if offset % self._block_bytes or not 0 < len(block) <= self._block_bytes:
            raise ValueError(f"not a block: {len(block)} bytes at {offset}")
        sha256, md5 = await self._threads.run(_digests_of, block)
        digest = BlockDigest(offset=offset, length=len(block), sha256=sha256)
        block_id = BlockId(block=digest, origin=self._origin)
        if offset == 0:
            self._small = None
        if self._is_small(digest):
            self._small = bytes(block), md5
        elif not await self._is_taken():
            await self._stage(block_id, memoryview(block), md5)
        self._blocks[offset] = block_id
        return sha256

    def _is_small(self, block: BlockDigest) -> bool:
        """Whether it is all of a small object: only a last block is shorter than others."""
        is_only = block.offset == 0 and block.length < self._block_bytes
        return is_only and block.length <= SMALL_BYTES

    async def _stage(self, block_id: BlockId, block: memoryview, md5: bytes) -> None:
        try:
            await self._store.stage(self._name, block_id.encode(), block, md5)
        except AlreadyExistsError:
            self._taken = True

    async def _is_taken(self) -> bool:
        async with self._looking:
            if self._taken is None:
                self._taken = await self._store.head(self._name) is not None
            return self._taken

    async def commit(self, *, size: int) -> Stored:
        blocks = [self._blocks[offset].block for offset in sorted(self._blocks)]
        check_tiling({block.offset: block.length for block in blocks}, size)
        if self._taken:
            raise AlreadyExistsError(f"{self._name!r} exists")
        await self._make(blocks, size)
        properties = await self._store.head(self._name)
        if properties is None:
            raise ArchiveUnavailableError(f"{self._name!r} is not there yet")
        stored = blob_facts.stored_from(self._name, properties)
        if stored.size_bytes != size:
            raise IntegrityError(f"{self._name!r} has {stored.size_bytes} bytes")
        return stored

    async def _make(self, blocks: Sequence[BlockDigest], size: int) -> None:
        """One request, for all of a small object or for the list of the blocks."""
        digests = _told(blocks, size)
        if blocks and self._small is None:
            ids = [self._blocks[block.offset].encode() for block in blocks]
            what = Description(digests=digests, is_content=self._is_content)
            await self._store.commit(self._name, ids, what)
            return
        data, md5 = self._small or (b"", _digests_of(b"")[1])
        what = Description(digests=digests, md5=md5, is_content=self._is_content)
        await self._store.put(self._name, data, what)


def _told(blocks: Sequence[BlockDigest], size: int) -> dict[str, str]:
    """What the blob's metadata say of its bytes; the whole's hash where that is known."""
    whole = {"sha256": blocks[0].sha256} if len(blocks) == 1 else {}
    return {"size": str(size), "blocks_sha256": blocks_sha256(blocks), **whole}


def _digests_of(block: bytearray | memoryview | bytes) -> tuple[str, bytes]:
    """sha256 (hex) for us, MD5 for the service, which checks it before it takes the block."""
    md5 = hashlib.md5(block, usedforsecurity=False)
    return hashlib.sha256(block).hexdigest(), md5.digest()
