"""What JSON takes in memory once it is read, told from its text in a moment. Pure.

A megabyte of text becomes from one to thirty: `[[],[],…]` is the worst. Deliveries of
recordings take about six times their size until they are stored.
"""

from worker.errors import MalformedEventError

MAX_WEIGHT_BYTES = 64 * 1024 * 1024
"""Of one delivery. A legal one has 1 MB, and would have to be all brackets to weigh as much."""
_SIGN_BYTES = 200
"""For each bracket that opens, and for each comma: a name, a value, and their places."""
_COPIES = 2
_WIDE_COPIES = 8
"""Characters beyond ASCII may take four bytes each, in the text and in its strings."""


class TooHeavyError(MalformedEventError):
    """Reading it would take more memory than any delivery is worth."""


class Room:
    """What is left of the memory for one delivery and the JSON within its strings."""

    def __init__(self, most_bytes: int = MAX_WEIGHT_BYTES) -> None:
        self._left_bytes = most_bytes

    def take(self, text: str) -> None:
        """Raise TooHeavyError, from now on for anything, if `text` does not fit in."""
        self._left_bytes -= weight_bytes(text)
        if self._left_bytes < 0:
            raise TooHeavyError("too many values")


def weight_bytes(text: str | bytes | bytearray) -> int:
    """About how many bytes this JSON takes while it is sorted and stored, or fewer."""
    if isinstance(text, str):
        signs = text.count("{") + text.count("[") + text.count(",")
    else:
        signs = text.count(b"{") + text.count(b"[") + text.count(b",")
    copies = _COPIES if text.isascii() else _WIDE_COPIES
    return copies * len(text) + _SIGN_BYTES * signs
