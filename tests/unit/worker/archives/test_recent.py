"""What was read a moment ago needs no second request, within bounds."""

from tests.fakes.clock import ManualClock
from worker.archives.recent import FRESH_SECONDS, LONGEST_BYTES, MOST_BYTES, Recent


def test_recent_object_is_known_for_a_while() -> None:
    """Then it is asked for again: an operator may have erased it."""
    clock = ManualClock()
    recent = Recent(clock)
    recent.put("a", b"1")

    clock.advance(FRESH_SECONDS - 1)
    assert recent.get("a") == b"1"
    assert recent.get("b") is None

    clock.advance(1)
    assert recent.get("a") is None


def test_recent_empty_object_is_there() -> None:
    """No bytes are not no object."""
    recent = Recent(ManualClock())
    recent.put("a", b"")

    assert recent.get("a") == b""


def test_recent_objects_are_bounded() -> None:
    """The oldest go first, a large one is not kept, and one that is put again counts once."""
    recent = Recent(ManualClock())
    block = bytes(LONGEST_BYTES)
    count = MOST_BYTES // LONGEST_BYTES
    recent.put("large", block + b"1")
    for _ in range(2):
        recent.put("first", block)
    for number in range(count):
        recent.put(f"more-{number}", block)

    assert recent.get("large") is None
    assert recent.get("first") is None
    assert all(recent.get(f"more-{number}") == block for number in range(count))
