"""`status` and `config`: how it stands, and how it is set."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worker.cli import failures, piping, session, watching
from worker.cli.options import AsJson

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.ops.config import ConfigReport
    from worker.ops.status import Status


def status(
    context: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again; Ctrl-C ends it.")
    ] = False,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="With --watch.")
    ] = 5.0,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="One line if something needs attention, else none."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count chunks; exit 3 if one needs attention.

    That is a chunk dead or with little time left (WORKER_AT_RISK_HOURS), or a delivery that
    nobody sorts. With --check, for a job, exit 1: nobody can tell; --watch ends with 0.

    `held up` is what so many chunks failed of alike that consumers pause by themselves: which
    ones do, only their logs (consumer.paused), /health and metrics say. A Storage Queue keeps
    no such reasons.
    """
    if watch and check:
        raise typer.BadParameter("--watch and --check exclude each other")
    if watch:
        watching.watch(context, interval=interval, as_json=as_json)
        return
    if check:
        found = session.ask_both(context, watching.check)
        exit_code = _check(found, as_json=as_json)
        _log_check(found, exit_code)
        raise typer.Exit(exit_code)
    found = session.ask_both(context, watching.look)
    if found.needs_attention:
        piping.end_with(failures.NEEDS_ATTENTION)
    _print_status(found, as_json=as_json)
    raise typer.Exit(failures.NEEDS_ATTENTION if found.needs_attention else 0)


def _check(found: "Status", *, as_json: bool) -> int:
    """Quiet where all is well, for schedulers mail what is printed."""
    from worker.cli import printing

    if found.needs_attention:
        piping.end_with(failures.NEEDS_ATTENTION)
        if as_json:
            printing.print_json_lines([found])
        else:
            printing.print_line(watching.line_of(found))
        return failures.NEEDS_ATTENTION
    if found.problem:
        sys.stderr.write(f"error: {found.problem}\nhint: recording-worker config\n")
        return failures.FAILED
    return failures.DONE


_OUTCOMES = {
    failures.DONE: "fine",
    failures.NEEDS_ATTENTION: "attention",
    failures.FAILED: "unknown",
}


def _log_check(found: "Status", exit_code: int) -> None:
    """With --verbose, for whoever is to notice that nobody checks any more."""
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    log.info(
        "status.checked",
        outcome=_OUTCOMES[exit_code],
        pending=found.pending,
        dead=found.dead,
        at_risk=found.at_risk,
        paused=found.paused,
    )


def _print_status(found: "Status", *, as_json: bool) -> None:
    """The status as a document, or as tables and a hint."""
    from worker.cli import printing

    if as_json:
        printing.print_json(found)
        return
    printing.print_table(watching.COLUMNS, watching.rows_of(found))
    printing.print_line()
    printing.print_fields(*watching.fields_of(found))
    for hint in watching.hints_of(found):
        sys.stderr.write(f"hint: {hint}\n")


def config(
    context: typer.Context,
    wanted_for: Annotated[
        Literal["serve", "webhook", "consume", "read", "acs"],
        typer.Option("--for", help="Check what this verb needs."),
    ] = "serve",
    as_json: AsJson = False,
) -> None:
    """Show every setting and where it is from.

    Secrets are masked. Exit 78 if something is missing or wrong.
    """
    from worker.cli import printing
    from worker.ops.config import config_report
    from worker.settings import inspect_process
    from worker.settings_rules import Use

    env_file = session.invocation_of(context).env_file
    report = config_report(inspect_process(env_file, use=Use(wanted_for)))
    if report.problems:
        piping.end_with(failures.CONFIGURATION)
    printing.print_json(report) if as_json else _print_config(report)
    raise typer.Exit(failures.CONFIGURATION if report.problems else 0)


def _print_config(report: "ConfigReport") -> None:
    from worker.cli import printing

    rows = ((row.variable, row.origin, row.value) for row in report.settings)
    printing.print_table(("VARIABLE", "FROM", "~VALUE"), rows)
    for problem in report.problems:
        sys.stderr.write(f"error: {problem}\n")
    for warning in report.warnings:
        sys.stderr.write(f"warning: {warning}\n")
