"""`replay`: saved events through the handlers and on to the archive, with bars."""

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import redelivery, session

if TYPE_CHECKING:
    from worker.posting import Bodies, Posting
    from worker.replaying import Replayed
    from worker.settings import Settings

NEEDS_ATTENTION = 3


def replay(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(help="Event files, or folders of them.")
    ],
    simulate: Annotated[
        bool,
        typer.Option(
            help="Deliver from a stand-in for Event Grid, with the samples' media"
            " in one for ACS."
        ),
    ] = False,
    to: redelivery.To = None,
    header: redelivery.Header = None,
    plain_http: redelivery.PlainHttp = False,
    dry_run: redelivery.DryRun = False,
) -> None:
    """Feed saved events in, and bring their chunks home.

    `replay FOLDER --to https://YOUR-HOST/api/events` posts them to a deployed endpoint:
    exit 3 if something is refused, 1 if nobody is there. A key in the URL is seen by
    everybody on this machine; WORKER_WEBHOOK_KEYS is not.
    """
    if to is not None:
        if simulate:
            raise typer.BadParameter("--to and --simulate exclude each other")
        destination = redelivery.Destination(
            url=to, headers=header or (), plain_http=plain_http, dry_run=dry_run
        )
        raise typer.Exit(redelivery.replay_to(context, files, destination))
    if header or plain_http or dry_run:
        raise typer.BadParameter("--header, --plain-http and --dry-run go with --to")
    _replay_here(context, files, simulate=simulate)


def _replay_here(context: typer.Context, files: list[Path], *, simulate: bool) -> None:
    from worker.cli import printing

    replayed = asyncio.run(_replay(context, files, simulate=simulate))
    printing.print_line()
    printing.print_line(f"archive  {replayed.archive}")
    for posted in replayed.refused:
        kept = "kept under quarantine/" if posted.is_quarantined else "not kept"
        file = printing.cell(posted.file)
        printing.print_line(f"refused  {file} ({posted.status}), {kept}")
    if replayed.waiting:
        printing.print_line(f"paused   {replayed.waiting} wait: {_program()} resume")
    printing.print_line(f"next     {_program()} recordings list")
    raise typer.Exit(NEEDS_ATTENTION if replayed.needs_attention else 0)


def _program() -> str:
    """How this command was called, so that the next one can be pasted."""
    called = sys.argv[0]
    return called if Path(called).name == "recording-worker" else "recording-worker"


async def _replay(
    context: typer.Context, files: list[Path], *, simulate: bool
) -> "Replayed":
    from worker import posting, replaying
    from worker.settings import inspect_process
    from worker.settings_rules import Use

    bodies = replaying.read_bodies(files)
    if not simulate:
        loopback = {"WORKER_LISTEN": "127.0.0.1:0"}
        settings = session.settings_for(
            context, Use.CONSUME, level="warning", overrides=loopback
        )
        return await _watched(settings, bodies, posting.as_saved)
    env_file = session.invocation_of(context).env_file
    inspection = inspect_process(env_file, use=Use.READ)
    replaying.refuse_real_stores(inspection.texts.all())
    async with replaying.simulated() as (stand_in, overrides):
        settings = session.settings_for(
            context, Use.SERVE, level="warning", overrides=overrides
        )
        addressed = [(name, stand_in.address(body)) for name, body in bodies]
        return await _watched(settings, addressed, posting.as_event_grid)


async def _watched(
    settings: "Settings", bodies: "Bodies", post: "Posting"
) -> "Replayed":
    from rich.console import Console

    from worker import replaying
    from worker.cli import printing
    from worker.cli.progress import ReplayView

    view = ReplayView(
        out=printing.stdout(), screen=Console(stderr=True), monotonic=time.monotonic
    )
    with view:
        replayed = await replaying.replay(settings, bodies, watcher=view, post=post)
    view.print_summary()
    return replayed
