"""What a later announcement adds to a chunk that the queue knows already. Pure."""

from dataclasses import replace

from worker import announced
from worker.model import Announcement, Chunk, Sibling


def merged(known: Chunk, news: Chunk) -> Chunk:
    """The known chunk with what the other announcement adds: nothing known is forgotten.

    Both would be archived alike: what says otherwise is another entry.
    """
    return replace(
        known,
        end_reason=max(known.end_reason, news.end_reason, key=announced.weight),
        announcement=_completed(known.announcement, news.announcement),
        announced=_union(known.announced, news.announced),
        expires_at=min(known.expires_at, news.expires_at),
    )


def _completed(known: Announcement, news: Announcement) -> Announcement:
    if known.recording_duration_ms is not None:
        return known
    return replace(known, recording_duration_ms=news.recording_duration_ms)


def _union(
    known: tuple[Sibling, ...], news: tuple[Sibling, ...]
) -> tuple[Sibling, ...]:
    """All siblings of both, by index; the known ones as they are if the others add none."""
    siblings = announced.union([known, news])
    if set(siblings.values()) == set(known):
        return known
    return tuple(sorted(siblings.values(), key=lambda sibling: sibling.index))
