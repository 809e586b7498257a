"""`recordings export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import failures, session
from worker.cli.options import AsJson

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.ops.export import ExportReport, Gap
    from worker.ports import Archive

NAME = "export"
EPILOG = "Example: recording-worker recordings export 0-eus-d1-a1b2c3 -o call.mp4"
Force = Annotated[
    bool, typer.Option("--force", help="Write over the file if it is there.")
]


def export(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    text: Annotated[
        str, typer.Argument(metavar="ID", help="Recording, call or document.")
    ],
    out: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="The file to write.")
    ],
    chunk: Annotated[
        str | None,
        typer.Option(help="Only this chunk (index or document), as it is."),
    ] = None,
    is_metadata: Annotated[
        bool, typer.Option("--metadata", help="A chunk's metadata, as they are.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Join a recording's chunks into one file that plays; nothing is encoded anew.

    Exit 3: the file is written, but chunks are missing, or nobody can tell.
    """
    from worker.cli import printing
    from worker.ops import export as ops

    async def write(archive: "Archive") -> "ExportReport | None":
        if chunk is None and not is_metadata:
            return await ops.recordings_export(archive, text, out=out, force=force)
        return await ops.recordings_export_chunk(
            archive, text, chunk=chunk, out=out, is_metadata=is_metadata, force=force
        )

    report = session.ask_archive(context, write)
    if report is None:
        raise session.NotInArchiveError(f"the archive knows no {text!r}")
    printing.print_json(report) if as_json else _print(report)
    is_whole = not (report.missing or report.problem)
    return failures.DONE if is_whole else failures.NEEDS_ATTENTION


def _print(report: "ExportReport") -> None:
    from worker.cli import printing

    printing.print_fields(
        ("recording", report.recording),
        ("file", f"{report.file}  {printing.size(report.size_bytes)}"),
        ("plays", _clock(report.duration_s) if report.duration_s else None),
        ("chunks", ", ".join(str(chunk.index) for chunk in report.chunks)),
        *(("not in it", _told(gap)) for gap in report.gaps),
        *(("pause", _told(pause)) for pause in report.pauses),
        ("unreadable", report.problem),
    )


def _told(gap: "Gap") -> str:
    lacks = "" if gap.lacks_s is None else f" ({gap.lacks_s:.1f} s)"
    return f"at {_clock(gap.at_s)}: {gap.reason}{lacks}"


def _clock(seconds: float) -> str:
    """`1:02:03.5`"""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}"
