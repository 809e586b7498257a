"""`acs recording …`: start, steer and end recordings."""

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worker.cli import acs
from worker.cli.acs import Callback, DryRun, How, RequestId, Resource
from worker.cli.options import AsJson

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.acs.answers import RecordingState
    from worker.acs.clients import Clients
    from worker.acs.wishes import StartWish

_CHANNEL = re.compile(r"0|[1-9][0-9]{0,3}")
"""In one spelling, so that no channel is named twice."""
app = typer.Typer(help="Recordings at ACS.", rich_markup_mode=None)
RecordingId = Annotated[
    str,
    typer.Argument(
        metavar="RECORDING", callback=acs.named, help="The id that `start` printed."
    ),
]

ServerCall = Annotated[str | None, typer.Option(help="By serverCallId (not callId).")]
GroupCall = Annotated[str | None, typer.Option(help="By group id.")]
InRoom = Annotated[str | None, typer.Option(help="By room id.")]
CallConnection = Annotated[str | None, typer.Option(help="By callConnectionId.")]
WhatContent = Literal["audio", "audio-video"] | None
WhatChannel = Literal["mixed", "unmixed"] | None
WhatFormat = Literal["wav", "mp3", "mp4"] | None
Content = Annotated[WhatContent, typer.Option(help="What is recorded.")]
Channel = Annotated[WhatChannel, typer.Option(help="One channel, or one each (wav).")]
Format = Annotated[
    WhatFormat, typer.Option("--format", help="mp4 for video; else mp3, or wav.")
]
Container = Annotated[
    str | None, typer.Option(metavar="URL", help="Export to your own storage.")
]
Paused = Annotated[bool, typer.Option("--pause", help="Begin with a pause.")]
ChannelOrder = Annotated[
    list[str] | None, typer.Option(metavar="ID", help="Who is on channel 0, then 1, …")
]
Affinity = Annotated[
    list[str] | None,
    typer.Option(metavar="CHANNEL=ID", help="Who is on which channel."),
]


@app.command(
    "start",
    epilog="Example: recording-worker acs recording start --room 99001 --dry-run",
)
def start(  # noqa: PLR0913 - each is an independent wish
    context: typer.Context,
    *,
    server_call: ServerCall = None,
    group_call: GroupCall = None,
    room: InRoom = None,
    call_connection: CallConnection = None,
    content: Content = None,
    channel: Channel = None,
    kind: Format = None,
    callback: Callback = None,
    container: Container = None,
    paused: Paused = False,
    channel_order: ChannelOrder = None,
    affinity: Affinity = None,
    request_id: RequestId = None,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Start recording a call that goes on.

    Say which by exactly one of the first four. What the service refuses is refused here.
    """
    how = How(
        resource=resource, dry_run=dry_run, request_id=request_id, as_json=as_json
    )
    wish = _start_wish(
        context,
        (server_call, group_call, room, call_connection),
        (content, channel, kind),
        (callback, container),
        is_paused=paused,
        channels=(channel_order or [], affinity or []),
    )
    _start(context, wish, how)


def _start_wish(
    context: typer.Context,
    which: tuple[str | None, ...],
    shape: "tuple[WhatContent, WhatChannel, WhatFormat]",
    told: tuple[str | None, str | None],
    *,
    is_paused: bool,
    channels: tuple[list[str], list[str]],
) -> "StartWish":
    from worker.acs import identities
    from worker.acs.wishes import Shape, StartWish, Which

    server_call, group_call, room, call_connection = which
    order, affinity = channels
    with acs.usage(context):
        return StartWish(
            which=Which(
                server_call=server_call,
                group_call=group_call,
                room=room,
                call_connection=call_connection,
            ),
            shape=Shape.of(*shape),
            callback=told[0],
            container=told[1],
            is_paused=is_paused,
            order=identities.raw_ids(order),
            affinity=_affinity(affinity, context),
        )


def _start(context: typer.Context, wish: "StartWish", how: How) -> None:
    from worker.acs import calls

    _tell(
        context, "recording start", lambda clients: calls.start(clients, wish), how=how
    )


def _affinity(texts: list[str], context: typer.Context) -> dict[int, str]:
    from worker.acs import identities

    pairs = acs.pairs_of(texts, what="--affinity", context=context, form="CHANNEL=ID")
    if not all(map(_CHANNEL.fullmatch, pairs)):
        raise acs.UnfitUsageError("--affinity is CHANNEL=ID, as 0=8:acs:…", context)
    who = identities.raw_ids(tuple(pairs.values()))
    return dict(zip(map(int, pairs), who, strict=True))


@app.command(
    "state",
    epilog="Example: recording-worker acs recording state eyJQbGF0Zm9ybSI6IjEifQ==",
)
def state(
    context: typer.Context,
    recording_id: RecordingId,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Say whether a recording is active; one that is paused is not."""
    from worker.acs import calls

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)
    found = acs.ask(context, lambda clients: calls.state(clients, recording_id), how)
    _print_state(found, how)


@app.command(
    "stop",
    epilog="Example: recording-worker acs recording stop eyJQbGF0Zm9ybSI6IjEifQ==",
)
def stop(
    context: typer.Context,
    recording_id: RecordingId,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """End a recording; Event Grid announces its chunks some minutes later."""
    from worker.acs import calls

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)
    _tell(context, "recording stop", lambda c: calls.stop(c, recording_id), how=how)


@app.command(
    "pause",
    epilog="Example: recording-worker acs recording pause eyJQbGF0Zm9ybSI6IjEifQ==",
)
def pause(
    context: typer.Context,
    recording_id: RecordingId,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Record nothing from now on, until it is resumed."""
    from worker.acs import calls

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)
    _tell(context, "recording pause", lambda c: calls.pause(c, recording_id), how=how)


@app.command(
    "resume",
    epilog="Example: recording-worker acs recording resume eyJQbGF0Zm9ybSI6IjEifQ==",
)
def resume(
    context: typer.Context,
    recording_id: RecordingId,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Go on recording after a pause."""
    from worker.acs import calls

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)
    _tell(context, "recording resume", lambda c: calls.resume(c, recording_id), how=how)


def _tell(
    context: typer.Context,
    what: str,
    question: "Callable[[Clients], Awaitable[RecordingState]]",
    *,
    how: How,
) -> None:
    """Ask for a change, say in the log who asked, and print what came of it."""

    async def asked(clients: "Clients") -> "RecordingState":
        found = await question(clients)
        resource = clients.resource.name
        acs.log_asked(
            what, resource=resource, subject=found.recording_id, state=found.state
        )
        return found

    _print_state(acs.ask(context, asked, how), how)


def _print_state(found: "RecordingState | None", how: How) -> None:
    from worker.cli import printing

    if found is None:
        return
    if how.as_json:
        printing.print_json(found)
        return
    printing.print_fields(
        ("recording", found.recording_id),
        ("state", found.state),
        ("kind", found.kind),
    )
