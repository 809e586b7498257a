"""`acs room participants …`: who may be in a room, and as what."""

from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import acs
from worker.cli.acs import DryRun, How, Resource
from worker.cli.options import AsJson

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.acs.answers import Participant
    from worker.acs.clients import Clients

app = typer.Typer(help="Who may be in a room.", rich_markup_mode=None)
_ROLES = ("presenter", "attendee", "consumer", "collaborator")
RoomId = Annotated[
    str, typer.Argument(metavar="ROOM", callback=acs.named, help="Its id.")
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


@app.command(
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


@app.command(
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
    roles = roles_of(context, (presenter, attendee, consumer, collaborator))
    if not roles:
        raise acs.UnfitUsageError("say who: --attendee ID, --presenter ID, …", context)

    async def added(clients: "Clients") -> int:
        await rooms.add(clients, room_id, roles)
        log_asked("participants add", clients, room_id)
        return len(roles)

    _print_changed("add", room_id, acs.ask(context, added, how), how)


@app.command(
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
        log_asked("participants remove", clients, room_id)
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


def roles_of(
    context: typer.Context, named: "tuple[list[str] | None, ...]"
) -> dict[str, str]:
    """Who is what, in the order of _ROLES; nobody is two things."""
    from worker.acs import identities
    from worker.acs.wishes import check_guests, check_participants

    each = [
        (role, who)
        for role, listed in zip(_ROLES, named, strict=True)
        for who in listed or ()
    ]
    with acs.usage(context):
        check_participants(len(each))
        who = identities.raw_ids([text for _, text in each])
        check_guests(who)
    return dict(zip(who, (role for role, _ in each), strict=True))


def log_asked(what: str, clients: "Clients", room_id: str) -> None:
    acs.log_asked(f"room {what}", resource=clients.resource.name, subject=room_id)
