"""What is fuzzed: a parser, and the promise that it must keep whatever the bytes are."""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fuzz import mutations

MOST_TURNS = 10_000
"""Turns of the event loop that one input may take; a full batch of 5,000 events takes 50."""
Mutate = Callable[[bytes, Random], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`check` raises only if a promise is broken: an outcome of no declared type, a name out
    of bounds, too many steps. `seeds` are good inputs, or nearly; `mutate` knows their
    structure.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutate = mutations.of_bytes


def ended(work: Coroutine[Any, Any, Any]) -> Any:
    """What comes of work that only lets others run, without an event loop for each input."""
    for _ in range(MOST_TURNS):
        try:
            work.send(None)
        except StopIteration as end:
            return end.value
    raise AssertionError(f"not done after {MOST_TURNS} turns")


def text_of(data: bytes) -> str:
    """Text as it comes out of JSON, where envelope has replaced what is no character."""
    return data.decode(errors="replace")


def fields_of(text: str, count: int) -> list[str]:
    """The first lines, empty where there are none; what is left is in the last."""
    found = text.split("\n", count - 1)
    return [*found, *[""] * (count - len(found))]
