"""Any sequence of calls: the SQLite queue and the one in memory stay the same queue."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.factories import a_chunk, a_delivery, an_announcement
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from worker.errors import LeaseLostError
from worker.model import (
    Chunk,
    ChunkKey,
    ChunkState,
    Lane,
    Lease,
    QueuedChunk,
    Sibling,
)
from worker.queues.sqlite import SqliteQueue

T = TypeVar("T")
LEASE_SECONDS = 60.0
# Expiries differ, so that there is one order of leasing.
CHUNKS = [
    a_chunk(
        document_id=f"d{n}",
        expires_at=START + timedelta(hours=n + 1),
        announcement=an_announcement(
            resource=f"resource-{n % 2}", recording_id=f"recording-{n % 3}"
        ),
    )
    for n in range(6)
]
Said = Callable[[Chunk], Chunk]


def all_of_it(chunk: Chunk) -> Chunk:
    return chunk


def less(chunk: Chunk) -> Chunk:
    unsaid = replace(chunk.announcement, recording_duration_ms=None)
    return replace(chunk, end_reason="Other", announcement=unsaid)


def nothing(chunk: Chunk) -> Chunk:
    (sibling,) = chunk.announced
    unsaid = (replace(sibling, end_reason=None),)
    return replace(less(chunk), end_reason=None, announced=unsaid)


def with_a_sibling(chunk: Chunk) -> Chunk:
    other = Sibling(key=ChunkKey("other"), index=9, end_reason=None)
    return replace(nothing(chunk), announced=(*chunk.announced, other))


def tightened(chunk: Chunk) -> datetime:
    """Before all first deadlines, no two the same."""
    return START + timedelta(seconds=1 + int(chunk.document_id[1:]))


SAID: list[Said] = [all_of_it, less, nothing, with_a_sibling]
RECORDINGS = sorted({chunk.recording for chunk in CHUNKS})


class NoJitter(Random):
    """Both queues wait equally long for a lapsed chunk."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


