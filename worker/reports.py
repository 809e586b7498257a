"""Reports that are kept in the archive: what was verified, and what was found.

New documents each time: a receipt is never edited. They name no call and nobody in it, for
they outlive an erasure; a documentId stands in a tombstone anyhow.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, with_config

from worker import stored
from worker.model import ChunkKey, RecordingKey

T = TypeVar("T")


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a verification found to be otherwise than proven.

    `name` is the object's in the archive; in a report it is left out, for it holds a call's
    id, and a report outlives the erasure of that call.
    """

    kind: str
    """`missing`, `altered`, `orphaned`, `expired`, `erased` or `unreadable`."""
    what: str
    """`content`, `metadata`, `receipt`, `manifest`, `checksums`, `file` or `tombstone`."""
    key: ChunkKey | None
    recording: RecordingKey | None
    detail: str
    name: str | None = None


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a verification looked at, in numbers."""

    chunks: int = 0
    objects: int = 0
    size_bytes: int = 0
    recordings: int = 0
    erased: int = 0
    """Chunks that are gone by an operator's will, as their tombstones say."""
    expired: int = 0
    """Objects that are gone by the rule that the operator told."""
    not_looked_at: int = 0
    """Objects outside the archive, or where they can't be read from."""
    problems: dict[str, int] = field(default_factory=dict)


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyPart:
    """A stretch of a verification. Whoever is killed goes on behind the last of them."""

    worker_version: str
    worker_instance: str
    by: str
    ended_at: datetime
    phase: str
    """`receipts`, then `recordings`."""
    until: str
    """The last receipt (its name), or the last day, that was looked at."""
    checked: tuple[ChunkKey, ...]
    tally: Tally
    problems: tuple[Problem, ...]


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySummary:
    """A verification as a whole; written when it has come to its end."""

    worker_version: str
    scope: str
    """What was asked for: `all`, `sample 100`, `since 2026-03-01`, `recordings`."""
    started_at: datetime
    ended_at: datetime
    parts: int
    tally: Tally


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One chunk that was not in the archive when it should have been."""

    recording: RecordingKey
    index: int
    document_id: str | None
    why: str
    expires_at: datetime | None


@with_config(ConfigDict(extra="ignore"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What others counted, held against the archive."""

    worker_version: str
    by: str
    at: datetime
    recordings: int
    chunks: int
    here: int
    erased: int
    at_work: int
    letters: int
    missing: tuple[Gap, ...]


_ADAPTERS: dict[type, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (VerifyPart, VerifySummary, Reconciliation)
}


def encode(report: VerifyPart | VerifySummary | Reconciliation) -> bytes:
    """As stored.encode."""
    return stored.encode_as(_ADAPTERS[type(report)], report)


def decode(kind: type[T], data: bytes) -> T:
    """As stored.decode."""
    return stored.decode_as(_ADAPTERS[kind], kind, data)
