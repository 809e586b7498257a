"""`recordings list` and `recordings show`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import session
from worker.clock import SystemClock

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.ops.recordings import ChunkRow, RecordingDetail, RecordingRow
    from worker.ports import Archive

app = typer.Typer(help="The recordings in the archive.", rich_markup_mode=None)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _day(text: str) -> str:
    """`2026`, `2026-03` or `2026-03-01`, as the archive's folders have it."""
    for shape in ("%Y", "%Y-%m", "%Y-%m-%d"):
        try:
            day = datetime.strptime(text, shape)  # noqa: DTZ007 - a day's name, no moment
        except ValueError:
            continue
        return day.strftime(shape).replace("-", "/")
    raise typer.BadParameter("a day is YYYY, YYYY-MM or YYYY-MM-DD")


@app.command("list", epilog="Example: recording-worker recordings list --day 2026-03")
def list_(
    context: typer.Context,
    day: Annotated[
        str | None,
        typer.Option(help="Only this day, month or year (UTC).", parser=_day),
    ] = None,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Only those not complete.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List recordings by the day they started."""
    from worker.cli import printing

    rows = session.ask_archive(context, lambda archive: _rows(archive, day or ""))
    rows = [row for row in rows if not (incomplete and row.complete)]
    if as_json:
        printing.print_json_lines(rows)
    else:
        _print_rows(rows)


async def _rows(archive: "Archive", day: str) -> "list[RecordingRow]":
    from worker.ops.recordings import recordings_list

    return [row async for row in recordings_list(archive, day=day)]


@app.command("show", epilog="Example: recording-worker recordings show 0-eus-d1-a1b2c3")
def show(
    context: typer.Context,
    text: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Recording, call, server call, document, participant, or a path.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show a recording: files, proof, and what the source still has."""
    from worker.cli import printing
    from worker.ops.recordings import recordings_show

    found = session.ask_archive(context, lambda archive: recordings_show(archive, text))
    if not found:
        raise session.NotInArchiveError(f"the archive knows no {text!r}")
    if as_json:
        printing.print_json_lines(found)
    else:
        for detail in found:
            _print_detail(detail)


def _print_rows(rows: "list[RecordingRow]") -> None:
    from worker.cli import printing

    columns = ("RECORDING", "CALL", "STARTED", ">CHUNKS", ">SIZE", "~STATE")
    lines = (
        (
            row.recording,
            printing.short(row.call_id),
            f"{row.started_at:%Y-%m-%d %H:%M}"
            if row.started_at
            else row.day.replace("/", "-"),
            row.chunks,
            printing.size(row.size_bytes),
            _state(row),
        )
        for row in rows
    )
    printing.print_table(columns, lines)


def _state(row: "RecordingRow") -> str:
    if row.problem:
        return f"unreadable: {row.problem}"
    if row.complete:
        return "complete"
    indexes = ", ".join(str(chunk.index) for chunk in row.missing)
    if row.manifest is None:
        return f"waiting for {indexes}" if indexes else "waiting"
    return f"missing {indexes}"


def _print_detail(detail: "RecordingDetail") -> None:
    from worker.cli import printing

    now = SystemClock().now()
    row = detail.recording
    printing.print_fields(
        ("recording", f"{row.recording}  {row.recording_id or ''}".strip()),
        ("call", row.call_id),
        ("started", printing.moment(row.started_at, now=now)),
        ("state", _state(row)),
        ("manifest", row.manifest),
        ("folder", row.folder),
        *(("missing", f"{gap.index}: {gap.reason}") for gap in row.missing),
    )
    columns = (">#", ">SIZE", "VERIFIED", "AT THE SOURCE", "~FILE")
    lines = (
        (
            chunk.index,
            printing.size(chunk.size_bytes),
            chunk.verified,
            _at_source(chunk, now),
            chunk.content.removeprefix(row.folder),
        )
        for chunk in detail.chunks
    )
    if detail.chunks:
        printing.print_table(columns, lines)
    _print_hashes(detail)
    printing.print_line()


def _at_source(chunk: "ChunkRow", now: datetime) -> str:
    from worker.cli import printing

    if chunk.is_external:
        return "in your own storage"
    if chunk.source_deleted:
        return f"deleted ({chunk.source_status})"
    if chunk.flags:
        return "kept"
    if chunk.source_expires_at is None:
        return ""
    if chunk.source_expires_at <= now:
        return "expired"
    return f"expires {printing.relative(chunk.source_expires_at, now=now)}"


def _print_hashes(detail: "RecordingDetail") -> None:
    from worker.cli import printing

    for chunk in detail.chunks:
        if chunk.sha256:
            printing.print_line(f"sha256 of {chunk.index}  {chunk.sha256}")
        if chunk.flags:
            flags = printing.cell(", ".join(chunk.flags))
            printing.print_line(f"kept   of {chunk.index}  {flags}")
