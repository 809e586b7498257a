"""`recordings reconcile`: what should be here, and is not."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import failures, piping, session
from worker.cli.options import AsJson
from worker.clock import SystemClock

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.ops.reconciling import Announcing, LetterChunks, MissingRow, Reconciled
    from worker.ops.summaries import SummaryRow
    from worker.ports import Archive
    from worker.settings import Settings

_URL = ("https://", "http://")


Summary = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Export of Azure Monitor's ACSCallRecordingSummary, CSV or JSON.",
        exists=True,
        dir_okay=False,
    ),
]
DeadLetters = Annotated[
    str | None,
    typer.Option(
        metavar="URL|FOLDER", help="Event Grid's dead letters: a container, or files."
    ),
]
NoReport = Annotated[
    bool, typer.Option("--no-report", help="Keep no report: rights to read do.")
]


def reconcile(
    context: typer.Context,
    summary: Summary = None,
    dead_letters: DeadLetters = None,
    no_report: NoReport = False,
    as_json: AsJson = False,
) -> int:
    """Compare the archive and the queue with what others counted.

    Prints each chunk that is not here: why, hours left, and the command that saves it.
    Exit 3 if anything is missing.
    """
    if summary is None and dead_letters is None:
        raise typer.BadParameter("say --summary, --dead-letters, or both")
    from worker.ops import summaries

    rows = summaries.parse(summary.read_bytes()) if summary else []
    found, kept = session.look_at_archive(
        context,
        lambda archive, settings: _reconcile(
            archive, settings, rows=rows, letters=dead_letters, report=not no_report
        ),
    )
    if found.missing:
        piping.end_with(failures.NEEDS_ATTENTION)
    if as_json:
        _print_json(found, kept)
    else:
        _print(found, kept)
    return failures.NEEDS_ATTENTION if found.missing else failures.DONE


async def _reconcile(
    archive: "Archive",
    settings: "Settings",
    *,
    rows: "list[SummaryRow]",
    letters: str | None,
    report: bool,
) -> "tuple[Reconciled, str | None]":
    from worker import __version__
    from worker.ops import reconciling

    now = SystemClock().now()
    async with AsyncExitStack() as stack:
        reconciler = reconciling.Reconciler(
            archive=archive,
            queue=await _queue(archive, settings, stack),
            now=now,
            retention=settings.source_retention,
        )
        found = await reconciler.run(rows, _letters(settings, letters))
    if not report:
        return found, None
    document = found.report(at=now, by=session.user(), version=__version__)
    return found, await reconciling.keep(archive, document)


async def _queue(
    archive: "Archive", settings: "Settings", stack: AsyncExitStack
) -> "Announcing | None":
    """The queue that there is; without one nothing is at work."""
    from worker.opening import open_queue

    if not settings.has_queue:
        sys.stderr.write(f"there is no queue at {settings.queue}: none is looked at\n")
        return None
    queue = open_queue(settings, create=False, archive=archive)
    return await stack.enter_async_context(queue)


async def _letters(
    settings: "Settings", where: str | None
) -> "AsyncIterator[LetterChunks]":
    from worker import lost_letters, storage_places
    from worker.storage_places import NoPlaceError, Service

    if where is None:
        return
    if not where.startswith(_URL):
        async for letter in lost_letters.in_files(settings, Path(where)):
            yield letter
        return
    try:
        place = storage_places.parse(where, Service.BLOB)
    except NoPlaceError as error:
        raise typer.BadParameter(f"the container's URL {error}") from None
    async for letter in lost_letters.in_container(settings, place):
        yield letter


def _print_json(found: "Reconciled", kept: str | None) -> None:
    from dataclasses import asdict

    from worker.cli import printing

    printing.print_json({**asdict(found), "report": kept})


def _print(found: "Reconciled", kept: str | None) -> None:
    from worker.cli import printing

    if found.missing:
        columns = ("RECORDING", ">#", ">LEFT", "WHY", "~DOCUMENT")
        printing.print_table(columns, map(_cells, found.missing))
        printing.print_line()
        commands = [*filter(None, dict.fromkeys(row.command for row in found.missing))]
        for line in (*commands, "") if commands else ():
            printing.print_line(printing.cell(line))
        # Of what nobody announced, the log's own id is all that others know it by.
        unknown = {
            row.recording: row.recording_id
            for row in found.missing
            if row.document_id is None and row.recording_id
        }
        for recording, recording_id in unknown.items():
            printing.print_line(printing.cell(f"{recording}  {recording_id}"))
        if unknown:
            printing.print_line()
    letters = printing.count(found.letters, "chunk") if found.letters else None
    printing.print_fields(
        ("recordings", found.recordings),
        ("chunks", found.chunks),
        ("here", found.here),
        ("erased", found.erased or None),
        ("at work", found.at_work or None),
        ("dead letters", letters),
        ("missing", len(found.missing) or "none"),
        ("report", kept),
    )


def _cells(row: "MissingRow") -> tuple[object, ...]:
    if row.hours_left is None:
        left = "?"
    else:
        left = f"{row.hours_left:.1f} h" if row.hours_left else "too late"
    why = f"{row.why}: {row.reason}" if row.reason else row.why
    return row.recording, row.index, left, why, row.document_id
