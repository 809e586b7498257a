"""`queue prune`: what was settled long ago, and who took part in it."""

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import confirming, session, times
from worker.cli.options import AsJson, Yes
from worker.clock import SystemClock

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.ops.mending import PruneReport

SHORTEST = timedelta(days=3)
"""Till then the source may have a chunk, and its recording be looked at."""
OlderThan = Annotated[
    timedelta,
    typer.Option(
        metavar="SPAN",
        help="What was settled, and expired, so long ago: 30d; 3d at least.",
        parser=times.span,
    ),
]


def prune(
    context: typer.Context,
    older_than: OlderThan,
    dead: Annotated[
        bool, typer.Option("--dead", help="What was given up, too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count only; remove nothing.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget chunks that were settled long ago, and the deliveries that announced them.

    These name who took part. Nothing at work goes, and nothing dead unless that is said;
    the archive's receipts and recordings stay. On a Storage Queue it takes the right to
    delete blobs.
    """
    from worker.cli import printing

    if older_than < SHORTEST:
        raise typer.BadParameter("--older-than must be 3d at least")
    if not (dry_run or yes) and sys.stdin.isatty():
        found = _prune(context, older_than, dead=dead, dry_run=True)
        chunks = printing.count(found.entries, "chunk")
        confirming.confirm(f"forget {chunks}?", yes=False)
    report = _prune(context, older_than, dead=dead, dry_run=dry_run)
    if not dry_run:
        _tell(report)
    printing.print_json(report) if as_json else _print(report)


def _prune(
    context: typer.Context, older_than: timedelta, *, dead: bool, dry_run: bool
) -> "PruneReport":
    from worker.ops.mending import queue_prune

    before = SystemClock().now() - older_than
    return session.ask_queue(
        context,
        lambda queue, _: queue_prune(queue, before=before, dead=dead, dry_run=dry_run),
    )


def _tell(report: "PruneReport") -> None:
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    log.warning(
        "queue.pruned",
        by=session.user(),
        chunks=report.entries,
        deliveries=report.deliveries,
        before=report.before.isoformat(),
    )


def _print(report: "PruneReport") -> None:
    from worker.cli import printing

    now = SystemClock().now()
    printing.print_fields(
        ("chunks", str(report.entries)),
        ("deliveries", str(report.deliveries)),
        ("settled before", printing.moment(report.before, now=now)),
        ("dead too", "yes" if report.dead else None),
        ("removed", "nothing: a dry run" if report.dry_run else "all of them"),
    )
