"""Sizes, times and text for people."""

from datetime import timedelta

import pytest

from tests.fakes.clock import START
from worker.cli import printing


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (512 * 1024**3, "512.0 GiB"),
        (5 * 1024**5, "5120.0 TiB"),
    ],
)
def test_size_is_in_the_unit_that_fits(size_bytes: int, text: str) -> None:
    """Powers of 1024, one decimal."""
    assert printing.size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "in 0 s"),
        (119, "in 119 s"),
        (120, "in 2 min"),
        (7199, "in 119 min"),
        (86_400, "in 24 h"),
        (172_800, "in 2 d"),
        (-30, "30 s ago"),
    ],
)
def test_time_is_relative(seconds: int, text: str) -> None:
    """One unit is enough to decide."""
    at = START + timedelta(seconds=seconds)

    assert printing.relative(at, now=START) == text


def test_unknown_time_is_empty() -> None:
    """Nothing is printed for what never happened."""
    assert printing.relative(None, now=START) == ""
    assert printing.moment(None, now=START) == ""


def test_moment_has_both_forms() -> None:
    """Absolute for the ticket, relative for the eye."""
    at = START + timedelta(hours=3)

    assert printing.moment(at, now=START) == "2026-03-01 15:00:00Z (in 3 h)"


def test_control_characters_are_made_visible() -> None:
    """An id from an event can't move the cursor."""
    assert printing.cell("a\x1b[2J\nb") == "a\ufffd[2J\ufffdb"
    assert printing.cell(None) == ""
