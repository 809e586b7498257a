"""What leasing, settling, looking and rescuing share: the ledger, the queues, the time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from worker.model import Chunk, Lease, ReceivedMessage
from worker.ports import Clock
from worker.queues.storage import messages
from worker.queues.storage.channel import LONGEST_HIDDEN_SECONDS, Channel
from worker.queues.storage.ledger import Ledger
from worker.queues.storage.messages import ChunkMessage, Held, Poison

URGENT_WITHIN = timedelta(hours=6)
"""What has less time left goes to the queue that is polled first."""
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """`usual`, `urgent` and `poison` are the queues; `worker` names this one in what it says."""

    ledger: Ledger
    usual: Channel
    urgent: Channel
    poison: Channel
    clock: Clock
    random: Random
    worker: str
    lease_seconds: int

    @property
    def working(self) -> Sequence[Channel]:
        """The queues of what is at work, the urgent one first."""
        return self.urgent, self.usual

    def channel(self, suffix: str) -> Channel:
        return self.urgent if suffix == self.urgent.suffix else self.usual

    def is_urgent(self, expires_at: datetime) -> bool:
        return expires_at - self.clock.now() < URGENT_WITHIN

    def channel_for(self, expires_at: datetime) -> Channel:
        return self.urgent if self.is_urgent(expires_at) else self.usual

    def seconds_until(self, at: datetime | None) -> int:
        """For how long a message is to be hidden, as far as the service can."""
        if at is None:
            return 0
        left = math.ceil((at - self.clock.now()).total_seconds())
        return max(0, min(left, LONGEST_HIDDEN_SECONDS))

    async def send(self, message: ChunkMessage) -> None:
        text = messages.encode(message)
        await self.channel_for(message.expires_at).send(text)

    def told(self, reason: str, error: str, message: ChunkMessage) -> Poison:
        """Why a chunk is given up."""
        return Poison(
            reason=reason,
            error=error,
            worker=self.worker,
            at=self.clock.now(),
            attempts=message.attempts,
            row=message.row,
            ref=message.ref,
            recording=message.recording,
            expires_at=message.expires_at,
        )


@dataclass(slots=True, kw_only=True)
class InHand:
    """A message that was received and is not settled yet; others don't see it."""

    means: Means
    channel: Channel
    received: ReceivedMessage
    renewed_s: float

    async def renew(self) -> None:
        """Hold on to it while the work goes on. LeaseLostError if it is another's by now."""
        clock, seconds = self.means.clock, self.means.lease_seconds
        if clock.monotonic() - self.renewed_s < seconds / 3:
            return
        self.renewed_s = clock.monotonic()
        await self._update(seconds, None)

    async def put_back(self, *, seconds: int = 0, text: str | None = None) -> None:
        await self._update(seconds, text)

    async def _update(self, seconds: int, text: str | None) -> None:
        held = self.received
        receipt = await self.channel.update(
            held.id, held.receipt, seconds=seconds, text=text
        )
        self.received = ReceivedMessage(
            id=held.id, receipt=receipt, text=held.text, times=held.times
        )

    async def delete(self) -> None:
        await self.channel.delete(self.received.id, self.received.receipt)

    def held(self, message: ChunkMessage) -> Held:
        return Held(
            queue=self.channel.suffix,
            id=self.received.id,
            receipt=self.received.receipt,
            received=self.received.times,
            message=message,
        )

    def lease(self, chunk: Chunk, message: ChunkMessage, until: datetime) -> Lease:
        """The right to work on the chunk, from this message."""
        held = self.held(message)
        return Lease(
            chunk=chunk,
            row=message.row,
            token=held.token,
            attempts=message.attempt(held.received),
            leased_until=until,
            enqueued_at=chunk.received_at,
        )
