"""`queue list`, `queue show`, `queue rebuild`; see worker/cli/mending.py for the others."""

import sys
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import choosing, mending, pruning, session
from worker.cli.options import AsJson
from worker.clock import SystemClock
from worker.model import ChunkState

if TYPE_CHECKING:
    from collections.abc import Sequence

    # Start-up cost: see worker/cli/session.py.
    from worker.model import Attempt
    from worker.ops.queue import QueueDetail, QueueEntry

app = typer.Typer(help="The chunks at work.", rich_markup_mode=None)


@app.command("list", epilog="Example: recording-worker queue list --state dead")
def list_(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    state: Annotated[ChunkState | None, typer.Option(help="Only this state.")] = None,
    reason: choosing.Reason = None,
    call: choosing.Call = None,
    older_than: choosing.OlderThan = None,
    within: choosing.Within = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List chunks by deadline, the first to expire on top.

    Below it, what helps against each reason.
    """
    from worker.cli import printing
    from worker.ops.queue import queue_list

    chosen = choosing.selection(
        state=state, reasons=reason, call=call, older_than=older_than, within=within
    )
    entries = session.ask_queue(
        context, lambda queue, _: queue_list(queue, chosen, limit=limit)
    )
    if as_json:
        printing.print_json_lines(entries)
        return
    _print_entries(entries)
    _print_hints(entries)


@app.command("show", epilog="Example: recording-worker queue show 0-eus-d1-a1b2c3")
def show(
    context: typer.Context,
    text: Annotated[
        str, typer.Argument(metavar="ID", help="Row, document, call or recording.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show chunks whose id begins so, with every attempt."""
    from worker.cli import printing
    from worker.ops.mending import NotInQueueError
    from worker.ops.queue import queue_show

    details = session.ask_queue(context, lambda queue, _: queue_show(queue, text))
    if not details:
        raise NotInQueueError(f"the queue knows no {text!r}")
    if as_json:
        printing.print_json_lines(details)
    else:
        for detail in details:
            _print_detail(detail)


@app.command("rebuild", epilog="Example: recording-worker queue rebuild --dry-run")
def rebuild(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count only; send nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send again what was announced and is not settled: for a queue that was lost."""
    from worker.cli import printing
    from worker.ops.queue import queue_rebuild

    report = session.ask_queue(
        context,
        lambda queue, _: queue_rebuild(queue, dry_run=dry_run),
        create=not dry_run,
    )
    if report is None:
        raise session.NothingToRebuildError("this queue keeps its own entries")
    if as_json:
        printing.print_json(report)
    else:
        printing.print_fields(
            ("chunks", report.chunks),
            ("deliveries", report.deliveries),
            ("unreadable", report.unreadable or None),
            ("sent", "nothing: a dry run" if dry_run else "all of them"),
        )


app.command(
    "redrive", epilog="Example: recording-worker queue redrive --all --dry-run"
)(mending.redrive)
app.command(
    "prune",
    epilog="Example: recording-worker queue prune --older-than 30d --dry-run",
)(pruning.prune)
app.command(
    "release", epilog="Example: recording-worker queue release --worker HOST-123"
)(mending.release)


def _print_entries(entries: "Sequence[QueueEntry]") -> None:
    from worker.cli import printing

    now = SystemClock().now()
    columns = ("ROW", "STATE", "RECORDING", ">#", "EXPIRES", ">ATTEMPTS", "~NOTE")
    rows = (
        (
            printing.short(entry.row),
            entry.state,
            printing.short(entry.recording),
            entry.index,
            printing.relative(entry.expires_at, now=now),
            entry.attempts,
            _note(entry, now),
        )
        for entry in entries
    )
    printing.print_table(columns, rows)


def _print_hints(entries: "Sequence[QueueEntry]") -> None:
    """One for each reason of the dead, which stands behind it: it is for pasting."""
    from worker.cli import printing

    dead = [entry for entry in entries if entry.state is ChunkState.DEAD]
    first = {entry.reason: entry for entry in reversed(dead) if entry.hints}
    counts = Counter(entry.reason for entry in dead)
    for reason, entry in first.items():
        line = f"hint: {entry.hints[0]}  # {counts[reason]} {reason}"
        sys.stderr.write(printing.cell(line) + "\n")


def _note(entry: "QueueEntry", now: datetime) -> str:
    """What matters most about an entry in a few words."""
    from worker.cli import printing

    if entry.leased_by:
        return f"with {entry.leased_by}"
    if entry.settled_at is None and entry.not_before > now:
        due = printing.relative(entry.not_before, now=now)
        return f"due {due}" + (f": {entry.reason}" if entry.reason else "")
    return entry.reason or ""


def _print_detail(detail: "QueueDetail") -> None:
    from worker.cli import printing

    now = SystemClock().now()
    entry = detail.entry
    printing.print_fields(
        ("row", entry.row),
        ("state", f"{entry.state} {_note(entry, now)}".strip()),
        ("document", entry.document_id),
        ("index", entry.index),
        ("recording", f"{entry.recording}  {entry.recording_id or ''}".strip()),
        ("call", entry.call_id),
        ("resource", entry.resource),
        ("source", entry.source_host),
        ("received", printing.moment(entry.received_at, now=now)),
        ("expires", printing.moment(entry.expires_at, now=now)),
        (
            "due",
            None if entry.settled_at else printing.moment(entry.not_before, now=now),
        ),
        ("leased until", printing.moment(entry.leased_until, now=now)),
        ("settled", printing.moment(entry.settled_at, now=now)),
        ("reason", entry.reason),
        ("error", entry.error),
        ("trace", detail.trace_id),
        *(("hint", hint) for hint in entry.hints),
    )
    if detail.attempts:
        _print_attempts(detail.attempts, now)
    printing.print_line()


def _print_attempts(attempts: "Sequence[Attempt]", now: datetime) -> None:
    from worker.cli import printing

    columns = (">TRY", "STARTED", "TOOK", "OUTCOME", "REASON", "~ERROR")
    rows = (
        (
            attempt.number,
            printing.relative(attempt.started_at, now=now),
            printing.span(attempt.ended_at - attempt.started_at)
            if attempt.ended_at
            else "",
            attempt.outcome or "running",
            attempt.reason,
            attempt.error,
        )
        for attempt in attempts
    )
    printing.print_table(columns, rows)