class QueueMachine(RuleBasedStateMachine):
    """Each rule does the same to both queues; the leases of one pair up with the other's."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.clock = ManualClock()
        self.held: list[tuple[Lease, Lease]] = []
        self.known: set[str] = set()
        self.memory = MemoryQueue(self.clock, worker="w1", random=NoJitter())
        self.run(self.open())

    async def open(self) -> None:
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        queue = SqliteQueue(
            Path(folder) / "queue.db",
            clock=self.clock,
            worker="w1",
            random=NoJitter(),
            lease_seconds=LEASE_SECONDS,
        )
        self.sqlite = await self.stack.enter_async_context(queue)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    @rule(
        chunks=st.lists(st.sampled_from(CHUNKS), max_size=4),
        sooner=st.integers(min_value=0, max_value=2),
        said=st.sampled_from(SAID),
    )
    def put(self, chunks: list[Chunk], sooner: int, said: Said) -> None:
        """The same chunks in another delivery may be more urgent, and say more or less."""
        tightened = [
            replace(
                said(chunk), expires_at=chunk.expires_at - timedelta(minutes=sooner)
            )
            for chunk in chunks
        ]
        delivery = a_delivery(*tightened)

        results = self.on_both("put", delivery)

        assert results[0] == results[1]
        self.known |= {chunk.document_id for chunk in chunks}

    @rule(
        count=st.integers(min_value=1, max_value=3),
        paused=st.sets(st.sampled_from(["resource-0", "resource-1"]), max_size=1),
        lane=st.sampled_from(Lane),
    )
    def lease(self, count: int, paused: set[str], lane: Lane) -> None:
        mine = self.run(self.memory.lease(count, paused=paused, lane=lane))
        theirs = self.run(self.sqlite.lease(count, paused=paused, lane=lane))

        assert [without_token(lease) for lease in mine] == [
            without_token(lease) for lease in theirs
        ]
        self.held += zip(mine, theirs, strict=True)

    @rule(seconds=st.sampled_from([1, 5, 59, 60, 700]))
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(recording=st.sampled_from(RECORDINGS))
    def wake(self, recording: str) -> None:
        self.on_both("wake", recording)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        self.settle(data, "extend")

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(), state=st.sampled_from([ChunkState.ARCHIVED, ChunkState.DELETED])
    )
    def complete(self, data: st.DataObject, state: ChunkState) -> None:
        self.settle(data, "complete", state, note="done")

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        seconds=st.integers(min_value=0, max_value=90),
        safe=st.booleans(),
        tight=st.booleans(),
    )
    def reschedule(
        self, data: st.DataObject, seconds: int, *, safe: bool, tight: bool
    ) -> None:
        not_before = self.clock.now() + timedelta(seconds=seconds)
        held = data.draw(st.sampled_from(self.held))
        self.settle_one(
            held,
            "reschedule",
            not_before=not_before,
            reason="r",
            error="e",
            archived=safe,
            expires_at=tightened(held[0].chunk) if tight else None,
        )

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def dead_letter(self, data: st.DataObject) -> None:
        self.settle(data, "dead_letter", reason="r", error="e")

    @precondition(lambda self: self.held)
    @rule(data=st.data(), why=st.sampled_from([{}, {"reason": "r", "error": "e"}]))
    def release(self, data: st.DataObject, why: dict[str, str]) -> None:
        self.settle(data, "release", **why)

    def settle(
        self, data: st.DataObject, verb: str, *args: object, **kwargs: object
    ) -> None:
        """Any lease that was ever given out, stale ones too."""
        held = data.draw(st.sampled_from(self.held))
        self.settle_one(held, verb, *args, **kwargs)

    def settle_one(
        self, held: tuple[Lease, Lease], verb: str, *args: object, **kwargs: object
    ) -> None:
        mine, theirs = held
        before = self.run(self.sqlite.list())
        first = self.outcome(getattr(self.memory, verb)(mine, *args, **kwargs))
        second = self.outcome(getattr(self.sqlite, verb)(theirs, *args, **kwargs))

        assert first == second
        if second is LeaseLostError:
            assert self.run(self.sqlite.list()) == before

    def outcome(self, work: Coroutine[Any, Any, object]) -> object:
        try:
            result = self.run(work)
        except LeaseLostError:
            return LeaseLostError
        return without_token(result) if isinstance(result, Lease) else result

    def on_both(self, verb: str, *args: object) -> tuple[object, object]:
        mine = self.run(getattr(self.memory, verb)(*args))
        return mine, self.run(getattr(self.sqlite, verb)(*args))

    @invariant()
    def queues_agree(self) -> None:
        assert sorted_entries(self.run(self.memory.list())) == sorted_entries(
            self.run(self.sqlite.list())
        )
        for verb in ("next_due", "first_due"):
            mine, theirs = self.on_both(verb)
            assert mine == theirs

    @invariant()
    def counts_agree(self) -> None:
        within = timedelta(hours=3)
        mine = self.run(self.memory.counts(at_risk_within=within))
        assert mine == self.run(self.sqlite.counts(at_risk_within=within))
        assert sum(mine.by_state.values()) == len(self.known)

    @invariant()
    def no_chunk_disappears(self) -> None:
        entries = self.run(self.sqlite.list())
        assert {entry.chunk.document_id for entry in entries} == self.known
        assert len(entries) == len(self.known)

    @invariant()
    def one_live_lease_at_most(self) -> None:
        for entry in self.run(self.sqlite.list()):
            mine = self.run(self.memory.attempts(entry.row))
            history = self.run(self.sqlite.attempts(entry.row))
            assert mine == history
            running = [past for past in history if past.ended_at is None]
            assert len(running) == (entry.state is ChunkState.LEASED)


def without_token(lease: Lease) -> Lease:
    return replace(lease, token=type(lease.token)(""))


def sorted_entries(entries: Any) -> list[QueuedChunk]:
    return sorted(entries, key=lambda entry: str(entry.row))


@pytest.mark.timeout(120)
def test_any_sequence_of_calls_keeps_the_contract() -> None:
    """At most one live lease per chunk, stale tokens change nothing, nothing disappears."""
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(max_examples=40, stateful_step_count=30),
    )
