"""One call of `lease`: receive, sort out what can't be worked on, fan out deliveries."""

import base64
import math
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from worker.errors import LeaseLostError, NewerFormatError, QueueUnavailableError
from worker.model import Chunk, Lane, Lease
from worker.queues import entries
from worker.queues.storage import fan_out, messages, names, settling
from worker.queues.storage.channel import Channel
from worker.queues.storage.fan_out import Announced
from worker.queues.storage.means import InHand, Means
from worker.queues.storage.messages import ChunkMessage, DeliveryMessage, Poison
from worker.stored import StoredFormatError
from worker.telemetry import meters
from worker.telemetry.instruments import DEAD_LETTERS

MOST_ROUNDS = 16
"""Of receiving within one call, however many messages there are to be put aside."""
POSTPONED_SECONDS = 60
"""What only a newer worker can read waits this long for one."""
PAUSED_SECONDS = (20, 40)
"""How long a chunk of a paused resource is hidden; spread, so that they don't come at once."""
MISSING_SECONDS = (5, 600)
LOST_AFTER = timedelta(hours=1)
"""An announcement that can't be found for so long is lost."""
LOST = "announcement-lost"
FOREIGN = "foreign-message"
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Leasing:
    """Fills `leases` until there are `count`, or nothing more is due."""

    means: Means
    count: int
    paused: Collection[str]
    lane: Lane
    leases: list[Lease] = field(default_factory=list)
    is_stopped: bool = False
    reclaimed: list[str] = field(default_factory=list)
    postponed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    async def run(self) -> Sequence[Lease]:
        try:
            await self._fill()
        except QueueUnavailableError:
            if not self.leases:
                raise
        finally:
            self._report()
        self.leases.sort(key=_by_deadline, reverse=self.lane is Lane.NEWEST)
        return self.leases

    @property
    def _wanted(self) -> int:
        return 0 if self.is_stopped else self.count - len(self.leases)

    async def _fill(self) -> None:
        """Urgent ones first; but what keeps failing there must not hold every slot."""
        usual, urgent = self.means.usual, self.means.urgent
        by_turn = (urgent, usual) if self.lane is Lane.DEADLINE else (usual, urgent)
        for _ in range(MOST_ROUNDS):
            for channel in by_turn:
                if self._wanted > 0 and await self._receive(channel):
                    break
            else:
                return

    async def _receive(self, channel: Channel) -> bool:
        """Take what one answer of the queue holds; whether it held anything."""
        means = self.means
        until = means.clock.now() + timedelta(seconds=means.lease_seconds)
        received_s = means.clock.monotonic()
        page = await channel.receive(self._wanted, seconds=means.lease_seconds)
        left = [
            InHand(means=means, channel=channel, received=each, renewed_s=received_s)
            for each in page
        ]
        # Chunks first: what is fanned out fills the slots that they leave.
        left.sort(key=_is_delivery)
        try:
            while left:
                with suppress(LeaseLostError):
                    await self._sort_out(left[0], until)
                left.pop(0)
        finally:
            for each in left:
                with suppress(LeaseLostError, QueueUnavailableError):
                    await _give_back(each)
        return bool(page)

    async def _sort_out(self, in_hand: InHand, until: datetime) -> None:
        """One message to its lease, or to where it belongs. LeaseLostError: to nobody."""
        try:
            message = messages.decode(in_hand.received.text)
            if isinstance(message, DeliveryMessage):
                await self._fan_out(in_hand, message)
            else:
                await self._lease(in_hand, message, until)
        except NewerFormatError:
            await in_hand.put_back(seconds=POSTPONED_SECONDS)
            self.postponed.append(in_hand.received.id)
        except StoredFormatError as error:
            await self._poison(in_hand, str(error))

    async def _fan_out(self, in_hand: InHand, message: DeliveryMessage) -> None:
        if self._wanted <= 0:
            await in_hand.put_back()
            return
        name, _ = names.parse_part(message.part)
        part = await self.means.ledger.parts.part(name)
        if part is None:
            await self._miss_delivery(in_hand, message)
            return
        self.leases += await fan_out.fan_out(
            self.means, in_hand, part, choose=self._choose
        )

    def _choose(self, announced: Sequence[Announced]) -> Sequence[Announced]:
        """What of a part is leased at once."""
        may = [each for each in announced if each.message.resource not in self.paused]
        may.sort(
            key=lambda each: each.message.expires_at,
            reverse=self.lane is Lane.NEWEST,
        )
        return may[: self._wanted]

    async def _lease(
        self, in_hand: InHand, message: ChunkMessage, until: datetime
    ) -> None:
        received = in_hand.received.times
        if message.resource in self.paused:
            seconds = int(self.means.random.uniform(*PAUSED_SECONDS))
            await _settle(in_hand, message, seconds=seconds)
            return
        lapses = message.attempt(received) - message.attempts - 1
        if lapses > 0:
            self.reclaimed.append(message.row)
            spent = message.attempts + lapses
            delay = entries.lapse_delay(spent, self.means.random)
            if delay:
                lapsed = replace(message, attempts=spent)
                await _settle(in_hand, lapsed, seconds=math.ceil(delay.total_seconds()))
                return
        try:
            chunk = await self._chunk(message)
        except NewerFormatError:
            await _settle(in_hand, message, seconds=POSTPONED_SECONDS)
            self.postponed.append(message.row)
            return
        except StoredFormatError as error:
            await self._bury(in_hand, message, error.reason, str(error))
            return
        if chunk is None:
            await self._miss_chunk(in_hand, message)
        else:
            self.leases.append(in_hand.lease(chunk, message, until))

    async def _chunk(self, message: ChunkMessage) -> Chunk | None:
        """The chunk as announced, with the earliest deadline known."""
        ref = names.parse_ref(message.ref)
        chunk = await self.means.ledger.parts.chunk(ref)
        if chunk is None:
            return None
        return replace(chunk, expires_at=min(chunk.expires_at, message.expires_at))

    async def _miss_chunk(self, in_hand: InHand, message: ChunkMessage) -> None:
        """Its announcement isn't there. Nobody took it away, so it may come back."""
        now = self.means.clock.now()
        since = message.missing_since or now
        if now - since >= LOST_AFTER:
            await self._bury(
                in_hand, message, LOST, f"no {message.ref!r} since {since}"
            )
            return
        missing = replace(message, missing_since=since)
        await _settle(in_hand, missing, seconds=_missing_seconds(now - since))

    async def _miss_delivery(self, in_hand: InHand, message: DeliveryMessage) -> None:
        """The same for a whole part; lost, it is told where a human looks for messages."""
        now = self.means.clock.now()
        since = message.missing_since or now
        if now - since >= LOST_AFTER:
            why = f"no {message.part!r} since {since}"
            await self._poison(in_hand, why, reason=LOST)
            return
        log.error("delivery.missing", name=message.part)
        text = messages.encode(replace(message, missing_since=since))
        await in_hand.put_back(seconds=_missing_seconds(now - since), text=text)

    async def _bury(
        self, in_hand: InHand, message: ChunkMessage, reason: str, error: str
    ) -> None:
        poison = self.means.told(reason, entries.bounded(error), message)
        await settling.bury(self.means, in_hand.held(message), message, poison)
        self.unreadable.append(message.row)

    async def _poison(
        self, in_hand: InHand, why: str, *, reason: str = FOREIGN
    ) -> None:
        """A message that leads nowhere must neither stall others nor be lost."""
        means, text = self.means, in_hand.received.text
        poison = Poison(
            reason=reason,
            error=why,
            worker=means.worker,
            at=means.clock.now(),
            attempts=in_hand.received.times,
        )
        raw = text.encode(errors="surrogatepass")
        if len(raw) <= messages.MOST_RAW_BYTES:
            poison = replace(poison, raw_base64=base64.b64encode(raw).decode())
        else:
            name = names.foreign_name(raw)
            await means.ledger.create(name, raw)
            poison = replace(poison, raw_stored=name)
        await means.poison.send(messages.encode_poison(poison))
        await in_hand.delete()
        meters.add(DEAD_LETTERS, reason=reason)
        log.error("message.poisoned", queue=in_hand.channel.name, error=why)

    def _report(self) -> None:
        if self.reclaimed:
            log.warning("lease.reclaimed", rows=self.reclaimed)
        if self.postponed:
            log.warning("chunk.postponed", rows=self.postponed, reason="newer-format")
        if self.unreadable:
            meters.add(DEAD_LETTERS, len(self.unreadable), reason="unreadable")
            log.error("chunk.dead_lettered", rows=self.unreadable, reason="unreadable")


def _missing_seconds(waited: timedelta) -> int:
    """How long until the next look for what is missing: soon at first."""
    soonest, latest = MISSING_SECONDS
    return max(soonest, min(int(waited.total_seconds()), latest))


def _by_deadline(lease: Lease) -> datetime:
    return lease.chunk.expires_at


def _is_delivery(in_hand: InHand) -> bool:
    try:
        message = messages.decode(in_hand.received.text)
    except (NewerFormatError, StoredFormatError):
        return False
    return isinstance(message, DeliveryMessage)


async def _settle(in_hand: InHand, message: ChunkMessage, *, seconds: int) -> None:
    """Put a chunk back; this reception was no attempt."""
    settled = message.settled(
        attempts=message.attempts, received=in_hand.received.times
    )
    await in_hand.put_back(seconds=seconds, text=messages.encode(settled))


async def _give_back(in_hand: InHand) -> None:
    """Not worked on after all: due now and not when it lapses, and nothing was spent."""
    try:
        message = messages.decode(in_hand.received.text)
    except (NewerFormatError, StoredFormatError):
        message = None
    if isinstance(message, ChunkMessage):
        await _settle(in_hand, message, seconds=0)
    else:
        await in_hand.put_back()
