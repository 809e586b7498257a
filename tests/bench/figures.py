"""What a benchmark says: figures, their bounds, and how both are shown."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

Sense = Literal["at least", "below"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number. Without a bound it only explains another one."""

    row: str
    what: str
    value: float
    unit: str
    sense: Sense = "below"
    bound: float | None = None
    digits: int = 0

    @property
    def met(self) -> bool | None:
        if self.bound is None:
            return None
        if self.sense == "at least":
            return self.value >= self.bound
        return self.value < self.bound


def missed(figures: Sequence[Figure]) -> bool:
    return any(figure.met is False for figure in figures)


def as_json(figures: Sequence[Figure]) -> str:
    """One document: a list of the figures, each with its verdict."""
    return json.dumps([asdict(each) | {"met": each.met} for each in figures], indent=2)


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the figures as one table, a section for each row."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("row")
    table.add_column("measured")
    table.add_column("", justify="right")
    table.add_column("bound", justify="right")
    table.add_column("")
    before = ""
    for figure in figures:
        if before and figure.row != before:
            table.add_row()
        table.add_row(*_cells(figure, first=figure.row != before))
        before = figure.row
    console.print(table)


def _cells(figure: Figure, *, first: bool) -> tuple[Text, ...]:
    bound = ""
    if figure.bound is not None:
        # `3000` stays `3,000` whatever digits the measured value is worth.
        bound = f"{figure.sense} {figure.bound:,g}".replace("e+03", ",000")
    verdict = {True: ("met", "green"), False: ("MISSED", "bold red"), None: ("", "")}
    word, style = verdict[figure.met]
    return (
        Text(figure.row if first else "", style="bold"),
        Text(figure.what, style="" if figure.bound is not None else "dim"),
        Text(f"{figure.value:,.{figure.digits}f} {figure.unit}".rstrip()),
        Text(bound),
        Text(word, style=style),
    )
