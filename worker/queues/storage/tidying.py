"""What is mended leaves the poison queue: whoever watches its length looks for the rest."""

from contextlib import suppress
from datetime import timedelta

from worker.errors import LeaseLostError
from worker.model import ReceivedMessage, RecordingKey
from worker.queues.storage import messages
from worker.queues.storage.channel import MOST_AT_ONCE
from worker.queues.storage.means import Means
from worker.queues.storage.messages import Poison
from worker.stored import StoredFormatError

HIDDEN_SECONDS = 300
"""Longer than a look through all takes; a look that is killed shows them again by then."""
SETTLED_AFTER = timedelta(hours=1)
"""By then a death is told in the ledger, or was begun anew with a message of its own."""
MOST_LOOKED_AT = 2048


async def tidy(means: Means) -> int:
    """Delete messages of chunks that are dead no more; all others are put back as they were."""
    kept: list[ReceivedMessage] = []
    removed = 0
    while len(kept) + removed < MOST_LOOKED_AT:
        page = await means.poison.receive(MOST_AT_ONCE, seconds=HIDDEN_SECONDS)
        if not page:
            break
        for message in page:
            if await _is_over(means, message.text):
                with suppress(LeaseLostError):
                    await means.poison.delete(message.id, message.receipt)
                removed += 1
            else:
                kept.append(message)
    for message in kept:
        with suppress(LeaseLostError):
            await means.poison.update(message.id, message.receipt, seconds=0)
    return removed


async def _is_over(means: Means, text: str) -> bool:
    poison = _told(text)
    if poison is None or poison.row is None or poison.recording is None:
        # A message that was none of ours, for a human to look at.
        return False
    recording = RecordingKey(poison.recording)
    known = await means.ledger.last_death(recording, poison.row)
    if known is not None and not known[1]:
        return False
    if means.clock.now() - poison.at > SETTLED_AFTER:
        return True
    # Whoever buries a chunk sends this first: it may be of a death that is told next.
    death = None if known is None else await means.ledger.read(known[0].document)
    told = _told(death or b"")
    return told is not None and poison.at <= told.at


def _told(text: str | bytes) -> Poison | None:
    with suppress(StoredFormatError):
        return messages.decode_poison(text)
    return None
