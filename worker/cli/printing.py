"""Values for people: tables that fit 80 columns, sizes, times; and JSON for machines."""

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from pydantic_core import to_json
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 200
"""Columns where no terminal sets a limit: nobody wants ids cut in a pipe."""
SHORT = 8
PAGE_ROWS = 500
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def print_json(value: object) -> None:
    """One document."""
    sys.stdout.write(to_json(value, indent=2).decode() + "\n")


def print_json_lines(values: Iterable[object]) -> None:
    """One document per line."""
    for value in values:
        print_line(json_line(value))


def json_line(value: object) -> str:
    """A document that fits a line, whatever it holds."""
    return to_json(value).decode()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns; a name with a leading `>` is aligned right, with `~` may be cut."""
    console = stdout()
    with console.capture() as lines:
        console.print(table_of(columns, rows))
    for line in lines.get().splitlines():
        print_line(line.rstrip())


class Pages:
    """A table of any length, printed page by page: aligned within a page, and not held.

    Columns are named as in `print_table`; `~` is cut where a terminal is too narrow.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._page = [tuple(column.lstrip(">~") for column in columns)]
        self._widths = [0] * len(columns)

    def add(self, row: Sequence[object]) -> None:
        self._page.append(tuple(map(cell, row)))
        if len(self._page) >= PAGE_ROWS:
            self.end()

    def end(self) -> None:
        """Print what is left."""
        columns = list(zip(*self._page, strict=True)) or [()] * len(self._columns)
        self._widths = [
            max(_longest(texts), width)
            for texts, width in zip(columns, self._widths, strict=True)
        ]
        fitting = zip(self._columns, columns, self._fitting(), strict=True)
        aligned = [_aligned(*each) for each in fitting]
        lines = ["  ".join(row).rstrip() + "\n" for row in zip(*aligned, strict=True)]
        sys.stdout.write("".join(lines))
        self._page.clear()

    def _fitting(self) -> list[int]:
        room = stdout().width - sum(self._widths) - 2 * (len(self._widths) - 1)
        return [
            max(width + room, 1) if room < 0 and column.startswith("~") else width
            for column, width in zip(self._columns, self._widths, strict=True)
        ]


def _longest(texts: Sequence[str]) -> int:
    return max(map(_length_of(texts), texts), default=0)


def _aligned(name: str, texts: Sequence[str], width: int) -> list[str]:
    """One column of a page."""
    is_right = name.startswith(">")
    length_of = _length_of(texts)
    if length_of is len and _longest(texts) <= width:
        return [text.rjust(width) if is_right else text.ljust(width) for text in texts]
    aligned = []
    for text in texts:
        shown = text
        if length_of(text) > width:
            shown = set_cell_size(text, width - 1) + "\N{HORIZONTAL ELLIPSIS}"
        padding = " " * (width - cell_len(shown))
        aligned.append(padding + shown if is_right else shown + padding)
    return aligned


def _length_of(texts: Sequence[str]) -> Callable[[str], int]:
    """How to tell the columns that a text takes: in ASCII, without a look at each letter."""
    return len if all(map(str.isascii, texts)) else cell_len


def print_fields(*fields: tuple[str, object]) -> None:
    """Named values below each other; those without a value are left out."""
    shown = [(name, cell(value)) for name, value in fields if cell(value)]
    width = max(len(name) for name, _ in shown)
    for name, text in shown:
        print_line(f"{name:<{width}}  {text}")


def print_line(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def flush() -> None:
    """Show now what was printed: what comes next may take its time."""
    sys.stdout.flush()


def stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.lstrip(">~"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if column.startswith("~") else len(column.lstrip(">")),
        )
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    return table


def cell(value: object) -> str:
    """Text that is safe on a terminal: what comes from an event may hold escapes."""
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def count(number: int, one: str, many: str = "") -> str:
    """`1 chunk`, `2 chunks`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def size(size_bytes: int) -> str:
    """`1.5 MiB`."""
    amount, unit = float(size_bytes), 0
    while amount >= _STEP and unit < len(_UNITS) - 1:
        amount, unit = amount / _STEP, unit + 1
    return f"{amount:.0f} B" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"


def length(duration_ms: float | None) -> str:
    """`0:09:58`, as players show it."""
    if duration_ms is None:
        return ""
    return str(timedelta(seconds=round(duration_ms / 1000)))


def relative(at: datetime | None, *, now: datetime) -> str:
    """`in 23 h`, `5 min ago`."""
    if at is None:
        return ""
    distance = span(abs(at - now))
    return f"in {distance}" if at >= now else f"{distance} ago"


def expiry(at: datetime, *, now: datetime) -> str:
    """`expires in 23 h`, `expired 5 min ago`."""
    return f"{'expires' if at >= now else 'expired'} {relative(at, now=now)}"


def moment(at: datetime | None, *, now: datetime) -> str:
    """`2026-03-01 12:00:00Z (in 23 h)`."""
    if at is None:
        return ""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ} ({relative(at, now=now)})"


def span(duration: timedelta) -> str:
    """`45 s`, `12 min`, `23 h`, `3 d`: one unit is enough to decide."""
    seconds = int(duration.total_seconds())
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // unit} {name}"
    return f"{seconds // 86_400} d"


def short(identifier: str) -> str:
    """The beginning of an id; the verbs that show one find it by that."""
    return identifier[:SHORT]
