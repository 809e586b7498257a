"""`queue redrive` and `queue release`: dead letters, and leases of workers that are gone."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import choosing, confirming, failures, piping, session
from worker.cli.options import AsJson, DryRun, Yes
from worker.errors import WorkerError
from worker.model import ChunkState

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from collections.abc import AsyncGenerator

    from worker.opening import WholeQueue
    from worker.ops.mending import MendedRow
    from worker.ops.selecting import Selection

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID…", help="Rows, documents, calls or recordings."),
]
All = Annotated[bool, typer.Option("--all", help="All of them, whatever the reason.")]


class WhoHoldsItError(WorkerError):
    """A queue that does not know which worker has what."""

    reason = "who-holds-it"
    hint = "recording-worker queue list --state pending"


def redrive(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    ids: Ids = None,
    reason: choosing.Reason = None,
    call: choosing.Call = None,
    older_than: choosing.OlderThan = None,
    within: choosing.Within = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Have dead chunks tried again, attempts at 0; their history stays.

    Mend the cause first: `queue list --state dead` says what. Exit 3 if one can't be read.
    """
    chosen = choosing.selection(
        state=None if ids else ChunkState.DEAD,
        reasons=reason,
        call=call,
        older_than=older_than,
        within=within,
    )
    _refuse_nothing_said(ids, chosen, everything=everything)

    def mend(queue: "WholeQueue", dry: bool) -> "AsyncGenerator[MendedRow, None]":
        from worker.ops.mending import queue_redrive

        return queue_redrive(queue, ids or (), chosen, dry_run=dry)

    work = _Work(verb="redrive", done="redriven", mend=mend, tell=_tell_redriven)
    raise typer.Exit(work.run(context, dry_run=dry_run, yes=yes, as_json=as_json))


def release(
    context: typer.Context,
    ids: Ids = None,
    worker: Annotated[
        str | None, typer.Option(help="What this worker holds; see queue list.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give back what a worker that is gone still holds, before its lease is over.

    A Storage Queue doesn't say who holds what: name chunks, which get one message more.
    """
    chosen = choosing.selection(state=None if ids else ChunkState.LEASED, worker=worker)
    _refuse_nothing_said(ids, chosen, everything=False)

    def mend(queue: "WholeQueue", dry: bool) -> "AsyncGenerator[MendedRow, None]":
        from worker.ops.mending import queue_release

        if worker and not queue.keeps_waiting:
            raise WhoHoldsItError(
                "a Storage Queue doesn't say who holds what: a lease there ends by itself,"
                " within WORKER_LEASE_SECONDS"
            )
        return queue_release(queue, ids or (), chosen, dry_run=dry)

    work = _Work(verb="release", done="released", mend=mend, tell=_tell_released)
    raise typer.Exit(work.run(context, dry_run=dry_run, yes=yes, as_json=as_json))


def _refuse_nothing_said(
    ids: Sequence[str] | None, chosen: "Selection", *, everything: bool
) -> None:
    """Nothing said never means all."""
    if not ids and chosen.is_empty and not everything:
        raise typer.BadParameter(
            "say which: ids, a filter, or --all where there is one"
        )
    if everything and (ids or not chosen.is_empty):
        raise typer.BadParameter("--all goes with neither ids nor filters")


@dataclass(slots=True, kw_only=True)
class _Work:
    """One verb over many entries: counted first where one may say no, then told as it goes."""

    verb: str
    done: str
    mend: "Callable[[WholeQueue, bool], AsyncGenerator[MendedRow, None]]"
    tell: "Callable[[Counter[str]], None]"
    """Logs who did what."""
    outcomes: "Counter[str]" = field(default_factory=Counter)

    def run(
        self, context: typer.Context, *, dry_run: bool, yes: bool, as_json: bool
    ) -> int:
        if not (dry_run or yes) and sys.stdin.isatty():
            count = session.ask_queue(context, lambda queue, _: self._count(queue))
            confirming.confirm(f"{self.verb} {count} of them?", yes=not count)
        session.ask_queue(
            context, lambda queue, _: self._go(queue, dry=dry_run, as_json=as_json)
        )
        if not as_json:
            self._print_end(dry=dry_run)
        is_whole = not self.outcomes["unreadable"]
        return failures.DONE if is_whole else failures.NEEDS_ATTENTION

    async def _count(self, queue: "WholeQueue") -> int:
        async with aclosing(self.mend(queue, True)) as rows:
            return len([row async for row in rows if row.outcome.startswith("would")])

    async def _go(self, queue: "WholeQueue", *, dry: bool, as_json: bool) -> None:
        from worker.cli import printing

        try:
            async with aclosing(self.mend(queue, dry)) as rows:
                async for row in rows:
                    self._count_in(row)
                    if as_json:
                        printing.print_json_lines([row])
                    else:
                        _print_row(row)
        finally:
            if not dry and self.outcomes:
                # Also of what was cut short.
                self.tell(self.outcomes)

    def _count_in(self, row: "MendedRow") -> None:
        self.outcomes[row.outcome] += 1
        if self.outcomes["unreadable"]:
            piping.end_with(failures.NEEDS_ATTENTION)

    def _print_end(self, *, dry: bool) -> None:
        from worker.cli import printing

        if not self.outcomes:
            printing.print_line(f"nothing to {self.verb}: no chunk is meant")
            return
        count = self.outcomes[f"would-{self.verb}" if dry else self.done]
        printing.print_line()
        printing.print_fields(
            (f"to be {self.done}" if dry else self.done, str(count)),
            ("left", self.outcomes.total() - count or None),
            ("next", "recording-worker status" if count and not dry else None),
        )


def _tell_redriven(outcomes: "Counter[str]") -> None:
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    chunks = outcomes["redriven"]
    left = outcomes.total() - chunks
    log.warning("queue.redriven", by=session.user(), chunks=chunks, left=left)


def _tell_released(outcomes: "Counter[str]") -> None:
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    chunks = outcomes["released"]
    left = outcomes.total() - chunks
    log.warning("queue.released", by=session.user(), chunks=chunks, left=left)


def _print_row(row: "MendedRow") -> None:
    from worker.cli import printing
    from worker.clock import SystemClock

    was = f"dead of {row.reason}" if row.state is ChunkState.DEAD else str(row.state)
    held = f" with {row.worker}" if row.worker else ""
    expiry = printing.expiry(row.expires_at, now=SystemClock().now())
    said = f"{row.document_id} #{row.index}, was {was}{held}, {expiry}"
    line = f"{row.outcome:<13}  {printing.short(row.row)}  {said}"
    printing.print_line(printing.cell(line))
