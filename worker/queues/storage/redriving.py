"""A dead letter back to work: a message first, hidden, then what the ledger says of it.

Killed after the message it is worked on all the same, and whoever completes it revokes the
death; killed before, nothing happened. The name that ends the death comes last.
"""

from contextlib import suppress
from dataclasses import replace

from worker.errors import LeaseLostError, NewerFormatError
from worker.model import QueuedChunk, Redriven
from worker.queues.storage import messages, names
from worker.queues.storage.means import Means
from worker.queues.storage.messages import ChunkMessage, Poison
from worker.queues.storage.names import Death, Mark, NoNameError
from worker.stored import StoredFormatError

HIDDEN_SECONDS = 30
"""Longer than it takes to tell the ledger: else its end could be told before its beginning."""


async def redrive(means: Means, entry: QueuedChunk) -> Redriven:
    """Have the latest death of the entry undone."""
    known = await means.ledger.last_death(entry.chunk.recording, entry.row)
    if known is None:
        return Redriven.NOT_DEAD
    death, is_revived = known
    if is_revived:
        return Redriven.NOT_DEAD
    message = await _message(means, death)
    if message is None:
        return Redriven.UNREADABLE
    await _send(means, message, death)
    return Redriven.REDRIVEN


async def _message(means: Means, death: Death) -> ChunkMessage | None:
    """The chunk's first message once more; None if nobody can read what announced it."""
    with suppress(NewerFormatError, StoredFormatError, NoNameError):
        poison = messages.decode_poison(await means.ledger.read(death.document) or b"")
        ref = names.parse_ref(poison.ref or "")
        chunk = await means.ledger.parts.chunk(ref)
        if chunk is not None:
            first = messages.chunk_message(chunk, row=death.row, ref=ref)
            return _with_deadline(first, poison)
    return None


def _with_deadline(message: ChunkMessage, poison: Poison) -> ChunkMessage:
    """A deadline that was learnt before it died still counts."""
    learnt = poison.expires_at or message.expires_at
    if learnt >= message.expires_at:
        return message
    return replace(message, expires_at=learnt, first_expires_at=message.expires_at)


async def _send(means: Means, message: ChunkMessage, death: Death) -> None:
    channel = means.channel_for(message.expires_at)
    text = messages.encode(message)
    sent = await channel.send(text, hidden_seconds=HIDDEN_SECONDS)
    await means.ledger.create(str(message.due))
    await means.ledger.overrule(message.due, Mark.PENDING)
    if channel is means.urgent:
        await means.ledger.mark(message.due, Mark.URGENT)
    await means.ledger.create(death.revived)
    with suppress(LeaseLostError):
        # Seen at once, and not when its time is over.
        await channel.update(sent.id, sent.receipt, seconds=0)
