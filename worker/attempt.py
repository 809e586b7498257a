"""What one attempt measured: filled in on the way down, logged once as `chunk.finished`.

An explicit object, because values bound to a task's context never reach its parent.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from worker.model import Chunk
from worker.ports import Clock
from worker.telemetry.spans import NO_SPAN, AttemptSpan
from worker.transfer import TransferStats


class Observer(Protocol):
    """Whoever watches chunks move, such as a progress view. Calls are cheap and never fail."""

    def stage(self, chunk: Chunk, stage: str) -> None:
        """`downloading`, `verifying`, `archived`, `already archived`, `deleted`, `dead`, …"""
        ...

    def moved(self, chunk: Chunk, done_bytes: int, total_bytes: int | None) -> None:
        """So many bytes of the content have arrived."""
        ...

    def explain(self, chunk: Chunk, note: str) -> None:
        """Why the chunk stands where it stands."""
        ...


class NoObserver:
    """Watches nothing."""

    def stage(self, chunk: Chunk, stage: str) -> None:
        pass

    def moved(self, chunk: Chunk, done_bytes: int, total_bytes: int | None) -> None:
        pass

    def explain(self, chunk: Chunk, note: str) -> None:
        pass


@dataclass(slots=True, kw_only=True)
class AttemptLog:
    """Measurements of one attempt at one chunk."""

    clock: Clock
    expires_at: datetime
    """The chunk's deadline, tightened when the metadata says so."""
    stats: TransferStats = field(default_factory=TransferStats)
    seconds: dict[str, float] = field(default_factory=dict)
    blob: str | None = None
    flags: tuple[str, ...] = ()
    archived: bool = False
    """A receipt exists: the bytes are safe."""
    archived_bytes: int | None = None
    """How many of them this attempt made safe; None: an earlier one did, or none has yet."""
    source_answered: bool = False
    """The chunk came from its source in this attempt, so that credential works."""
    told: bool = False
    """What is lost with the chunk stands in the manifest, or can't be written there."""
    span: AttemptSpan = NO_SPAN
    part: str | None = None
    """Which of the chunk's objects is at work, for the spans: content or metadata."""

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time spent inside to `seconds[step]`."""
        started = self.clock.monotonic()
        try:
            yield
        finally:
            spent = self.clock.monotonic() - started
            self.seconds[step] = self.seconds.get(step, 0.0) + spent

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What is done inside has a span of its own in the chunk's trace."""
        before = self.stats.bytes
        with self.span.step(name) as span:
            if self.part is not None:
                span.tell(part=self.part)
            try:
                yield
            finally:
                if self.stats.bytes > before:
                    span.tell(bytes=self.stats.bytes - before)
