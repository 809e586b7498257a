"""`acs recording …`: start, steer and end recordings, and fetch or delete what they left."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worker.cli import acs, failures
from worker.cli.acs import AsJson, Callback, DryRun, How, RequestId, Resource

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.acs.answers import RecordingState
    from worker.acs.clients import Clients
    from worker.acs.wishes import StartWish
    from worker.ops.acs_media import Deleted, Download, Proof

app = typer.Typer(help="Recordings at ACS.", rich_markup_mode=None)
RecordingId = Annotated[
    str, typer.Argument(metavar="RECORDING", help="The id that `start` printed.")
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

    pairs = acs.pairs_of(texts, what="--affinity", context=context)
    if not all(name.isascii() and name.isdecimal() for name in pairs):
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


@app.command(
    "download",
    epilog="Example: recording-worker acs recording download CONTENT-LOCATION -o a.mp4",
)
def download(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="contentLocation or metadataLocation.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file that is not there yet.")
    ],
    resource: Resource = None,
    as_json: AsJson = False,
) -> None:
    """Fetch one object from ACS into a file, by parallel ranges.

    The file appears when it is whole. The archive knows nothing of it.
    """
    from worker import driving

    settings = acs.settings_of(context, for_media=True)
    found = asyncio.run(driving.download(settings, url, output, resource=resource))
    _print_download(found, as_json=as_json)


def _print_download(found: "Download", *, as_json: bool) -> None:
    from worker.cli import printing

    if as_json:
        printing.print_json(found)
        return
    printing.print_fields(
        ("file", found.file),
        ("size", printing.size(found.size_bytes)),
        ("sha256", found.sha256),
        ("from", found.source_host),
    )


@app.command(
    "delete",
    epilog="Example: recording-worker acs recording delete DELETE-LOCATION --dry-run",
)
def delete(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="deleteLocation of a chunk.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Don't ask, at a terminal.")
    ] = False,
    resource: Resource = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say whether it is proven; delete nothing."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a chunk, content and metadata, at ACS.

    What a receipt proves to be in the archive is deleted at once. For all else a person
    is asked, at a terminal; where there is none it is refused, whatever is said.
    """
    from worker import driving

    settings = acs.settings_of(context, for_media=True)
    proof = asyncio.run(driving.proof_of(settings, url))
    if dry_run:
        _print_deleted(_not_deleted(proof), as_json=as_json)
        return
    is_told = proof.why_none is not None and _is_told(proof, yes=yes)
    if proof.why_none is not None and not is_told:
        sys.stderr.write("nothing was deleted\n")
        raise typer.Exit(failures.FAILED)
    found = asyncio.run(
        driving.delete(settings, url, resource=resource, unproven=is_told)
    )
    acs.log_asked(
        "recording delete" if found.is_proven else "recording delete unproven",
        resource=resource,
        subject=found.document_id,
    )
    _print_deleted(found, as_json=as_json)


def _is_told(proof: "Proof", *, yes: bool) -> bool:
    """Whether a person at a terminal wants it all the same. Raises UnprovenError."""
    from worker.ops import acs_media

    if not sys.stdin.isatty():
        raise acs_media.UnprovenError(
            f"{proof.why_none}, and nobody is here to be asked"
        )
    return acs.confirmed(
        f"{proof.why_none}: delete {proof.document_id} for ever?", yes=yes
    )


def _not_deleted(proof: "Proof") -> "Deleted":
    from worker.ops.acs_media import Deleted

    return Deleted(
        document_id=proof.document_id,
        is_proven=proof.why_none is None,
        why_unproven=proof.why_none,
        status=None,
    )


def _print_deleted(found: "Deleted", *, as_json: bool) -> None:
    from worker.cli import printing

    if as_json:
        printing.print_json(found)
        return
    printing.print_fields(
        ("document", found.document_id),
        ("proof", found.why_unproven or "in the archive, by its receipt"),
        (
            "source",
            "nothing was sent: a dry run"
            if found.status is None
            else f"answered {found.status}",
        ),
    )
