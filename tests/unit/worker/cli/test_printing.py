"""Sizes, times and text for people."""

from datetime import timedelta

import pytest
from rich.console import Console

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


def test_long_table_is_printed_page_by_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aligned within a page, and never narrower than the page before; nothing is held."""
    monkeypatch.setattr(printing, "PAGE_ROWS", 2)
    pages = printing.Pages(("NAME", ">SIZE", "~NOTE"))

    pages.add(("long-name", 1, "x"))
    first = capsys.readouterr().out
    for row in (("b", 22222, None), ("c\n", 3, "日本")):
        pages.add(row)
    pages.end()

    assert first.splitlines() == ["NAME       SIZE  NOTE", "long-name     1  x"]
    assert capsys.readouterr().out.splitlines() == [
        "b          22222",
        "c\N{REPLACEMENT CHARACTER}             3  日本",
    ]


def test_long_table_cuts_a_column_where_the_terminal_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one that may be cut."""
    monkeypatch.setattr(printing, "stdout", lambda: Console(width=20))
    pages = printing.Pages(("NAME", "~NOTE"))

    pages.add(("0123456789", "a note that is long"))
    pages.end()

    assert capsys.readouterr().out.splitlines() == [
        "NAME        NOTE",
        "0123456789  a note \N{HORIZONTAL ELLIPSIS}",
    ]


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(None, ""), (0, "0:00:00"), (598_499, "0:09:58"), (14_400_000.0, "4:00:00")],
)
def test_length_is_as_players_show_it(duration_ms: float | None, text: str) -> None:
    """Hours, minutes, seconds."""
    assert printing.length(duration_ms) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(60, "expires in 60 s"), (-60, "expired 60 s ago")]
)
def test_expiry_that_is_over_is_told_so(seconds: int, text: str) -> None:
    """What is lost is not said to be going to be."""
    assert printing.expiry(START + timedelta(seconds=seconds), now=START) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries")]
)
def test_count_has_a_singular(number: int, text: str) -> None:
    """One is not many."""
    assert printing.count(number, "entry", "entries") == text
    assert printing.count(1, "chunk") == "1 chunk"
    assert printing.count(2, "chunk") == "2 chunks"
