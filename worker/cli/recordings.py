"""`recordings list` and `recordings show`."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import session
from worker.cli.options import AsJson
from worker.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    # Start-up cost: see worker/cli/session.py.
    from worker.ops.recording_rows import ChunkRow, RecordingDetail, RecordingRow
    from worker.ops.recordings import ErasedRecording
    from worker.ports import Archive
    from worker.settings import Settings

app = typer.Typer(help="The recordings in the archive.", rich_markup_mode=None)


def _day(text: str) -> str:
    """`2026`, `2026-03` or `2026-03-01`, as the archive's folders have it."""
    for shape in ("%Y", "%Y-%m", "%Y-%m-%d"):
        try:
            day = datetime.strptime(text, shape)  # noqa: DTZ007 - a day's name, no moment
        except ValueError:
            continue
        return day.strftime(shape).replace("-", "/")
    raise typer.BadParameter("a day is YYYY, YYYY-MM or YYYY-MM-DD")


Day = Annotated[
    str | None,
    typer.Option(help="Only this day, month or year (UTC).", parser=_day),
]
AsPaths = Annotated[
    bool, typer.Option("--paths", help="Print only where contents and metadata lie.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filter:
    """Which recordings are listed."""

    day: str
    call: str
    incomplete: bool

    def takes(self, row: "RecordingRow") -> bool:
        return not (self.incomplete and row.complete)

    def cells(self, row: "RecordingRow") -> tuple[object, ...] | None:
        return _cells(row) if self.takes(row) else None

    def line(self, row: "RecordingRow") -> str | None:
        from worker.cli import printing

        return printing.json_line(row) if self.takes(row) else None


@app.command("list", epilog="Example: recording-worker recordings list --day 2026-03")
def list_(
    context: typer.Context,
    day: Day = None,
    call: Annotated[
        str, typer.Option(help="Only this callId, or those that begin so.")
    ] = "",
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Only those not complete.")
    ] = False,
    paths: AsPaths = False,
    as_json: AsJson = False,
) -> None:
    """List recordings by the day they started."""
    if paths and as_json:
        raise typer.BadParameter("--paths are lines already", param_hint="--json")
    wanted = _Filter(day=day or "", call=call, incomplete=incomplete)
    if paths:
        session.look_at_archive(
            context, lambda archive, settings: _list_paths(archive, settings, wanted)
        )
    else:
        settings = session.settings_with_archive(context)
        asyncio.run(_list(settings, wanted, as_json))


async def _list(settings: "Settings", wanted: _Filter, as_json: bool) -> None:
    """Prints as it goes: there may be more recordings than memory has room for."""
    from worker.cli import printing
    from worker.opening import open_archive
    from worker.ops.listing import Listing, in_order

    listing = Listing(
        opened=partial(open_archive, settings, create=False),
        show=wanted.line if as_json else wanted.cells,
        day=wanted.day,
        call=wanted.call,
    )
    columns = ("RECORDING", "CALL", "STARTED", ">CHUNKS", ">SIZE", "~STATE")
    pages = printing.Pages(columns)
    # Closed where its reader leaves: what it opened ends before the loop does.
    async with aclosing(in_order(listing)) as every:
        async for shown in every:
            if isinstance(shown, str):
                printing.print_line(shown)
            else:
                pages.add(shown)
    if not as_json:
        pages.end()


async def _list_paths(
    archive: "Archive", settings: "Settings", wanted: _Filter
) -> None:
    from worker.ops.recordings import recordings_read

    async for detail in recordings_read(archive, day=wanted.day, call=wanted.call):
        if wanted.takes(detail.recording):
            _print_paths(detail, settings)


def _print_paths(detail: "RecordingDetail", settings: "Settings") -> None:
    from worker.cli import printing

    for name in detail.paths:
        printing.print_line(session.path_of(settings, name))


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
    day: Day = None,
    paths: AsPaths = False,
    as_json: AsJson = False,
) -> None:
    """Show a recording: files, proof, gaps and pauses, and what the source still has."""
    if paths and as_json:
        raise typer.BadParameter("--paths are lines already", param_hint="--json")

    async def look(
        archive: "Archive", settings: "Settings"
    ) -> "Sequence[RecordingDetail | ErasedRecording]":
        from worker.ops.recordings import recordings_erased, recordings_show

        found = await recordings_show(archive, text, day=day or "")
        for detail in found if paths else ():
            _print_paths(detail, settings)
        return found or await recordings_erased(archive, text)

    found = session.look_at_archive(context, look)
    if not found:
        raise session.NotInArchiveError(f"the archive knows no {text!r}")
    if not paths:
        _print_found(found, as_json)


