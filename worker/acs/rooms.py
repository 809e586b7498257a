"""Rooms and who may be in them, by the client for Rooms."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from azure.communication.rooms import RoomParticipant, UnknownIdentifier

from worker.acs.answers import Participant, Room
from worker.acs.calls import told
from worker.acs.clients import Clients
from worker.acs.wishes import RoomWish, check_participants, check_window


async def create(clients: Clients, wish: RoomWish, *, now: datetime) -> Room:
    """Make a room. Raises UnfitRequestError before it is asked for what can't be."""
    check_window(wish.valid_from or now, wish.valid_until)
    check_participants(len(wish.roles))
    async with told(clients):
        found = await clients.rooms.create_room(
            valid_from=wish.valid_from,
            valid_until=wish.valid_until,
            pstn_dial_out_enabled=bool(wish.pstn_dial_out),
            participants=_participants(wish.roles) or None,
        )
    return _room_from(found)


async def get(clients: Clients, room_id: str) -> Room:
    async with told(clients):
        return _room_from(await clients.rooms.get_room(room_id))


async def update(clients: Clients, room: Room, wish: RoomWish) -> Room:
    """Change what the wish says of a room that was just read.

    All of it is said: the client sends null for what is left out, and a merge patch takes
    away what is null.
    """
    dials_out = wish.pstn_dial_out
    async with told(clients):
        start = wish.valid_from or datetime.fromisoformat(room.valid_from)
        end = wish.valid_until or datetime.fromisoformat(room.valid_until)
        check_window(start, end)
        found = await clients.rooms.update_room(
            room_id=room.id,
            valid_from=start,
            valid_until=end,
            pstn_dial_out_enabled=room.pstn_dial_out
            if dials_out is None
            else dials_out,
        )
    return _room_from(found)


async def list_rooms(clients: Clients) -> AsyncIterator[Room]:
    """All rooms of the resource, page by page."""
    async with told(clients):
        async for each in clients.rooms.list_rooms():
            yield _room_from(each)


async def delete(clients: Clients, room_id: str) -> None:
    async with told(clients):
        await clients.rooms.delete_room(room_id)


async def participants(clients: Clients, room_id: str) -> AsyncIterator[Participant]:
    """Who may be in a room, page by page."""
    async with told(clients):
        async for each in clients.rooms.list_participants(room_id):
            role = str(getattr(each.role, "value", each.role))
            yield Participant(id=each.communication_identifier.raw_id, role=role)


async def add(clients: Clients, room_id: str, roles: Mapping[str, str]) -> None:
    """Let them in, or give them another role."""
    check_participants(len(roles))
    async with told(clients):
        await clients.rooms.add_or_update_participants(
            room_id=room_id, participants=_participants(roles)
        )


async def remove(clients: Clients, room_id: str, who: Sequence[str]) -> None:
    async with told(clients):
        await clients.rooms.remove_participants(
            room_id=room_id, participants=[UnknownIdentifier(each) for each in who]
        )


def _participants(roles: Mapping[str, str]) -> list[RoomParticipant]:
    """Rooms wants no more of an identity than its raw id."""
    return [
        RoomParticipant(
            communication_identifier=UnknownIdentifier(who),
            role=role.capitalize(),
        )
        for who, role in roles.items()
    ]


def _room_from(found: Any) -> Room:
    """The client hands on times as text, whatever its annotations say."""
    return Room(
        id=str(found.id),
        created_at=_time(found.created_at),
        valid_from=_time(found.valid_from),
        valid_until=_time(found.valid_until),
        pstn_dial_out=bool(found.pstn_dial_out_enabled),
    )


def _time(said: object) -> str:
    return said.isoformat() if isinstance(said, datetime) else str(said)
