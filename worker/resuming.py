"""What of an object an earlier worker has left in the archive, range by range. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker import names
from worker.model import BlockDigest, SourceFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What is still to be fetched, and what need not be."""

    missing: Sequence[int]
    """Where the ranges begin that are to be fetched."""
    held: Sequence[BlockDigest]
    """The blocks of all other ranges."""


def origin_of(location: str, facts: SourceFacts) -> str | None:
    """Says which bytes lie at the source now; None if they can't be told from others."""
    if facts.size_bytes is None or facts.last_modified is None:
        return None
    path = names.location_path(location)
    return f"{facts.size_bytes} {facts.last_modified} {path}"


def rest_of(
    size: int, found: Sequence[BlockDigest], *, range_bytes: int, block_bytes: int
) -> Rest:
    """Tell the ranges whose blocks were all found from the others."""
    blocks = {block.offset: block for block in found}
    missing: list[int] = []
    held: list[BlockDigest] = []
    for offset in range(0, size, range_bytes):
        end = min(offset + range_bytes, size)
        within = _blocks_of(offset, end, blocks, block_bytes=block_bytes)
        held += within
        if not within:
            missing.append(offset)
    return Rest(missing=missing, held=held)


def _blocks_of(
    offset: int, end: int, blocks: Mapping[int, BlockDigest], *, block_bytes: int
) -> Sequence[BlockDigest]:
    """The blocks of [offset, end); none unless they are all there."""
    within: list[BlockDigest] = []
    for start in range(offset, end, block_bytes):
        block = blocks.get(start)
        if block is None or block.length != min(block_bytes, end - start):
            return ()
        within.append(block)
    return within
