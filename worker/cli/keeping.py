"""`recordings hold`, `unhold` and `erase`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import confirming, failures, session
from worker.cli.options import AsJson, DryRun, Yes
from worker.model import ErasureReason

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.opening import WholeQueue
    from worker.ops.erasing import EraseReport, Order
    from worker.ops.holding import HoldReport, Wanted
    from worker.ports import Archive
    from worker.settings import Settings

HOLD_EXAMPLE = "Example: recording-worker recordings hold 0-eus-d1-a1b2c3 --reason X17"
UNHOLD_EXAMPLE = (
    "Example: recording-worker recordings unhold 0-eus-d1-a1b2c3 --reason X17"
)
ERASE_EXAMPLE = (
    "Example: recording-worker recordings erase 0-eus-d1-a1b2c3 --reason unlawful"
)
Recording = Annotated[
    str, typer.Argument(metavar="ID", help="Recording, call or document.")
]
Why = Annotated[
    str, typer.Option("--reason", help="Why; it is kept with the recording.")
]


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
        _log(report, wanted)
    if as_json:
        printing.print_json(report)
    else:
        _print(report)
    is_well = report.held is held and not _lacks(report)
    raise typer.Exit(failures.DONE if is_well else failures.NEEDS_ATTENTION)


def _lacks(report: "HoldReport") -> bool:
    """Whether the storage is not as it should be; a directory can't be."""
    if report.unlike:
        return True
    return bool(report.held and report.unknown and report.storage_holds)


def _log(report: "HoldReport", wanted: "Wanted") -> None:
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    write = log.warning
    counts = {"objects": report.objects, "unlike": report.unlike}
    if wanted.held:
        write("recording.held", recording=report.recording, by=wanted.by, **counts)
    else:
        write("recording.released", recording=report.recording, by=wanted.by, **counts)


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


def erase(
    context: typer.Context,
    text: Recording,
    reason: Annotated[ErasureReason, typer.Option(help="Why; of these words alone.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase all of a recording, for good; a tombstone without personal data stays.

    Refused under legal hold, while a policy locks it, and while chunks are at work.
    Exit 3: something is left to be done, which the table says.
    """
    from worker.cli import printing
    from worker.clock import SystemClock
    from worker.ops.erasing import Order, recordings_erase

    confirming.confirm(f"erase {text} for good?", yes=yes or dry_run)
    order = Order(
        reason=reason, by=session.user(), at=SystemClock().now(), dry_run=dry_run
    )

    async def work(
        queue: "WholeQueue", archive: "Archive | None", _: "Settings"
    ) -> "EraseReport | None":
        return await recordings_erase(archive, queue, text, order) if archive else None

    report = session.ask_both(context, work)
    if report is None:
        raise session.NotInArchiveError(f"the archive knows no {text!r}")
    if not dry_run:
        _log_erased(report, order)
    if as_json:
        printing.print_json(report)
    else:
        _print_erased(report)
    is_whole = not (report.came_meanwhile or report.elsewhere)
    raise typer.Exit(failures.DONE if is_whole else failures.NEEDS_ATTENTION)


def _log_erased(report: "EraseReport", order: "Order") -> None:
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    log.warning(
        "recording.erased",
        recording=report.recording,
        by=order.by,
        reason=order.reason.value,
        chunks=report.chunks,
        objects=len(report.objects),
        bytes=report.size_bytes,
    )


def _print_erased(report: "EraseReport") -> None:
    from worker.cli import printing
    from worker.clock import SystemClock

    now = SystemClock().now()
    if report.dry_run:
        for name in report.objects:
            printing.print_line(printing.cell(name))
        printing.print_line()
    done = "would be erased" if report.dry_run else "erased"
    size = printing.size(report.size_bytes)
    entries = printing.count(report.queue_entries, "entry", "entries")
    deliveries = printing.count(report.deliveries, "delivery", "deliveries")
    printing.print_fields(
        ("recording", report.recording),
        (done, f"{printing.count(len(report.objects), 'object')}, {size}"),
        ("tombstones", report.chunks),
        ("queue", f"{entries}, {deliveries}"),
        ("shared", _shared(report)),
        *(("elsewhere", f"erase it yourself: {url}") for url in report.elsewhere),
        ("soft delete", _soft_deleted(report)),
        ("source", _at_source(report.source_keeps_until, now)),
        ("left", _left(report)),
    )


def _shared(report: "EraseReport") -> str | None:
    from worker.cli import printing

    if not report.shared_deliveries:
        return None
    says = printing.count(
        report.shared_deliveries, "delivery speaks", "deliveries speak"
    )
    return f"{says} of other recordings too: only a lifecycle rule takes that"


def _soft_deleted(report: "EraseReport") -> str | None:
    if not report.soft_deleted:
        return None
    return (
        f"{report.soft_deleted} objects can be restored for"
        f" {report.soft_deleted_days} more days"
    )


def _at_source(until: datetime | None, now: datetime) -> str | None:
    from worker.cli import printing

    if until is None:
        return None
    return f"ACS keeps its copy until {printing.moment(until, now=now)}"


def _left(report: "EraseReport") -> str | None:
    if not report.came_meanwhile:
        return None
    return f"{report.came_meanwhile} came meanwhile: run it again"
