"""What is traced, and where to: nowhere, unless this process traces.

A chunk has one trace, whatever happens to it: its id, and that of the span at its root, are
functions of the chunk's key. So every process writes into the same trace, on any machine
and days later, and nothing has to be carried through queue or archive.

One place for the whole process, as with logs and numbers (worker/telemetry/meters.py): the
engine knows of neither OpenTelemetry nor what it costs. Attributes are ids and words of our
own: no URL, no location, no message of an error.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from worker import names
from worker.errors import WorkerError
from worker.model import Chunk, ChunkKey, Lease, PutResult
from worker.stored import Receipt

Fact = str | int | float | bool
UNEXPECTED = "bug"
"""The reason of what is not an error of ours."""
CUT_SHORT = "cut-short"
"""The reason of what was cancelled: a drain ended, or the lease was lost."""


class Span(Protocol):
    """One piece of work. Calls are cheap and never fail."""

    @property
    def fields(self) -> dict[str, str]:
        """`trace_id`, for log lines; nothing if it is not traced."""
        ...

    def tell(self, **facts: Fact) -> None:
        """Add attributes."""
        ...

    def failed(self, reason: str) -> None:
        """It came to nothing; the reason is a word of worker/errors.py."""
        ...


class DeliverySpan(Span, Protocol):
    """One delivery, in a trace of its own: it may be of many chunks."""

    def announced(self, chunks: Sequence[Chunk], put: PutResult) -> None:
        """Its chunks are durable: each trace begins, or tells of one more delivery."""
        ...


class AttemptSpan(Span, Protocol):
    """One attempt, in the trace of its chunk."""

    def step(self, name: str) -> AbstractContextManager[Span]:
        """A part of the attempt."""
        ...

    def deleting(self, key: ChunkKey) -> AbstractContextManager[Span]:
        """A delete at the source, in the trace of the chunk that is deleted."""
        ...


class Leasing(Protocol):
    """Begun before a queue is asked for work."""

    def got(self, leases: Sequence[Lease]) -> None:
        """What it gave."""
        ...


class Tracing(Protocol):
    """Whoever traces. Called from the event loop's thread only."""

    def delivery(
        self, origin: str, sender: str
    ) -> AbstractContextManager[DeliverySpan]:
        """`sender` is a `traceparent` as it was sent, or empty: nobody vouches for it."""
        ...

    def leasing(self) -> Leasing: ...

    def attempt(self, lease: Lease) -> AbstractContextManager[AttemptSpan]: ...


class NoSpan:
    """Stands for every span where nobody traces."""

    fields: dict[str, str] = {}  # noqa: RUF012 - shared, and never written to

    def tell(self, **facts: Fact) -> None:
        pass

    def failed(self, reason: str) -> None:
        pass

    def announced(self, chunks: Sequence[Chunk], put: PutResult) -> None:
        pass

    def got(self, leases: Sequence[Lease]) -> None:
        pass

    def step(self, name: str) -> AbstractContextManager[Span]:  # noqa: ARG002 - the protocol's
        return _NO_SPAN

    def deleting(self, key: ChunkKey) -> AbstractContextManager[Span]:  # noqa: ARG002 - the same
        return _NO_SPAN


NO_SPAN = NoSpan()
_NO_SPAN = nullcontext(NO_SPAN)


class NoTracing:
    """Traces nothing."""

    def delivery(
        self,
        origin: str,  # noqa: ARG002 - the protocol's
        sender: str,  # noqa: ARG002 - the same
    ) -> AbstractContextManager[DeliverySpan]:
        return _NO_SPAN

    def leasing(self) -> Leasing:
        return NO_SPAN

    def attempt(self, lease: Lease) -> AbstractContextManager[AttemptSpan]:  # noqa: ARG002 - the same
        return _NO_SPAN


@dataclass(slots=True)
class _Process:
    tracing: Tracing = field(default_factory=NoTracing)


_PROCESS = _Process()


def delivery(origin: str, sender: str) -> AbstractContextManager[DeliverySpan]:
    """See Tracing."""
    return _PROCESS.tracing.delivery(origin, sender)


def leasing() -> Leasing:
    """See Tracing."""
    return _PROCESS.tracing.leasing()


def attempt(lease: Lease) -> AbstractContextManager[AttemptSpan]:
    """See Tracing."""
    return _PROCESS.tracing.attempt(lease)


@contextmanager
def traced(tracing: Tracing) -> Iterator[None]:
    """Have this process' spans go to `tracing` while the body runs."""
    before, _PROCESS.tracing = _PROCESS.tracing, tracing
    try:
        yield
    finally:
        _PROCESS.tracing = before


def reason_of(error: BaseException) -> str:
    """Why something came to nothing, in one word: what an error says may quote anything."""
    if isinstance(error, asyncio.CancelledError):
        return CUT_SHORT
    return error.reason if isinstance(error, WorkerError) else UNEXPECTED


def trace_id(key: ChunkKey) -> str:
    """The id of a chunk's trace: 32 hex digits.

    The half by which a share of the traces is sampled is as good as random, so that all
    processes keep the same ones.
    https://www.w3.org/TR/trace-context-2/#random-trace-id-flag
    """
    return _digest(key)[:32]


def root_id(key: ChunkKey) -> str:
    """The id of the span under which everything in the chunk's trace hangs: 16 hex digits."""
    return _digest(key)[32:48]


def _digest(key: ChunkKey) -> str:
    return names.digest("recording-worker/trace", key)


def key_of(receipt: Receipt) -> ChunkKey:
    """The key under which a receipt's chunk was announced, which is that of its trace.

    A documentId that another announcement had taken has its receipt under another key.
    """
    if names.belongs(receipt.content_path, receipt.document_id):
        return ChunkKey(names.safe_id(receipt.document_id))
    return receipt.key
