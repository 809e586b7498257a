"""Which names an archive takes."""

import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.archives.object_names import ArchiveNameError, is_segment, segments


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "recordings/2026/03/01/call/~hash/0000-0-eus-d12-abc.r2.mp4",
        "a/...",
        "a/ b",
        "a/é",
        "a/" + "x" * 255,
        "a/.staging",
    ],
)
def test_harmless_names_are_split(name: str) -> None:
    """Names come apart at their slashes."""
    assert segments(name) == tuple(name.split("/"))


@given(st.text(max_size=40) | st.text(alphabet="./\\\0ab", max_size=12))
def test_any_name_is_harmless_or_refused(name: str) -> None:
    """What passes is one relative path, already in its simplest form, that can be encoded."""
    try:
        parts = segments(name)
    except ArchiveNameError:
        return

    assert "/".join(parts) == name
    assert os.path.normpath(name.encode()) == name.encode()
    assert not name.startswith(("/", "../"))


def test_slash_is_no_part_of_a_segment() -> None:
    """A segment names one entry of one folder."""
    assert not is_segment("a/b")
