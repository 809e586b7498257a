"""Rooms of the stand-in: windows, participants, merge patches.

https://learn.microsoft.com/rest/api/communication/rooms
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from samples.control import replies
from samples.control.replies import Json, bad_request

LONGEST = timedelta(days=180)
MOST_PARTICIPANTS = 350
_ROLES = {"presenter", "attendee", "consumer", "collaborator"}
_FIRST_ID = 99_000_000_000_000_000


@dataclass(slots=True, kw_only=True)
class Room:
    """One room; `roles` by raw id."""

    id: str
    created_at: datetime
    valid_from: datetime
    valid_until: datetime
    dials_out: bool = False
    roles: dict[str, str] = field(default_factory=dict)

    def shown(self) -> Json:
        return {
            "id": self.id,
            "createdAt": _shown(self.created_at),
            "validFrom": _shown(self.valid_from),
            "validUntil": _shown(self.valid_until),
            "pstnDialOutEnabled": self.dials_out,
        }


class Rooms:
    """All rooms, in the order in which they were made."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.by_id: dict[str, Room] = {}
        self._now = now
        self._made = 0

    def create(self, body: Json) -> Room:
        """Make one. Raises RefusedError."""
        now = self._now()
        start = _time(body.get("validFrom")) or now
        room = Room(
            id=str(_FIRST_ID + self._made),
            created_at=now,
            valid_from=start,
            valid_until=_time(body.get("validUntil")) or start + LONGEST,
            dials_out=bool(body.get("pstnDialOutEnabled")),
        )
        _check_window(room.valid_from, room.valid_until)
        _patch_roles(room, body.get("participants") or {})
        self._made += 1
        self.by_id[room.id] = room
        return room

    def find(self, room_id: str) -> Room:
        """Raises RefusedError if there is none."""
        if room_id not in self.by_id:
            raise replies.not_found("NotFound", f"Room {room_id} does not exist.")
        return self.by_id[room_id]

    def patch(self, room_id: str, body: Json) -> Room:
        """Change what the patch names. The official client says null for all that it leaves."""
        room = self.find(room_id)
        start = _time(body.get("validFrom")) or room.valid_from
        end = _time(body.get("validUntil")) or room.valid_until
        _check_window(start, end)
        room.valid_from, room.valid_until = start, end
        if body.get("pstnDialOutEnabled") is not None:
            room.dials_out = bool(body["pstnDialOutEnabled"])
        return room

    def patch_roles(self, room_id: str, body: Json) -> None:
        """Take in, change, and put out (null) those that the patch names."""
        room = self.find(room_id)
        named = body.get("participants")
        if not isinstance(named, dict) or not named:
            raise bad_request("participants is missing.")
        _patch_roles(room, named)


def _patch_roles(room: Room, named: dict[str, Any]) -> None:
    roles = dict(room.roles)
    for raw_id, said in named.items():
        if said is None:
            roles.pop(raw_id, None)
            continue
        if raw_id.startswith("4:"):
            raise bad_request("A phone is no participant of a room.")
        role = str((said or {}).get("role") or "Attendee")
        if role.casefold() not in _ROLES:
            raise bad_request(f"{role} is not a role.")
        roles[raw_id] = role.capitalize()
    if len(roles) > MOST_PARTICIPANTS:
        raise bad_request(f"A room has {MOST_PARTICIPANTS} participants at most.")
    room.roles = roles


def _check_window(start: datetime, end: datetime) -> None:
    if not start < end <= start + LONGEST:
        raise bad_request("validUntil must be within 180 days after validFrom.")


def _time(said: object) -> datetime | None:
    if said is None:
        return None
    try:
        return datetime.fromisoformat(str(said)).astimezone(UTC)
    except ValueError:
        raise bad_request("A time is not RFC 3339.") from None


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
