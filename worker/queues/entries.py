"""A queue entry: what it is called, and the small change of its columns. Pure."""

from datetime import UTC, datetime, timedelta
from random import Random

from worker import names
from worker.model import Chunk

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LONGEST_LAPSE_SECONDS = 600.0
MAX_TEXT_CHARACTERS = 2000
"""Errors quote what others sent; a row must not grow with it."""
_DOCUMENT_DIGITS = 12
"""Of an entry's id: with these it begins for all entries of one document."""


def entry_id(chunk: Chunk) -> str:
    """What the queue calls the chunk: a hash of what it is, where, whose, and its name to be.

    Not the key alone: a first event that is false, in whatever it says of these, must not
    swallow the right one. It begins with a hash of the documentId alone, by which the entries
    of a document are found without an index of their own.
    """
    digest = names.digest(
        chunk.document_id,
        chunk.content_location,
        chunk.metadata_location or "",
        chunk.delete_location or "",
        resource_of(chunk),
        names.content_name(chunk),
    )
    return document_part(chunk.document_id) + digest[: 32 - _DOCUMENT_DIGITS]


def document_part(document_id: str) -> str:
    """How the ids of all entries of this document begin."""
    return names.digest(document_id)[:_DOCUMENT_DIGITS]


def resource_of(chunk: Chunk) -> str:
    """The ACS resource as `lease` and `next_due` name it: '' if the event names none."""
    return chunk.announcement.resource or ""


def lapse_delay(attempts: int, random: Random) -> timedelta:
    """How long a chunk whose lease lapsed waits: 2^attempts seconds, spread, at most 600.

    Not at all the first time: most often the worker was just restarted.
    """
    if attempts <= 1:
        return timedelta(0)
    seconds = min(2.0 ** min(attempts, 10), LONGEST_LAPSE_SECONDS)
    return timedelta(seconds=seconds * random.uniform(0.5, 1.0))


def bounded(text: str) -> str:
    """Return the text as a row may hold it: not too long, and valid Unicode."""
    return text[:MAX_TEXT_CHARACTERS].encode(errors="replace").decode()


def micros(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def maybe_micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def instant(value: int) -> datetime:
    return EPOCH + value * MICROSECOND


def maybe_instant(value: int | None) -> datetime | None:
    return None if value is None else instant(value)
