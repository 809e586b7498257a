"""`recordings audit`: the custody record, as text, as JSON, or as a page."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import session
from worker.cli.options import AsJson
from worker.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    # Start-up cost: see worker/cli/session.py.
    from worker.ops.auditing import Audit, ChunkAudit, Step
    from worker.ports import Archive


def audit(
    context: typer.Context,
    text: Annotated[
        str, typer.Argument(metavar="ID", help="Any id, as `show` takes it.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.html", help="Write a page."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell a recording's custody: each chunk's way, its proofs, and later looks at them."""
    found = session.ask_archive(context, lambda archive: _audits(archive, text))
    if not found:
        raise session.NotInArchiveError(f"the archive knows no {text!r}")
    if output is not None:
        _write_page(output, found, force=force)
    if as_json:
        from worker.cli import printing

        printing.print_json_lines(found)
    elif output is None:
        for each in found:
            _print(each)


async def _audits(archive: "Archive", text: str) -> "Sequence[Audit]":
    from worker import __version__
    from worker.ops.auditing import recordings_audit

    return await recordings_audit(
        archive,
        text,
        made_at=SystemClock().now(),
        made_by=session.user(),
        version=__version__,
    )


def _write_page(output: Path, found: "Sequence[Audit]", *, force: bool) -> None:
    import sys

    from worker.cli.audit_page import page_of
    from worker.ops.new_file import new_file

    with new_file(output, force=force) as file:
        file.write(page_of(found).encode())
    sys.stderr.write(f"wrote {output}\n")


def _print(record: "Audit") -> None:
    from worker.cli import printing

    row = record.recording
    printing.print_fields(
        ("recording", f"{row.recording}  {row.recording_id or ''}".strip()),
        ("call", row.call_id),
        ("server call", row.server_call_id),
        ("started", _at(row.started_at)),
        ("complete", "yes" if row.complete else "no"),
        *(("missing", f"{gap.index}: {gap.reason}") for gap in row.missing),
        ("folder", row.folder),
        ("on hold", "yes" if row.on_hold else None),
        ("made", f"{_at(record.made_at)} by {record.made_by}"),
    )
    for chunk in record.chunks:
        _print_chunk(chunk)
    if record.holds:
        printing.print_line("\nHolds")
        _print_steps(record.holds)
    _print_claims("What this proves", record.proves)
    _print_claims("What it does not prove", record.proves_not)
    printing.print_line()


def _print_chunk(chunk: "ChunkAudit") -> None:
    from worker.cli import printing

    printing.print_line(f"\nChunk {chunk.index}: {printing.cell(chunk.document_id)}")
    if chunk.problem:
        printing.print_line(f"  {printing.cell(chunk.problem)}")
    for file in chunk.files:
        hashed = f"sha256 {file.sha256}" if file.sha256 else "hashed by blocks"
        printing.print_line(
            printing.cell(f"  {file.what:<8}  {file.size_bytes} bytes  {hashed}")
        )
        printing.print_line(printing.cell(f"            {file.name}"))
    if chunk.flags:
        printing.print_line(printing.cell(f"  flags     {', '.join(chunk.flags)}"))
    _print_steps(chunk.steps)


def _print_steps(steps: "Sequence[Step]") -> None:
    from worker.cli import printing

    for step in steps:
        by = f" by {step.by}" if step.by else ""
        line = f"  {_at(step.at) or '':<20}  {step.what}{by}: {step.detail}"
        printing.print_line(printing.cell(line))


def _print_claims(title: str, claims: "Sequence[str]") -> None:
    from worker.cli import printing

    printing.print_line(f"\n{title}")
    for claim in claims:
        printing.print_line(f"  - {claim}")


def _at(at: datetime | None) -> str | None:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else None
