"""What JSON weighs is never far under what it takes."""

import json
import tracemalloc

import pytest

from handlers.weight import Room, TooHeavyError, weight_bytes
from tests.unit.handlers.bodies import a_body, a_grid_event

MANY = 50_000


def taken_bytes(text: str) -> int:
    """How much memory reading it takes at most, the text itself not counted."""
    tracemalloc.start()
    try:
        json.loads(text)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "document",
    [
        [a_grid_event(id=str(number)) for number in range(100)],
        [[] for _ in range(MANY)],
        [{} for _ in range(MANY)],
        [{"": number} for number in range(MANY)],
        [{str(number): {}} for number in range(MANY)],
        [f"{number:04x}" for number in range(MANY)],
        {f"{number:05x}": f"{number:05x}" for number in range(MANY)},
        list(range(1000, MANY)),
        ["x" * MANY],
        ["é\U0001f600" + "x" * MANY],
    ],
    ids=["events", "[]", "{}", "{x}", "{{}}", "texts", "names", "numbers", "x", "wide"],
)
def test_weight_is_no_less_than_what_reading_takes(document: object) -> None:
    """For the densest JSON there is, too."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    assert weight_bytes(text) >= taken_bytes(text)


def test_weight_is_the_same_for_bytes() -> None:
    """What is not decoded yet is weighed as it will be."""
    text = a_body(a_grid_event())

    assert weight_bytes(text) == weight_bytes(text.decode())


def test_weight_of_a_full_legal_delivery_is_far_below_the_bound() -> None:
    """A megabyte of recordings fits into the room of one delivery several times."""
    body = a_body(*[a_grid_event()] * 900)
    room = Room()

    for _ in range(5):
        room.take(body.decode())
    assert len(body) > 1_000_000


def test_room_that_was_too_small_once_takes_nothing_more() -> None:
    """The bound is that of a delivery, not of each of its parts."""
    room = Room(100)
    with pytest.raises(TooHeavyError):
        room.take("x" * 51)

    with pytest.raises(TooHeavyError):
        room.take("x")
