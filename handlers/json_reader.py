"""JSON to values that nothing below trips on, each with its own text. Pure.

Numbers that JSON or Python can't carry (NaN, 1e999, a thousand digits) stay as text, and lone
surrogates become U+FFFD.
"""

import json
import math
import re
from typing import NamedTuple

from worker.errors import MalformedEventError

MAX_DEPTH = 64
_MAX_INT_DIGITS = 19
_BLANKS = re.compile(r"[ \t\n\r]+")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_Container = dict[str, object] | list[object]


class Value(NamedTuple):
    """A value, and the text that it was read from.

    No text where it would say something else to others, as a number does that stays text.
    """

    read: object
    text: str | None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"  # it may hold what no log may


class JsonReader:
    """Reads one text from its start to its end. Raises MalformedEventError."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._has_escapes = "\\u" in text
        self._numbers = _Numbers()
        self._decoder = json.JSONDecoder(
            parse_int=self._numbers.whole,
            parse_float=self._numbers.fraction,
            parse_constant=self._numbers.kept,
        )

    def only(self) -> Value:
        """The one value that the text is."""
        item = self._value()
        self._expect_end()
        return item

    def _value(self) -> Value:
        self._pass_blanks()
        start = self._at
        self._numbers.has_kept_any = False
        try:
            value, self._at = self._decoder.raw_decode(self._text, start)
        except RecursionError as error:
            raise MalformedEventError(f"nested deeper than {MAX_DEPTH}") from error
        except json.JSONDecodeError as error:
            raise MalformedEventError(f"not JSON at character {error.pos}") from error
        text = self._text[start : self._at]
        if text.count("{") + text.count("[") > MAX_DEPTH and _is_too_deep(value):
            raise MalformedEventError(f"nested deeper than {MAX_DEPTH}")
        if self._has_escapes and _SURROGATE_ESCAPE.search(text):
            return Value(_scrubbed(value), None)
        return Value(value, None if self._numbers.has_kept_any else text)

    def _expect_end(self) -> None:
        self._pass_blanks()
        if self._at != len(self._text):
            raise MalformedEventError(f"not JSON at character {self._at}")

    def _pass_blanks(self) -> None:
        if blanks := _BLANKS.match(self._text, self._at):
            self._at = blanks.end()


class _Numbers:
    """Reads numbers, and knows whether one was kept as text.

    Not a part of the reader, which would hold itself and its text until the next collection.
    """

    def __init__(self) -> None:
        self.has_kept_any = False

    def whole(self, digits: str) -> int | str:
        return int(digits) if len(digits) <= _MAX_INT_DIGITS else self.kept(digits)

    def fraction(self, digits: str) -> float | str:
        number = float(digits)
        return number if math.isfinite(number) else self.kept(digits)

    def kept(self, said: str) -> str:
        self.has_kept_any = True
        return said


def _is_too_deep(document: object) -> bool:
    level = _containers([document])
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return False
    return True


def _containers(outer: _Container) -> list[_Container]:
    inside = outer.values() if isinstance(outer, dict) else outer
    return [inner for inner in inside if isinstance(inner, (dict, list))]


def _scrubbed(value: object) -> object:
    """Lone surrogates are legal in JSON but can't be written as UTF-8 any more."""
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {_scrubbed(name): _scrubbed(item) for name, item in value.items()}
    return value
