"""What several announcements say together of a recording's chunks; in any order. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from worker.model import ChunkKey, Sibling


def union(announcements: Iterable[Iterable[Sibling]]) -> dict[ChunkKey, Sibling]:
    """Merge announcements by key.

    An end reason that any of them gives is kept; that the session ended outranks another.
    So is that a chunk is left alone.
    """
    merged: dict[ChunkKey, Sibling] = {}
    for siblings in announcements:
        for sibling in siblings:
            known = merged.get(sibling.key, sibling)
            more = max(known, sibling, key=_says_more)
            if known.is_left_alone or sibling.is_left_alone:
                more = replace(more, is_left_alone=True)
            merged[sibling.key] = more
    return merged


def _says_more(sibling: Sibling) -> tuple[bool, str, int]:
    return *weight(sibling.end_reason), -sibling.index


def weight(end_reason: str | None) -> tuple[bool, str]:
    """That the session ended outranks another reason, any reason outranks none."""
    return is_end(end_reason), end_reason or ""


def is_end(end_reason: str | None) -> bool:
    """Whether the chunk is the last: "SessionEnded" in events, camel case elsewhere."""
    return (end_reason or "").casefold() == "sessionended"


def goes_on(end_reason: str | None) -> bool:
    """Whether the chunk was cut for its size or time: then more follows."""
    return (end_reason or "").casefold().startswith("chunkmaximum")
