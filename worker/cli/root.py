"""The command `recording-worker`: its options and its verbs.

Nothing that takes long to import is imported here: `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from worker import __version__
from worker.cli import (
    acs_calls,
    acs_media,
    acs_recordings,
    acs_rooms,
    audit,
    doctor,
    export,
    keeping,
    pausing,
    queue,
    reconcile,
    recordings,
    replay,
    serving,
    state,
    verify,
)
from worker.cli.session import Invocation

app = typer.Typer(
    name="recording-worker",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"recording-worker {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: recording-worker status")
def root(
    context: typer.Context,
    env_file: Annotated[
        Path | None,
        typer.Option(help="Settings as NAME=VALUE lines; the environment wins."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Debug logs, and tracebacks.")
    ] = False,
    version: Annotated[  # noqa: ARG001 - the callback does it all
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_print_version,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Bring Azure Communication Services recordings home before they expire.

    Settings come from the environment; `config` shows them all.

    Exit: 0 done, 1 failed, 2 usage, 3 needs attention, 78 configuration, 141 its reader left
    (as `head` does) before anything was found.
    """
    context.obj = Invocation(env_file=env_file, verbose=verbose)


app.command(epilog="Example: recording-worker --env-file worker.env serve")(
    serving.serve
)
app.command(epilog="Example: recording-worker webhook")(serving.webhook)
app.command(epilog="Example: recording-worker consume --until-empty")(serving.consume)
app.command(epilog="Example: recording-worker replay samples/events/demo --simulate")(
    replay.replay
)
app.command(epilog="Example: recording-worker status --json")(state.status)
app.command(epilog="Example: recording-worker pause --reason 'storage is moved'")(
    pausing.pause
)
app.command(epilog="Example: recording-worker resume")(pausing.resume)
app.command(epilog="Example: recording-worker config --for webhook")(state.config)
app.command(
    epilog="Example: recording-worker doctor --endpoint https://YOUR-HOST/api/events"
)(doctor.doctor)
app.add_typer(queue.app, name="queue")
recordings.app.command(export.NAME, epilog=export.EPILOG)(export.export)
recordings.app.command(epilog=keeping.HOLD_EXAMPLE)(keeping.hold)
recordings.app.command(epilog=keeping.UNHOLD_EXAMPLE)(keeping.unhold)
recordings.app.command(
    epilog="Example: recording-worker recordings audit 0-eus-d1-a1b2c3 -o audit.html"
)(audit.audit)
recordings.app.command(
    epilog="Example: recording-worker recordings reconcile --summary summary.csv"
)(reconcile.reconcile)
recordings.app.command(
    "verify", epilog="Example: recording-worker recordings verify --all"
)(verify.verify)
recordings.app.command(epilog=keeping.ERASE_EXAMPLE)(keeping.erase)
app.add_typer(recordings.app, name="recordings")

acs = typer.Typer(help="Recordings, rooms and calls at ACS.", rich_markup_mode=None)
acs_recordings.app.command("download", epilog=acs_media.DOWNLOAD)(acs_media.download)
acs_recordings.app.command("delete", epilog=acs_media.DELETE)(acs_media.delete)
acs.add_typer(acs_recordings.app, name="recording")
acs.add_typer(acs_rooms.app, name="room")
acs.add_typer(acs_calls.app, name="call")
app.add_typer(acs, name="acs")
