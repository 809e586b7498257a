"""What Call Automation calls back about: said in the log, and counted.

A callback carries no location of a file, so none is kept: what is lost is a line. Who took
part is in some of them, and in none of the lines.
https://learn.microsoft.com/azure/communication-services/concepts/call-automation/call-automation
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from handlers import envelope
from handlers.auth import Auth
from handlers.envelope import Event, MalformedEvent
from handlers.receiver import Received, ReceivedKind
from handlers.refusals import RefusedError
from handlers.statuses import Refusal
from worker.acs.answers import TransferState
from worker.errors import MalformedEventError
from worker.telemetry import meters
from worker.telemetry.instruments import CALLBACKS

PREFIX = "Microsoft.Communication."
OTHER = "other"
_SHOWABLE = re.compile(r"[\w=+/.:-]{1,512}", re.ASCII)
_Fields = dict[str, object]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class CallbackReceiver:
    """Satisfies webhook.DeliveryReceiver. `counts` by type, or `other`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    async def receive(
        self,
        body: bytes,
        *,
        origin: str,  # noqa: ARG002 - the protocol's
        delivery_count: int | None = None,  # noqa: ARG002 - the same
        event_header: str = "",  # noqa: ARG002 - the same
        traceparent: str = "",  # noqa: ARG002 - the same
    ) -> Received:
        """Tell all that is in it. Raises RefusedError if nothing can be told apart."""
        try:
            events = envelope.parse(body)
        except MalformedEventError as error:
            raise RefusedError(Refusal.BAD_CALLBACK) from error
        told = sum(self._tell(event) for event in events)
        return Received(
            kind=ReceivedKind.ACCEPTED if told else ReceivedKind.IGNORED,
            events=len(events),
            ignored=len(events) - told,
        )

    def _tell(self, event: Event | MalformedEvent) -> bool:
        kind = "" if isinstance(event, MalformedEvent) else event.type
        name = kind.removeprefix(PREFIX)
        found = _KINDS.get(name)
        known = name if found else OTHER
        self.counts[known] += 1
        meters.add(CALLBACKS, type=known)
        if found is None or isinstance(event, MalformedEvent):
            return False
        fields = _ids(event.data) | _result(event.data)
        write = getattr(log, found.level)
        write("callback.received", type=name, state=found.state(event.data), **fields)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRoute:
    """What the endpoint needs to take callbacks, and from whom."""

    receiver: CallbackReceiver
    auth: Auth


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """How one type is told. A recording that didn't start is for a human to see."""

    level: str
    state: Callable[[Mapping[str, object]], str | None]


_KINDS: Mapping[str, _Kind] = {
    "RecordingStateChanged": _Kind(
        level="info", state=lambda data: _shown(data.get("state"))
    ),
    "StartRecordingFailed": _Kind(level="error", state=lambda _: None),
    "CallTransferAccepted": _Kind(
        level="info", state=lambda _: TransferState.TRANSFERRED.value
    ),
    "CallTransferFailed": _Kind(
        level="warning", state=lambda _: TransferState.FAILED.value
    ),
}
TOLD = tuple(_KINDS)


def _ids(data: Mapping[str, object]) -> _Fields:
    """Of which recording and call; not the serverCallId, which is the URL of a conversation."""
    names = {
        "recording_id": "recordingId",
        "call_connection_id": "callConnectionId",
        "correlation_id": "correlationId",
    }
    found = {name: _shown(data.get(said)) for name, said in names.items()}
    return {name: text for name, text in found.items() if text is not None}


def _result(data: Mapping[str, object]) -> _Fields:
    """Codes alone: the message may say whom it is about."""
    said = data.get("resultInformation")
    if not isinstance(said, Mapping):
        return {}
    codes = {"code": said.get("code"), "sub_code": said.get("subCode")}
    return {name: code for name, code in codes.items() if type(code) is int}


def _shown(said: object) -> str | None:
    return said if isinstance(said, str) and _SHOWABLE.fullmatch(said) else None
