"""`acs room …`: rooms, their windows, and who may be in them."""

from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import acs, acs_participants
from worker.cli.acs import DryRun, How, RequestId, Resource
from worker.cli.acs_participants import (
    Attendees,
    Collaborators,
    Consumers,
    Presenters,
    RoomId,
    log_asked,
    roles_of,
)
from worker.cli.options import AsJson
from worker.clock import SystemClock

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.acs.answers import Room
    from worker.acs.clients import Clients
    from worker.acs.wishes import RoomWish

app = typer.Typer(help="Rooms at ACS.", rich_markup_mode=None)
app.add_typer(acs_participants.app, name="participants")
From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="TIME", help="Open from then on; a new room else from now on."
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Closed from then on: 180 days at most."),
]
DialsOut = Annotated[
    bool, typer.Option("--pstn-dial-out", help="Phones may be called from it.")
]
MayDialOut = Annotated[
    bool | None,
    typer.Option(
        "--pstn-dial-out/--no-pstn-dial-out", help="Phones may be called from it."
    ),
]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]


@app.command(
    "create",
    epilog="Example: recording-worker acs room create --presenter 8:acs:a --dry-run",
)
def create(  # noqa: PLR0913 - each is an independent wish
    context: typer.Context,
    *,
    start: From = None,
    until: Until = None,
    pstn_dial_out: DialsOut = False,
    presenter: Presenters = None,
    attendee: Attendees = None,
    consumer: Consumers = None,
    collaborator: Collaborators = None,
    request_id: RequestId = None,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a room."""
    from worker.acs import rooms

    how = How(
        resource=resource, dry_run=dry_run, request_id=request_id, as_json=as_json
    )
    roles = roles_of(context, (presenter, attendee, consumer, collaborator))
    wish = _wish(start, until, dials_out=pstn_dial_out, roles=roles)

    async def created(clients: "Clients") -> "Room":
        made = await rooms.create(clients, wish, now=SystemClock().now())
        log_asked("create", clients, made.id)
        return made

    _print_room(acs.ask(context, created, how), how)


@app.command("get", epilog="Example: recording-worker acs room get 99001")
def get(
    context: typer.Context,
    room_id: RoomId,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Show a room."""
    from worker.acs import rooms

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)
    _print_room(acs.ask(context, lambda clients: rooms.get(clients, room_id), how), how)


@app.command(
    "update",
    epilog="Example: recording-worker acs room update 99001 --pstn-dial-out",
)
def update(  # noqa: PLR0913 - each is an independent wish
    context: typer.Context,
    *,
    room_id: RoomId,
    start: From = None,
    until: Until = None,
    pstn_dial_out: MayDialOut = None,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Change a room's window, or whether it calls phones; the rest stays.

    It is read first, by a dry run as well.
    """
    from worker.acs import rooms

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)
    wish = _wish(start, until, dials_out=pstn_dial_out, roles={})
    if not (start or until) and pstn_dial_out is None:
        raise acs.UnfitUsageError("say what to change", context)
    before = acs.ask(context, lambda c: rooms.get(c, room_id), How(resource=resource))

    async def updated(clients: "Clients") -> "Room | None":
        after = await rooms.update(clients, before, wish) if before else None
        log_asked("update", clients, room_id)
        return after

    _print_room(acs.ask(context, updated, how), how)


@app.command("list", epilog="Example: recording-worker acs room list --json")
def list_(
    context: typer.Context,
    limit: Limit = 1000,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """List the rooms of a resource."""
    from worker.acs import rooms
    from worker.cli import printing

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)

    async def listed(clients: "Clients") -> "list[Room]":
        found: list[Room] = []
        async for room in rooms.list_rooms(clients):
            if as_json:
                printing.print_json_lines([room])
            found.append(room)
            if len(found) >= limit:
                break
        return found

    found = acs.ask(context, listed, how)
    if found is not None and not as_json:
        printing.print_table(
            ("ROOM", "FROM", "UNTIL", "DIALS OUT", "~CREATED"), map(_row, found)
        )


def _row(room: "Room") -> tuple[str, ...]:
    dials = "yes" if room.pstn_dial_out else "no"
    return (room.id, room.valid_from, room.valid_until, dials, room.created_at)


@app.command(
    "delete",
    epilog="Example: recording-worker acs room delete 99001 --dry-run",
)
def delete(
    context: typer.Context,
    room_id: RoomId,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Remove a room; nobody can join it any more."""
    from worker.acs import rooms
    from worker.cli import printing

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)

    async def deleted(clients: "Clients") -> str:
        await rooms.delete(clients, room_id)
        log_asked("delete", clients, room_id)
        return room_id

    if acs.ask(context, deleted, how) is None:
        return
    if as_json:
        printing.print_json({"room": room_id, "deleted": True})
    else:
        printing.print_fields(("room", room_id), ("deleted", "yes"))


def _wish(
    start: str | None,
    until: str | None,
    *,
    dials_out: bool | None,
    roles: dict[str, str],
) -> "RoomWish":
    from worker.acs.wishes import RoomWish

    return RoomWish(
        valid_from=acs.time_of(start) if start else None,
        valid_until=acs.time_of(until) if until else None,
        pstn_dial_out=dials_out,
        roles=roles,
    )


def _print_room(room: "Room | None", how: How) -> None:
    """None: a dry run, which said what it would do."""
    from worker.cli import printing

    if room is None:
        return
    if how.as_json:
        printing.print_json(room)
        return
    printing.print_fields(
        ("room", room.id),
        ("from", room.valid_from),
        ("until", room.valid_until),
        ("dials out", "yes" if room.pstn_dial_out else "no"),
        ("created", room.created_at),
    )
