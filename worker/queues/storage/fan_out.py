"""From one part of a delivery to its chunks: names in the ledger, then messages.

Whoever receives a delivery does it, for a part is small. It may be done twice or be cut
anywhere: the delivery's message goes last, and until then brings the part back.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from worker.errors import LeaseLostError
from worker.model import Chunk, Lease, RecordingKey
from worker.queues import entries
from worker.queues.storage import messages, names
from worker.queues.storage.means import InHand, Means
from worker.queues.storage.messages import ChunkMessage
from worker.queues.storage.names import Mark, Ref
from worker.queues.storage.parallel import in_parallel
from worker.queues.storage.parts import Part

T = TypeVar("T")
FEW_RECORDINGS = 8
RENEW_AFTER = 32
"""Operations between two looks at the lease on the delivery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """One chunk of a part, and the message that it gets."""

    chunk: Chunk
    message: ChunkMessage


Choose = Callable[[Sequence[Announced]], Sequence[Announced]]


async def fan_out(
    means: Means, delivery: InHand, part: Part, *, choose: Choose
) -> list[Lease]:
    """Make the part's chunks known, and each at work by a message of its own.

    What `choose` picks is leased to the caller at once: its message is sent hidden, so that
    slots don't wait for a backlog of deliveries to be fanned out first.
    """
    announced = [_announced(ref, chunk) for ref, chunk in part.refs()]
    await _know(means, announced, delivery)
    chosen = choose(announced)
    taken = {each.message.row for each in chosen}

    async def send(each: Announced) -> None:
        await means.send(each.message)

    others = [each for each in announced if each.message.row not in taken]
    await _in_turns(others, send, delivery)
    leases: list[Lease] = []

    async def lease(each: Announced) -> None:
        leases.append(await _send_leased(means, each))

    await in_parallel(chosen, lease)
    await means.ledger.create(part.name.fanned)
    with suppress(LeaseLostError):
        # Another worker does the same by now; to the same end.
        await delivery.delete()
    return leases


def _announced(ref: Ref, chunk: Chunk) -> Announced:
    row = entries.entry_id(chunk)
    message = messages.chunk_message(chunk, row=row, ref=ref)
    return Announced(chunk=chunk, message=message)


async def _know(means: Means, announced: Sequence[Announced], delivery: InHand) -> None:
    """Write all names; whoever was given up is alive again."""
    wanted = [
        name
        for each in announced
        for name in names.index_names(
            each.chunk, row=each.message.row, ref=each.message.ref
        )
    ]
    await _in_turns(wanted, means.ledger.create, delivery)
    rows = {each.message.row: each.message for each in announced}

    async def revive(recording: RecordingKey | None) -> None:
        async for death in means.ledger.deaths(recording):
            if death.row in rows:
                # The death goes last: it is what brings this back, if it is cut.
                await means.ledger.overrule(rows[death.row].due, Mark.PENDING)
                await means.ledger.create(death.revived)

    recordings = {each.chunk.recording for each in announced}
    # All the dead there are, mostly none, are sooner looked through than many folders.
    folders = recordings if len(recordings) <= FEW_RECORDINGS else [None]
    await _in_turns(folders, revive, delivery)


async def _in_turns(
    items: Iterable[T], do: Callable[[T], Awaitable[object]], delivery: InHand
) -> None:
    """In parallel, and holding on to the delivery."""
    left = list(items)
    for start in range(0, len(left), RENEW_AFTER):
        await in_parallel(left[start : start + RENEW_AFTER], do)
        await delivery.renew()


async def _send_leased(means: Means, each: Announced) -> Lease:
    """Send the chunk's message as one that was received already: its first attempt began."""
    message = replace(each.message, seen=-1)
    channel = means.channel_for(message.expires_at)
    until = means.clock.now() + timedelta(seconds=means.lease_seconds)
    sent = await channel.send(
        messages.encode(message), hidden_seconds=means.lease_seconds
    )
    in_hand = InHand(means=means, channel=channel, received=sent, renewed_s=0)
    return in_hand.lease(each.chunk, message, until)
