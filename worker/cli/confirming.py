"""Asking before much is changed: only somebody who can answer."""

import sys

import typer

from worker.cli import failures


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal, unless it was said already; whoever says no changes nothing."""
    if yes or not sys.stdin.isatty():
        return
    try:
        is_wanted = typer.confirm(question, err=True)
    except typer.Abort:
        is_wanted = False
    if not is_wanted:
        sys.stderr.write("nothing was changed\n")
        raise typer.Exit(failures.FAILED)
