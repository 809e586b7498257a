"""A lease in hand: renewed while the work goes on, and settled once."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, assert_never

from worker.errors import LeaseLostError, QueueUnavailableError
from worker.model import Lease
from worker.ports import ChunkQueue, Clock
from worker.settlement import (
    Complete,
    DeadLetter,
    Nothing,
    Release,
    Reschedule,
    Settlement,
)

T = TypeVar("T")
EXTENSIONS_PER_LEASE = 3
"""Renewed at a third of its time, so that two renewals may fail before it is lost."""


class HeldLease:
    """The newest form of one lease: a queue may change the token with every extension."""

    def __init__(self, lease: Lease, *, queue: ChunkQueue, clock: Clock) -> None:
        self.lease = lease
        self._queue = queue
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    @asynccontextmanager
    async def extended(self, lease_seconds: float) -> AsyncIterator[None]:
        """Extend the lease while inside. When it is lost, the body is cut with LeaseLostError."""
        lost = asyncio.Event()
        body = asyncio.current_task()
        if body is None:
            raise RuntimeError("a lease is held by a task")
        extending = asyncio.create_task(
            self._extend(lease_seconds / EXTENSIONS_PER_LEASE, lost, body),
            name="extend lease",
        )
        try:
            yield
        except asyncio.CancelledError:
            if not lost.is_set() or body.uncancel() > 0:
                raise
            raise LeaseLostError("another worker owns the chunk") from None
        finally:
            extending.cancel()
            await asyncio.wait({extending})

    async def _extend(
        self, interval_s: float, lost: asyncio.Event, body: asyncio.Task[object]
    ) -> None:
        is_ours = True
        while is_ours:
            await self._clock.sleep(interval_s)
            # Cut within its request, it may have changed the token that is to settle.
            is_ours = await to_its_end(self._renewed())
        lost.set()
        body.cancel()

    async def _renewed(self) -> bool:
        """Extend once; whether the lease is still ours. The queue bounds how long it takes."""
        try:
            async with self._one_at_a_time:
                self.lease = await self._queue.extend(self.lease)
        except QueueUnavailableError:
            return True
        except LeaseLostError:
            return False
        return True

    async def settle(self, settlement: Settlement) -> None:
        """End the lease. Raises LeaseLostError, or QueueUnavailableError: it will lapse."""
        async with self._one_at_a_time:
            await _settle(self._queue, self.lease, settlement)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Do the work even while cancelled: a lease half settled is lost until it lapses."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _settle(queue: ChunkQueue, lease: Lease, settlement: Settlement) -> None:
    match settlement:
        case Complete(state=state, note=note):
            await queue.complete(lease, state, note=note)
        case Reschedule():
            await queue.reschedule(
                lease,
                not_before=settlement.not_before,
                reason=settlement.reason,
                error=settlement.error,
                archived=settlement.archived,
                others_close=settlement.others_close,
                expires_at=settlement.expires_at,
            )
        case DeadLetter(reason=reason, error=error):
            await queue.dead_letter(lease, reason=reason, error=error)
        case Release(not_before=not_before, reason=reason, error=error):
            await queue.release(
                lease, not_before=not_before, reason=reason, error=error
            )
        case Nothing():
            pass
        case _:
            assert_never(settlement)