def _print_found(
    found: "Sequence[RecordingDetail | ErasedRecording]", as_json: bool
) -> None:
    from worker.cli import printing
    from worker.ops.recordings import ErasedRecording

    if as_json:
        printing.print_json_lines(found)
        return
    for each in found:
        if isinstance(each, ErasedRecording):
            _print_erased(each)
        else:
            _print_detail(each)


def _cells(row: "RecordingRow") -> tuple[object, ...]:
    from worker.cli import printing

    started = row.started_at
    return (
        row.recording,
        printing.short(row.call_id),
        # Not by strftime, which takes longer than all the others.
        str(started)[:16] if started else row.day.replace("/", "-"),
        row.chunks,
        printing.size(row.size_bytes),
        _state(row),
    )


def _state(row: "RecordingRow") -> str:
    if row.problem:
        return f"unreadable: {row.problem}"
    state = "complete" if row.complete else _lacking(row)
    if row.erasing:
        state += ", being erased"
    return f"{state}, on hold" if row.on_hold else state


def _lacking(row: "RecordingRow") -> str:
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
        ("server call", row.server_call_id),
        ("started", printing.moment(row.started_at, now=now)),
        ("duration", _duration(row)),
        ("size", printing.size(row.size_bytes)),
        ("state", _state(row)),
        ("manifest", row.manifest),
        ("folder", row.folder),
        *(("missing", f"{gap.index}: {gap.reason}") for gap in row.missing),
        *_pauses(detail),
    )
    if detail.chunks:
        _print_chunks(detail, now)
    _print_hashes(detail)
    printing.print_line()


def _duration(row: "RecordingRow") -> str:
    """What the event says of the whole, against what the chunks' metadata says."""
    from worker.cli import printing

    said = printing.length(row.duration_ms) or "not"
    here = printing.length(row.chunks_ms)
    chunks = printing.count(row.chunks, "chunk")
    return f"{said} announced" + (f", {here} in {chunks}" if here else "")


def _pauses(detail: "RecordingDetail") -> list[tuple[str, str]]:
    from worker.cli import printing

    return [
        (
            "paused",
            f"in {chunk.index} for {printing.length(pause.duration_ms)}"
            + (f" from {pause.started_at:%H:%M:%SZ}" if pause.started_at else ""),
        )
        for chunk in detail.chunks
        for pause in chunk.pauses
    ]


def _print_chunks(detail: "RecordingDetail", now: datetime) -> None:
    from worker.cli import printing

    columns = (">#", ">SIZE", ">LENGTH", "VERIFIED", "AT THE SOURCE", "~FILE")
    lines = (
        (
            chunk.index,
            printing.size(chunk.size_bytes),
            printing.length(chunk.duration_ms),
            _verified(chunk),
            _at_source(chunk, now),
            chunk.content.removeprefix(detail.recording.folder),
        )
        for chunk in detail.chunks
    )
    printing.print_table(columns, lines)


def _print_erased(found: "ErasedRecording") -> None:
    from worker.cli import printing

    printing.print_fields(("recording", found.recording), ("state", "erased"))
    columns = (">#", "DOCUMENT", "ERASED", "BY", "~REASON")
    lines = (
        (
            each.index,
            each.key,
            f"{each.erased_at:%Y-%m-%d}",
            each.erased_by,
            each.reason,
        )
        for each in found.erased
    )
    printing.print_table(columns, lines)
    printing.print_line()


def _verified(chunk: "ChunkRow") -> str | None:
    if chunk.problem:
        return "unreadable"
    return "erased" if chunk.erased else chunk.verified


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
    return printing.expiry(chunk.source_expires_at, now=now)


def _print_hashes(detail: "RecordingDetail") -> None:
    from worker.cli import printing

    for chunk in detail.chunks:
        if chunk.sha256:
            printing.print_line(f"sha256 of {chunk.index}  {chunk.sha256}")
        if chunk.flags:
            flags = printing.cell(", ".join(chunk.flags))
            printing.print_line(f"kept   of {chunk.index}  {flags}")
