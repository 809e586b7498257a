"""`status` and `config`: how it stands, and how it is set."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worker.cli import failures, session
from worker.clock import SystemClock

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.ops.config import ConfigReport
    from worker.ops.status import Status

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Count chunks; exit 3 if one needs attention.

    That is a dead chunk, or one with little time left: see WORKER_AT_RISK_HOURS.
    """
    from worker.cli import printing
    from worker.ops.status import read_status

    now = SystemClock().now()
    found = session.ask_queue(
        context,
        lambda queue, settings: read_status(
            queue, at_risk_within=settings.at_risk_within, now=now
        ),
    )
    printing.print_json(found) if as_json else _print_status(found)
    raise typer.Exit(failures.NEEDS_ATTENTION if found.needs_attention else 0)


def _print_status(status: "Status") -> None:
    from worker.cli import printing

    reasons = (f"{reason} {n}" for reason, n in status.dead_by_reason.items())
    next_loss = printing.relative(status.earliest_deadline, now=status.as_of)
    rows = (
        ("pending", status.pending, f"first expires {next_loss}" if next_loss else ""),
        ("in flight", status.in_flight, ""),
        ("archived", status.archived, ""),
        ("deleted", status.deleted, ""),
        ("dead", status.dead, ", ".join(reasons)),
        ("at risk", status.at_risk, f"less than {status.at_risk_hours:g} h left"),
    )
    printing.print_table(("CHUNKS", ">NOW", "~"), rows)
    if status.needs_attention:
        state = " --state dead" if status.dead else ""
        sys.stderr.write(f"hint: recording-worker queue list{state}\n")


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
