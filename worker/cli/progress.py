"""Chunks as people watch them: live bars on a terminal, lines elsewhere, a closing table.

Recordings in the order in which they were announced, chunks by index, whatever order they
come home in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.cli import printing
from worker.model import Chunk

if TYPE_CHECKING:
    from worker.posting import Posted

BAR_COLUMNS = 20
WHAT_COLUMNS = len("handshake")
REFRESHES_PER_SECOND = 10
RESERVED_LINES = 3
"""Header, the line of what is hidden, and the cursor."""
_MOVING = {"downloading", "verifying"}
_HOME = {"archived", "already archived", "deleted", "erased"}
_SAYS_LESS = {
    "archived": {"already archived"},
    "deleted": {"already archived"},
    "already archived": {"deleted"},
    "erased": {"deleted"},
}
"""What a chunk may be told after these, and keeps to itself: a chunk brought home by this
run is not `already archived`, one that was home before was not deleted by it, and of one
that is erased nothing is asked of the source."""
_LABELS = {"deleted": "source deleted"}
"""The chunk itself is safe: what is deleted is the source's copy."""
_STYLES = {
    "queued": "dim",
    "downloading": "cyan",
    "verifying": "blue",
    "dead": "bold red",
    **dict.fromkeys(_HOME, "green"),
}


@dataclass(slots=True, kw_only=True)
class _Line:
    """One chunk on the screen."""

    key: str
    recording: str
    order: int
    """Of the recording: how many were known before it."""
    index: int
    stage: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None
    note: str = ""
    started_s: float | None = None
    ended_s: float | None = None

    @property
    def place(self) -> tuple[int, int, str]:
        return (self.order, self.index, self.key)

    @property
    def label(self) -> str:
        return _LABELS.get(self.stage, self.stage)

    def bytes_per_s(self, now_s: float) -> float | None:
        """Mean speed of the download so far, or of all of it."""
        if self.started_s is None:
            return None
        ended_s = now_s if self.ended_s is None else self.ended_s
        elapsed = ended_s - self.started_s
        return self.done_bytes / elapsed if elapsed > 0 else None

    def enter(self, stage: str, now_s: float) -> None:
        """Move on, and take the time of the download; a second attempt starts anew."""
        if stage == "downloading":
            self.started_s, self.ended_s = now_s, None
        elif self.started_s is not None and self.ended_s is None:
            self.ended_s = now_s
        self.stage = stage


