"""Times as they are typed: `90s`, `30m`, `2h`, `7d`, `2026-03-01T09:00`."""

import re
from datetime import UTC, datetime, timedelta

import typer

from worker.clock import SystemClock

_SPAN = re.compile(r"(?P<number>\d{1,6})\s?(?P<unit>s|m|min|h|d)", re.ASCII)
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}

LONGEST = timedelta(days=36_500)
"""What lies further off is no time that a calendar knows."""


def span(text: str) -> timedelta:
    """Read `2h`."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter("a span is 90s, 30m, 2h or 7d")
    asked = int(found["number"]) * _UNITS[found["unit"]]
    if asked > LONGEST:
        raise typer.BadParameter(f"a span is {LONGEST.days}d at most")
    return asked


def moment(text: str) -> datetime:
    """Read a moment, UTC unless it says otherwise, or a span: so long ago."""
    if _SPAN.fullmatch(text.strip()):
        return SystemClock().now() - span(text)
    try:
        at = datetime.fromisoformat(text.strip())
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "a moment is 2026-03-01, 2026-03-01T09:00Z, or 2h (ago)"
        ) from None
