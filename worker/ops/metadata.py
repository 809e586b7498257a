"""What a chunk's acsmetadata tells of a call: who took part, and when recording paused.

The shape of the file is in
https://learn.microsoft.com/azure/communication-services/concepts/voice-video-calling/call-recording
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """For how long nothing was recorded; part of `recordings show --json`."""

    started_at: datetime | None
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one metadata document says; empty where it doesn't, or can't be read."""

    participants: tuple[str, ...] = ()
    pauses: tuple[Pause, ...] = ()

    def is_with(self, participant: str) -> bool:
        """Whether somebody took part: by the raw id, or by what follows its kind.

        `8:acs:RESOURCE_USER`, `4:+4930123456`, `8:orgid:USER`; never by a part of these.
        """
        wanted = participant.casefold()
        return any(
            wanted in {known, known.rpartition(":")[2]}
            for known in map(str.casefold, self.participants)
        )


def told_by(data: bytes) -> Told:
    """Read a metadata document, tolerantly."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return Told()
    if not isinstance(document, dict):
        return Told()
    people = _objects(document.get("participants"))
    ids = (person.get("participantId") for person in people)
    pauses = map(_pause, _objects(document.get("pauseResumeIntervals")))
    return Told(
        participants=tuple(each for each in ids if isinstance(each, str) and each),
        pauses=tuple(pause for pause in pauses if pause),
    )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    listed = value if isinstance(value, list) else []
    return (each for each in listed if isinstance(each, dict))


def _pause(interval: dict[str, Any]) -> Pause | None:
    duration = interval.get("duration")
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        return None
    return Pause(started_at=_time(interval.get("startTime")), duration_ms=duration)


def _time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None
