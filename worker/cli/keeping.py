"""`recordings hold` and `recordings unhold`."""

from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import confirming, failures, session

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.ops.holding import HoldReport

HOLD_EXAMPLE = "Example: recording-worker recordings hold 0-eus-d1-a1b2c3 --reason X17"
UNHOLD_EXAMPLE = (
    "Example: recording-worker recordings unhold 0-eus-d1-a1b2c3 --reason X17"
)
Recording = Annotated[
    str, typer.Argument(metavar="ID", help="Recording, call or document.")
]
Why = Annotated[
    str, typer.Option("--reason", help="Why; it is kept with the recording.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask on a terminal.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def hold(
    context: typer.Context,
    text: Recording,
    reason: Why,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put a recording under legal hold: nobody erases it until it is released.

    Chunks that come home later are held as well. Exit 3: the storage doesn't hold all of it.
    """
    _change(context, text, reason, held=True, dry_run=dry_run, as_json=as_json)


def unhold(
    context: typer.Context,
    text: Recording,
    reason: Why,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Release a recording from legal hold. Exit 3: the storage still holds some of it."""
    confirming.confirm(f"release {text} from legal hold?", yes=yes or dry_run)
    _change(context, text, reason, held=False, dry_run=dry_run, as_json=as_json)


def _change(
    context: typer.Context,
    text: str,
    reason: str,
    *,
    held: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from worker.cli import printing
    from worker.clock import SystemClock
    from worker.ops.holding import Wanted, recordings_hold

    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    wanted = Wanted(
        held=held,
        reason=reason,
        by=session.user(),
        at=SystemClock().now(),
        dry_run=dry_run,
    )
    report = session.ask_archive(
        context, lambda archive: recordings_hold(archive, text, wanted)
    )
    if report is None:
        raise session.NotInArchiveError(f"the archive knows no {text!r}")
    if not dry_run:
        _log(report, wanted.by)
    if as_json:
        printing.print_json(report)
    else:
        _print(report)
    raise typer.Exit(failures.NEEDS_ATTENTION if _lacks(report) else failures.DONE)


def _lacks(report: "HoldReport") -> bool:
    """Whether the storage is not as it should be; a directory can't be."""
    if report.unlike:
        return True
    return bool(report.held and report.unknown and report.storage_holds)


def _log(report: "HoldReport", by: str) -> None:
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    write = log.warning
    counts = {"objects": report.objects, "unlike": report.unlike}
    if report.held:
        write("recording.held", recording=report.recording, by=by, **counts)
    else:
        write("recording.released", recording=report.recording, by=by, **counts)


def _print(report: "HoldReport") -> None:
    from worker.cli import printing
    from worker.clock import SystemClock

    now = SystemClock().now()
    state = "held" if report.held else "not held"
    if not report.changed:
        state += ", as it was"
    elif report.dry_run:
        state = "would be held" if report.held else "would be released"
    printing.print_fields(
        ("recording", report.recording),
        ("state", state),
        ("since", printing.moment(report.since, now=now)),
        ("by", report.by),
        ("reason", report.reason),
        ("objects", report.objects or None),
        ("storage", _storage(report)),
    )


def _storage(report: "HoldReport") -> str | None:
    if report.dry_run:
        return None
    if report.unlike:
        wrong = "not held" if report.held else "still held"
        return f"{report.unlike} objects are {wrong}, read back"
    if not report.storage_holds:
        return (
            "a directory knows no holds: `recordings erase` obeys it, nobody else does"
        )
    if report.unknown:
        return (
            "the container has no version-level immutability: `recordings erase` obeys"
            " the hold, nobody else does"
        )
    return "held, read back" if report.held else "released, read back"
