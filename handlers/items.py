"""The items of a JSON array told apart without reading them. Pure.

One item that can't be read must not take the others with it. What stands between brackets
and outside of strings is enough to see where each begins and ends.
"""

import re

MAX_CHARS = 2 * 1024 * 1024
"""Twice what Event Grid sends; looking at every bracket of more would hold up others."""
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{},"]', re.DOTALL)
_BLANKS = " \t\n\r"
_QUOTE = '"'
_CLOSER = {"[": "]", "{": "}"}
_CLOSERS = frozenset(_CLOSER.values())


def told_apart(text: str) -> list[str] | None:
    """The text of each item; None if it is no array, or not clear where items end."""
    text = text.strip(_BLANKS)
    if len(text) > MAX_CHARS or not text.startswith("["):
        return None
    ends = _ends(text)
    if ends is None:
        return None
    starts = [1, *(end + 1 for end in ends)]
    items = [text[at:end].strip(_BLANKS) for at, end in zip(starts, ends, strict=False)]
    return items if all(items) else None


def _ends(text: str) -> list[int] | None:
    """Where each item ends, at a comma or at the closing bracket of the array."""
    ends: list[int] = []
    open_ones: list[str] = []
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in _CLOSER:
            open_ones.append(_CLOSER[sign])
        elif sign == "," and len(open_ones) == 1:
            ends.append(token.start())
        elif sign == _QUOTE or (sign in _CLOSERS and open_ones.pop() != sign):
            return None
        if not open_ones:
            ends.append(token.start())
            return ends if token.end() == len(text) else None
    return None
