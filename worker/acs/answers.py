"""What ACS answered, as the commands show it: JSON fields of `acs … --json`, additions only."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class TransferState(StrEnum):
    """How a transfer stands, in the words of the calling SDKs."""

    NONE = "None"
    TRANSFERRING = "Transferring"
    TRANSFERRED = "Transferred"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingState:
    """`acs recording …`: `state` is active or inactive, which a pause is too."""

    recording_id: str
    state: str | None
    kind: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """`acs room …`; times as ACS writes them."""

    id: str
    created_at: str
    valid_from: str
    valid_until: str
    pstn_dial_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """One line of `acs room participants list`."""

    id: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """`acs call transfer`: what is known of it."""

    call_connection: str
    state: TransferState
    context: str | None
    moved: tuple[str, ...] = ()
    to_call: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One request that `--dry-run` did not send; no header of it, so no signature."""

    method: str
    url: str = field(repr=False)
    body: Any = field(repr=False)
