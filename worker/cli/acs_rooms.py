"""`acs room …`: rooms, their windows, and who may be in them."""

from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import acs
from worker.cli.acs import AsJson, DryRun, How, RequestId, Resource
from worker.clock import SystemClock

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.acs.answers import Participant, Room
    from worker.acs.clients import Clients
    from worker.acs.wishes import RoomWish

app = typer.Typer(help="Rooms at ACS.", rich_markup_mode=None)
participants = typer.Typer(help="Who may be in a room.", rich_markup_mode=None)
app.add_typer(participants, name="participants")
_ROLES = ("presenter", "attendee", "consumer", "collaborator")
RoomId = Annotated[str, typer.Argument(metavar="ROOM", help="Its id.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="Open from then on; else from now on."),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Closed from then on: 180 days at most."),
]
Presenters = Annotated[
    list[str] | None, typer.Option("--presenter", metavar="ID", help="May present.")
]
Attendees = Annotated[
    list[str] | None, typer.Option("--attendee", metavar="ID", help="May take part.")
]
Consumers = Annotated[
    list[str] | None, typer.Option("--consumer", metavar="ID", help="May listen.")
]
Collaborators = Annotated[
    list[str] | None,
    typer.Option("--collaborator", metavar="ID", help="May share, not moderate."),
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
    roles = _roles(context, (presenter, attendee, consumer, collaborator))
    wish = _wish(start, until, dials_out=pstn_dial_out, roles=roles)

    async def created(clients: "Clients") -> "Room":
        made = await rooms.create(clients, wish, now=SystemClock().now())
        _log("create", clients, made.id)
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
        _log("update", clients, room_id)
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
        _log("delete", clients, room_id)
        return room_id

    if acs.ask(context, deleted, how) is None:
        return
    if as_json:
        printing.print_json({"room": room_id, "deleted": True})
    else:
        printing.print_fields(("room", room_id), ("deleted", "yes"))


@participants.command(
    "list",
    epilog="Example: recording-worker acs room participants list 99001",
)
def participants_list(
    context: typer.Context,
    room_id: RoomId,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """List who may be in a room, and as what."""
    from worker.acs import rooms
    from worker.cli import printing

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)

    async def listed(clients: "Clients") -> "list[Participant]":
        return [each async for each in rooms.participants(clients, room_id)]

    found = acs.ask(context, listed, how)
    if found is None:
        return
    if as_json:
        printing.print_json_lines(found)
    else:
        rows = ((each.id, each.role) for each in found)
        printing.print_table(("ID", "ROLE"), rows)


@participants.command(
    "add",
    epilog="Example: recording-worker acs room participants add 99001 --consumer 8:acs:b",
)
def participants_add(  # noqa: PLR0913 - a role each
    context: typer.Context,
    *,
    room_id: RoomId,
    presenter: Presenters = None,
    attendee: Attendees = None,
    consumer: Consumers = None,
    collaborator: Collaborators = None,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Let people into a room, or give them another role."""
    from worker.acs import rooms

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)
    roles = _roles(context, (presenter, attendee, consumer, collaborator))
    if not roles:
        raise acs.UnfitUsageError("say who: --attendee ID, --presenter ID, …", context)

    async def added(clients: "Clients") -> int:
        await rooms.add(clients, room_id, roles)
        _log("participants add", clients, room_id)
        return len(roles)

    _print_changed("add", room_id, acs.ask(context, added, how), how)


@participants.command(
    "remove",
    epilog="Example: recording-worker acs room participants remove 99001 8:acs:a",
)
def participants_remove(
    context: typer.Context,
    room_id: RoomId,
    who: Annotated[list[str], typer.Argument(metavar="ID...", help="Who may not.")],
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take people out of a room."""
    from worker.acs import identities, rooms

    how = How(resource=resource, dry_run=dry_run, as_json=as_json)
    with acs.usage(context):
        named = identities.raw_ids(who)

    async def removed(clients: "Clients") -> int:
        await rooms.remove(clients, room_id, named)
        _log("participants remove", clients, room_id)
        return len(named)

    _print_changed("remove", room_id, acs.ask(context, removed, how), how)


def _print_changed(what: str, room_id: str, count: int | None, how: How) -> None:
    from worker.cli import printing

    if count is None:
        return
    if how.as_json:
        printing.print_json({"room": room_id, "participants": count, "done": what})
    else:
        printing.print_fields(("room", room_id), ("done", f"{what} {count}"))


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


def _roles(
    context: typer.Context, named: "tuple[list[str] | None, ...]"
) -> dict[str, str]:
    """Who is what, in the order of _ROLES; nobody is two things."""
    from worker.acs import identities
    from worker.acs.wishes import check_participants

    each = [
        (role, who)
        for role, listed in zip(_ROLES, named, strict=True)
        for who in listed or ()
    ]
    with acs.usage(context):
        check_participants(len(each))
        who = identities.raw_ids([text for _, text in each])
    return dict(zip(who, (role for role, _ in each), strict=True))


def _log(what: str, clients: "Clients", room_id: str) -> None:
    acs.log_asked(f"room {what}", resource=clients.resource.name, subject=room_id)


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
