"""`pause` and `resume`: no worker anywhere begins a chunk, until told otherwise."""

from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import session
from worker.cli.options import AsJson, DryRun
from worker.clock import SystemClock

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.ops.pausing import PauseReport


def _reason(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("whoever finds the pause must learn why")
    return text.strip()


def pause(
    context: typer.Context,
    reason: Annotated[
        str,
        typer.Option(
            help="Why, for whoever finds it so.", show_default=False, parser=_reason
        ),
    ],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Have all workers end what they have in hand and begin nothing.

    They see it within seconds, wherever they run. Deliveries are received on, and chunks
    expire on: what is at risk is told as ever.
    """
    _set(context, True, reason, dry_run=dry_run, as_json=as_json)


def resume(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Have all workers go on after a pause."""
    _set(context, False, reason, dry_run=dry_run, as_json=as_json)


def _set(
    context: typer.Context, paused: bool, reason: str, *, dry_run: bool, as_json: bool
) -> None:
    from worker.cli import printing
    from worker.ops.pausing import set_paused

    report = session.ask_archive(
        context,
        lambda archive: set_paused(
            archive,
            paused=paused,
            reason=reason,
            by=session.user(),
            at=SystemClock().now(),
            dry_run=dry_run,
        ),
    )
    if report.changed and not dry_run:
        _tell(report)
    printing.print_json(report) if as_json else _print(report)


def _tell(report: "PauseReport") -> None:
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    if report.paused:
        log.warning("work.paused", by=report.by, reason=report.reason)
    else:
        log.warning("work.resumed", by=report.by, reason=report.reason)


def _next(report: "PauseReport") -> str | None:
    """Whoever resumes what nobody paused is after trouble, which ends by itself once mended."""
    if report.paused:
        return "recording-worker resume"
    return None if report.changed else "recording-worker doctor"


def _print(report: "PauseReport") -> None:
    from worker.cli import printing

    state = "paused" if report.paused else "going on"
    done = "would be" if report.dry_run else "is"
    now = SystemClock().now()
    printing.print_fields(
        ("work", f"{done} {state}" if report.changed else f"is {state} already"),
        ("since", printing.moment(report.since, now=now)),
        ("by", report.by),
        ("reason", report.reason),
        ("next", _next(report)),
    )
