"""What a batch of puts does to the chunks, decided before anything is written. Pure."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.errors import NewerFormatError
from worker.model import Chunk, ChunkKey, PutResult
from worker.queues import columns, merging
from worker.queues.columns import StoredChunk
from worker.stored import StoredFormatError


class Known(NamedTuple):
    """What the question before the writes asks of a row that blocks a duplicate."""

    expires_at: int
    saying: str


@dataclass(slots=True)
class Plan:
    """Filled by `put`, one delivery after the other.

    `stored` holds the known chunks whose duplicates may say more: only these were read.
    """

    known: dict[str, Known]
    settled: frozenset[str] = frozenset()
    """Rows that are known as well, and begin anew."""
    stored: dict[str, StoredChunk] = field(default_factory=dict)
    fresh: dict[str, StoredChunk] = field(default_factory=dict)
    tightened: dict[str, int] = field(default_factory=dict)
    extended: dict[str, StoredChunk] = field(default_factory=dict)
    woken: dict[str, int] = field(default_factory=dict)
    """Recordings of which more is known now, and since when."""

    def doubtful(self, chunks: Iterable[StoredChunk]) -> set[str]:
        """The known rows of which one of the chunks says something else."""
        pairs = ((chunk, self.known.get(chunk.row)) for chunk in chunks)
        return {
            chunk.row
            for chunk, known in pairs
            if known and known.saying != columns.saying(chunk)
        }

    def put(self, chunks: Iterable[StoredChunk]) -> PutResult:
        before = len(self.fresh)
        duplicates = 0
        known: set[ChunkKey] = set()
        for chunk in chunks:
            if self._is_duplicate(chunk):
                duplicates += 1
                known.add(ChunkKey(chunk.key))
            elif chunk.row in self.settled:
                known.add(ChunkKey(chunk.key))
        return PutResult(
            enqueued=len(self.fresh) - before,
            duplicates=duplicates,
            known=frozenset(known),
        )

    def _is_duplicate(self, chunk: StoredChunk) -> bool:
        row = chunk.row
        if row in self.fresh:
            self.fresh[row] = self._learnt(self.fresh[row], chunk)
            return True
        if row not in self.known:
            self.fresh[row] = chunk
            return False
        known = self.known[row]
        if chunk.expires_at < known.expires_at:
            self.known[row] = known._replace(expires_at=chunk.expires_at)
            self.tightened[row] = chunk.expires_at
        if row in self.stored:
            self._extend(row, chunk)
        return True

    def _extend(self, row: str, chunk: StoredChunk) -> None:
        learnt = self._learnt(self.stored[row], chunk)
        if _differ(learnt, self.stored[row]):
            self.stored[row] = self.extended[row] = learnt

    def _learnt(self, known: StoredChunk, news: StoredChunk) -> StoredChunk:
        learnt = added(known, news)
        if _differ(learnt, known):
            self.woken.setdefault(known.recording, news.not_before)
        return learnt


def added(known: StoredChunk, news: StoredChunk) -> StoredChunk:
    """The known chunk with what the news add. What only a newer worker reads stays as it is."""
    if _differ(known, news):
        with contextlib.suppress(NewerFormatError, StoredFormatError):
            known = _merged(known, news)
    return known._replace(expires_at=min(known.expires_at, news.expires_at))


def _differ(one: StoredChunk, other: StoredChunk) -> bool:
    return columns.saying(one) != columns.saying(other)


def _merged(known: StoredChunk, news: StoredChunk) -> StoredChunk:
    chunk = merging.merged(_chunk_of(known), _chunk_of(news))
    return known._replace(**columns.learnt(chunk))


def _chunk_of(stored: StoredChunk) -> Chunk:
    """All of it but the event, which may lie elsewhere."""
    return columns.chunk_of(stored._asdict() | {"raw": ""})
