"""Items of an array are told apart by brackets alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import items

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(
    array=st.lists(JSON, min_size=1),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_items_of_any_array_are_told_apart(
    *, array: list[object], indent: int | None, ascii_only: bool
) -> None:
    """Whatever is in them, each is exactly its own text."""
    text = json.dumps(array, indent=indent, ensure_ascii=ascii_only)

    apart = items.told_apart(f" {text}\n")

    assert apart is not None
    assert [json.loads(item) for item in apart] == array


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "7", "[", "[1", "[1]]", "[{]}", '["a]', "[1]x", "[]", "[1,]"),
        "[,1]",
        "[" + "1," * items.MAX_CHARS + "1]",
    ],
    ids=lambda text: text[:8],
)
def test_items_that_are_not_clear_are_not_guessed(text: str) -> None:
    """No array, no end, brackets that don't match, nothing between commas, or too long."""
    assert items.told_apart(text) is None


@given(st.text(alphabet='[]{},":\\1 '))
def test_items_have_an_answer_for_any_text(text: str) -> None:
    """Told apart or not, each item is some of the text, and none is empty."""
    for item in items.told_apart(text) or ():
        assert item
        assert item in text
