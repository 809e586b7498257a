"""How leases are extended and end: every change is fenced by the message's receipt.

The message is touched first: if that fails as LeaseLostError, nothing was changed. Then the
ledger is told, and the message goes last: cut in between, it comes back and it is done again.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from worker.model import ChunkState, Lease
from worker.queues.entries import bounded
from worker.queues.storage import messages, names
from worker.queues.storage.means import Means
from worker.queues.storage.messages import ChunkMessage, Held, Poison, held_from
from worker.queues.storage.names import Death, Mark

FIRST_LOOK_SECONDS = 5
LONGEST_LOOK_SECONDS = 600
"""A chunk that waits for its recording can't be woken here: it looks for itself."""
MOST_DOUBLINGS = 10
_DONE = {ChunkState.ARCHIVED: Mark.ARCHIVED, ChunkState.DELETED: Mark.DELETED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """How a chunk goes back: see ports.ChunkQueue.reschedule."""

    not_before: datetime
    reason: str
    error: str
    archived: bool
    others_close: bool
    expires_at: datetime | None


async def extend(means: Means, lease: Lease) -> Lease:
    until = means.clock.now() + timedelta(seconds=means.lease_seconds)
    held = await _updated(means, held_from(lease.token), seconds=means.lease_seconds)
    return replace(lease, token=held.token, leased_until=until)


async def _updated(
    means: Means, held: Held, message: ChunkMessage | None = None, *, seconds: int
) -> Held:
    """Hide the message so long, and have it say something else. LeaseLostError: not ours."""
    receipt = await means.channel(held.queue).update(
        held.id,
        held.receipt,
        seconds=seconds,
        text=None if message is None else messages.encode(message),
    )
    return replace(held, receipt=receipt, message=message or held.message)


async def complete(means: Means, lease: Lease, state: ChunkState) -> None:
    if state not in _DONE:
        raise ValueError(f"a chunk can't be completed as {state!r}")
    held = await _updated(means, held_from(lease.token), seconds=means.lease_seconds)
    await _mark(means, held.message, _DONE[state])
    await _revoke_death(means, held.message, _DONE[state])
    await _delete(means, held)


async def _revoke_death(means: Means, message: ChunkMessage, mark: Mark) -> None:
    """Of several announcements of a chunk one may have died before another came home."""
    known = await means.ledger.last_death(message.recording, message.row)
    if known is None:
        return
    await means.ledger.overrule(message.due, mark)
    death, is_revived = known
    if not is_revived:
        await means.ledger.create(death.revived)


async def _mark(means: Means, message: ChunkMessage, mark: Mark) -> None:
    await means.ledger.mark(message.due, mark)
    if message.former_due is not None:
        # Whoever learnt of the earlier deadline may have been cut before it said so.
        await means.ledger.mark(message.former_due, Mark.MOVED)


async def _delete(means: Means, held: Held) -> None:
    await means.channel(held.queue).delete(held.id, held.receipt)


async def release(means: Means, lease: Lease, not_before: datetime | None) -> None:
    """The attempt that was counted when it began is given back."""
    held = held_from(lease.token)
    message = held.message.settled(attempts=lease.attempts - 1, received=held.received)
    await _updated(means, held, message, seconds=means.seconds_until(not_before))


async def reschedule(means: Means, lease: Lease, again: Again) -> None:
    held = held_from(lease.token)
    if again.archived and again.others_close:
        # The receipt is durable, and the last sibling closes the recording for all.
        held = await _updated(means, held, seconds=means.lease_seconds)
        await _mark(means, held.message, Mark.ARCHIVED)
        await _delete(means, held)
        return
    message = _rescheduled(held, lease, again)
    known_due = held.message.due
    is_moved = message.due != known_due
    is_new_to_wait = again.archived and not held.message.archived
    if is_moved or is_new_to_wait:
        held = await _updated(means, held, message, seconds=means.lease_seconds)
    if is_moved:
        await means.ledger.create(str(message.due))
        await means.ledger.mark(known_due, Mark.MOVED)
    if is_new_to_wait:
        await means.ledger.mark(message.due, Mark.WAITING)
    await _put_back(means, held, message, again)


def _rescheduled(held: Held, lease: Lease, again: Again) -> ChunkMessage:
    known = held.message.settled(attempts=lease.attempts, received=held.received)
    learnt = min(again.expires_at or known.expires_at, known.expires_at)
    first = known.first_expires_at
    return replace(
        known,
        expires_at=learnt,
        first_expires_at=known.expires_at if learnt < known.expires_at else first,
        archived=again.archived,
        looks=known.looks + 1 if again.archived else 0,
        reason=bounded(again.reason),
        error=bounded(again.error),
    )


async def _put_back(
    means: Means, held: Held, message: ChunkMessage, again: Again
) -> None:
    seconds = means.seconds_until(again.not_before)
    if again.archived:
        doublings = min(message.looks - 1, MOST_DOUBLINGS)
        look = min(FIRST_LOOK_SECONDS * 2**doublings, LONGEST_LOOK_SECONDS)
        seconds = min(seconds, look)
    is_usual = held.queue == means.usual.suffix
    if not (is_usual and means.is_urgent(message.expires_at)):
        await _updated(means, held, message, seconds=seconds)
        return
    held = await _updated(means, held, message, seconds=means.lease_seconds)
    # Sent before it is deleted: cut in between, it is there twice and not lost.
    moved = replace(message, seen=0)
    await means.urgent.send(messages.encode(moved), hidden_seconds=seconds)
    await means.ledger.mark(message.due, Mark.URGENT)
    await _delete(means, held)


async def dead_letter(means: Means, lease: Lease, *, reason: str, error: str) -> None:
    held = held_from(lease.token)
    message = held.message.settled(attempts=lease.attempts, received=held.received)
    poison = means.told(bounded(reason), bounded(error), message)
    told = replace(poison, document_id=bounded(lease.chunk.document_id))
    await bury(means, held, message, told)


async def bury(means: Means, held: Held, message: ChunkMessage, poison: Poison) -> None:
    """Park a chunk: told in the poison queue, and kept in the ledger."""
    held = await _updated(means, held, message, seconds=means.lease_seconds)
    await means.poison.send(messages.encode_poison(poison))
    known = await means.ledger.last_death(message.recording, message.row)
    number = 1
    if known is not None:
        death, is_revived = known
        number = death.number + is_revived
    death = Death(
        recording=message.recording,
        row=message.row,
        number=number,
        reason=names.slug(poison.reason),
    )
    data = messages.encode_poison(poison).encode()
    await means.ledger.create(death.document, data)
    await _mark(means, message, Mark.DEAD)
    if known is not None:
        await means.ledger.overrule(message.due, Mark.DEAD)
    await _delete(means, held)
