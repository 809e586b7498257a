"""`replay`: saved events through the handlers and on to the archive, with bars."""

import asyncio
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import failures, letters, piping, redelivery, session

if TYPE_CHECKING:
    from worker.posting import Bodies, Posting
    from worker.replaying import Replayed
    from worker.settings import Settings

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE…|URL",
        help="Event files, folders of them, or a container of dead letters.",
    ),
]
Simulate = Annotated[
    bool,
    typer.Option(
        help="Deliver from a stand-in for Event Grid, with the samples' media"
        " in one for ACS."
    ),
]


def replay(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    files: Files,
    simulate: Simulate = False,
    to: redelivery.To = None,
    header: redelivery.Header = None,
    plain_http: redelivery.PlainHttp = False,
    since: letters.Since = None,
    until: letters.Until = None,
    again: letters.Again = False,
    everything: letters.All = False,
    dry_run: redelivery.DryRun = False,
    as_json: redelivery.AsJson = False,
) -> None:
    """Feed saved events in, and bring their chunks home.

    `replay FOLDER --to https://YOUR-HOST/api/events` posts them to a deployed endpoint:
    exit 3 if something is refused, 1 if nobody is there. A key in the URL is seen by
    everybody on this machine; WORKER_WEBHOOK_KEYS is not.

    `replay https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX` queues Event Grid's dead
    letters (or posts them, with --to): workers bring their chunks home. What was taken is
    remembered in the archive and passed by; the blobs stay.
    """
    to_where = redelivery.destination(to, header, plain_http, dry_run, as_json)
    which = letters.Which(since=since, until=until, again=again, everything=everything)
    if any(map(_is_url, files)):
        url = _one_url(files, simulate=simulate)
        wanted = letters.Wanted(url, which, to_where, dry_run, as_json)
        raise typer.Exit(letters.replay_letters(context, wanted))
    letters.refuse_without_container(which)
    paths = [Path(file) for file in files]
    if to_where is not None:
        _refuse_both(simulate)
        raise typer.Exit(redelivery.replay_to(context, paths, to_where))
    if dry_run or as_json:
        raise typer.BadParameter("--dry-run and --json go with --to, or a container")
    _replay_here(context, paths, simulate=simulate)


def _refuse_both(simulate: bool) -> None:
    if simulate:
        raise typer.BadParameter("--to and --simulate exclude each other")


def _is_url(text: str) -> bool:
    return text.casefold().startswith(("https://", "http://"))


def _one_url(files: list[str], *, simulate: bool) -> str:
    if simulate:
        raise typer.BadParameter("--simulate goes with files")
    if len(files) > 1:
        raise typer.BadParameter("one container at a time, and no files beside it")
    return files[0]


def _replay_here(context: typer.Context, files: list[Path], *, simulate: bool) -> None:
    from worker.cli import printing

    replayed = asyncio.run(_replay(context, files, simulate=simulate))
    printing.print_line()
    printing.print_line(f"archive  {replayed.archive}")
    for posted in replayed.refused:
        kept = "kept under quarantine/" if posted.is_quarantined else "not kept"
        file = printing.cell(posted.file)
        printing.print_line(f"refused  {file} ({posted.status}), {kept}")
    program = _program(session.invocation_of(context).env_file)
    if replayed.waiting:
        printing.print_line(f"paused   {replayed.waiting} wait: {program} resume")
    printing.print_line(f"next     {program} recordings list")
    raise typer.Exit(failures.NEEDS_ATTENTION if replayed.needs_attention else 0)


def _program(env_file: Path | None) -> str:
    """How this command was called, so that the next one can be pasted."""
    called = sys.argv[0]
    called = called if Path(called).name == "recording-worker" else "recording-worker"
    return shlex.join([called, *(["--env-file", str(env_file)] if env_file else [])])


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
        addressed = ((name, stand_in.address(body)) for name, body in bodies)
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
    if replayed.needs_attention:
        piping.end_with(failures.NEEDS_ATTENTION)
    view.print_summary()
    return replayed
