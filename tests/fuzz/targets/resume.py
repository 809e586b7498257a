"""Ids of blocks that an earlier worker left: ours or not, and what of the object they hold."""

import hashlib
from collections.abc import Iterable

from tests.fuzz import mutations
from tests.fuzz.target import Target, fields_of
from worker import resuming
from worker.archives import blob_block_ids
from worker.archives.blob_block_ids import BlockId
from worker.model import BlockDigest

BLOCK_BYTES, RANGE_BYTES = 4, 8
MOST_BYTES = 64


def check(data: bytes) -> None:
    """The object's size on the first line, then an id a line."""
    first, rest = fields_of(data.decode(errors="surrogateescape"), 2)
    size = len(first) % MOST_BYTES
    found: list[BlockDigest] = []
    for line in rest.split("\n")[:MOST_BYTES]:
        known = blob_block_ids.decode(line)
        if known is not None:
            assert known.encode() == line
            assert len(line) == blob_block_ids.ID_CHARS
            found.append(known.block)
    told = resuming.rest_of(
        size, found, range_bytes=RANGE_BYTES, block_bytes=BLOCK_BYTES
    )
    spans = [(block.offset, block.offset + block.length) for block in told.held]
    held = [at for begin, end in spans for at in range(begin, end)]
    spans = [(begin, min(begin + RANGE_BYTES, size)) for begin in told.missing]
    missing = [at for begin, end in spans for at in range(begin, end)]
    assert sorted(held + missing) == list(range(size))
    assert set(told.held) <= set(found)


def an_id(offset: int, length: int) -> str:
    digest = hashlib.sha256(bytes([offset, length])).hexdigest()
    block = BlockDigest(offset=offset, length=length, sha256=digest)
    return BlockId(block=block, origin=blob_block_ids.origin_tag("a")).encode()


def _seeds() -> Iterable[bytes]:
    ids = [an_id(offset, BLOCK_BYTES) for offset in range(0, 24, BLOCK_BYTES)]
    yield "\n".join(["x" * 26, *ids, an_id(24, 2)]).encode()
    yield "\n".join(["x" * 26, *ids[::2], an_id(24, 3)]).encode()
    yield "\n".join(["", *ids]).encode()


RESUME = Target(name="resume", check=check, seeds=_seeds, mutate=mutations.of_lines)