class ReplayView:
    """Satisfies attempt.Observer. `out` gets the closing table, `screen` all before it."""

    def __init__(
        self, *, out: Console, screen: Console, monotonic: Callable[[], float]
    ) -> None:
        self._out = out
        self._screen = screen
        self._monotonic = monotonic
        self._lines: dict[str, _Line] = {}
        self._orders: dict[str, int] = {}
        self._live = Live(
            console=screen,
            get_renderable=self.render,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        if self._screen.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._screen.is_terminal:
            self._live.stop()

    def stage(self, chunk: Chunk, stage: str) -> None:
        line = self._line(chunk)
        if stage == line.stage or stage in _SAYS_LESS.get(line.stage, ()):
            return
        line.enter(stage, self._monotonic())
        line.note = ""  # it was about the stage before
        if not self._screen.is_terminal:
            self._screen.print(_as_text(line), soft_wrap=True)

    def moved(self, chunk: Chunk, done_bytes: int, total_bytes: int | None) -> None:
        line = self._line(chunk)
        line.done_bytes, line.total_bytes = done_bytes, total_bytes

    def posted(self, posted: "Posted") -> None:
        """Say what the webhook answered to one file, or to a handshake."""
        what = f"{posted.what:<{WHAT_COLUMNS}}  " if posted.what else ""
        line = f"{posted.status or 'no answer'}  {what}{posted.file}"
        self._screen.print(line, highlight=False, markup=False, soft_wrap=True)

    def explain(self, chunk: Chunk, note: str) -> None:
        """Say why a chunk stands where it does, for the closing table."""
        self._line(chunk).note = note

    def _line(self, chunk: Chunk) -> _Line:
        line = self._lines.get(chunk.key)
        if line is None:
            order = self._orders.setdefault(chunk.recording, len(self._orders))
            line = _Line(
                key=chunk.key,
                recording=chunk.recording,
                order=order,
                index=chunk.index,
            )
            self._lines[chunk.key] = line
        return line

    def _ordered(self) -> list[_Line]:
        # A copy: the live view renders in a thread of its own.
        lines = list(self._lines.values())
        return sorted(lines, key=lambda line: line.place)

    def render(self) -> Group:
        """What the live view shows now."""
        lines = self._ordered()
        room = max(self._screen.height - RESERVED_LINES, 1)
        shown = _fitting(lines, room)
        hidden = len(lines) - len(shown)
        rest = [Text(f"and {hidden} more", style="dim")] if hidden else []
        return Group(self._bars(shown), *rest)

    def _bars(self, lines: Sequence[_Line]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        now_s = self._monotonic()
        for line in lines:
            is_moving = line.stage in _MOVING
            table.add_row(
                line.recording[: printing.SHORT],
                Text(str(line.index), justify="right"),
                _bar(line),
                Text(_bytes(line), justify="right"),
                Text(_speed(line.bytes_per_s(now_s) if is_moving else None)),
                Text(line.label, style=_STYLES.get(line.stage, "yellow")),
            )
        return table

    def print_summary(self) -> None:
        """Print the closing table to `out`."""
        columns = ("RECORDING", ">#", ">SIZE", ">SPEED", "STATE", "~NOTE")
        now_s = self._monotonic()
        rows = (
            (
                line.recording[: printing.SHORT],
                line.index,
                _bytes(line),
                _speed(line.bytes_per_s(now_s)),
                line.label,
                line.note,
            )
            for line in self._ordered()
        )
        self._out.print(printing.table_of(columns, rows))
        lines = self._ordered()
        recordings = len(self._orders)
        moved = printing.size(sum(line.done_bytes for line in lines))
        self._out.print(
            f"{printing.count(recordings, 'recording')}, "
            f"{printing.count(len(lines), 'chunk')}, {moved} downloaded",
            highlight=False,
        )


def _fitting(lines: Sequence[_Line], room: int) -> list[_Line]:
    """The lines that matter most, in order: moving ones, then waiting, then settled."""
    by_interest = sorted(lines, key=lambda line: _interest(line.stage))
    chosen = by_interest[:room]
    return sorted(chosen, key=lambda line: line.place)


def _interest(stage: str) -> int:
    if stage in _MOVING:
        return 0
    return 2 if stage in _HOME else 1


def _bar(line: _Line) -> ProgressBar:
    if line.stage in _HOME:
        return ProgressBar(total=1, completed=1, width=BAR_COLUMNS)
    is_endless = line.stage in _MOVING and line.total_bytes is None
    return ProgressBar(
        total=line.total_bytes or 1,
        completed=line.done_bytes if line.total_bytes else 0,
        width=BAR_COLUMNS,
        pulse=is_endless,
    )


def _bytes(line: _Line) -> str:
    if line.total_bytes is None:
        return printing.size(line.done_bytes) if line.done_bytes else ""
    total = printing.size(line.total_bytes)
    if line.done_bytes >= line.total_bytes:
        return total
    return f"{printing.size(line.done_bytes)} of {total}"


def _speed(bytes_per_s: float | None) -> str:
    return f"{printing.size(int(bytes_per_s))}/s" if bytes_per_s else ""


def _as_text(line: _Line) -> Text:
    parts = [line.recording[: printing.SHORT], str(line.index), line.label]
    if line.total_bytes is not None:
        parts.append(printing.size(line.total_bytes))
    return Text("  ".join(parts))
