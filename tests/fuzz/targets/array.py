"""The items of an array told apart without being read: as those that JSON finds, if it does."""

import json
from collections.abc import Iterable

from handlers import items
from tests.fuzz import mutations
from tests.fuzz.target import Target, text_of


def check(data: bytes) -> None:
    text = text_of(data)
    apart = items.told_apart(text)
    if apart is not None:
        assert all(apart)
        assert all(item in text for item in apart)
        assert text.rstrip(" \t\n\r").endswith("]")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(document, list) or not document:
        assert apart is None
        return
    assert apart is not None
    # As text, for NaN is not equal to itself.
    assert json.dumps([json.loads(item) for item in apart]) == json.dumps(document)


def _seeds() -> Iterable[bytes]:
    yield b'[{"a": "]"}, [1, [2]], "\\"", ",", 7, null]'
    yield b'[{"a": {"b": [}]}}, {"c": 1}]'
    yield b' [ "\\\\" , { } ] '


ARRAY = Target(name="array", check=check, seeds=_seeds, mutate=mutations.of_json)
