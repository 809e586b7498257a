"""Times as they are typed."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from worker.cli import times
from worker.clock import SystemClock


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("30 min", 1800), ("2h", 7200), ("7d", 604_800)],
)
def test_span_is_read(text: str, seconds: int) -> None:
    """A number and a unit."""
    assert times.span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "2w", "9999999d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    """With what one looks like."""
    with pytest.raises(typer.BadParameter, match="90s, 30m, 2h or 7d"):
        times.span(text)


def test_span_that_no_calendar_knows_is_refused() -> None:
    """Else it would end as a bug, and not as what was typed."""
    assert times.span("36500d") == times.LONGEST
    with pytest.raises(typer.BadParameter, match="36500d at most"):
        times.moment("999999d")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T09:00", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("2026-03-01T09:00Z", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("2026-03-01T09:00+02:00", datetime(2026, 3, 1, 7, tzinfo=UTC)),
    ],
)
def test_moment_is_utc_unless_it_says_otherwise(text: str, at: datetime) -> None:
    """As the archive's folders are."""
    assert times.moment(text) == at


def test_span_is_a_moment_so_long_ago() -> None:
    """`--since 2h`."""
    before = SystemClock().now()

    at = times.moment("2h")

    assert before <= at + timedelta(hours=2) <= SystemClock().now()


@pytest.mark.parametrize("text", ["yesterday", "0001-01-01T00:00+14:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    """With what one looks like; before the calendar begins there is none."""
    with pytest.raises(typer.BadParameter, match="2026-03-01T09:00Z"):
        times.moment(text)
