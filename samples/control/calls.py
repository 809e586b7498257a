"""Calls that the stand-in's resource is in: who takes part, transfers, moves."""

from dataclasses import dataclass, field
from http import HTTPStatus

from samples.control import replies
from samples.control.replies import Json, Reply, bad_request

CONNECTED = "connected"
TRANSFERRING = "transferring"


@dataclass(slots=True, kw_only=True)
class Call:
    """One call connection; `participants` are raw ids. `ahead`: its states yet to come,
    one each time that somebody asks."""

    id: str
    participants: list[str] = field(default_factory=list)
    state: str = CONNECTED
    ahead: list[str] = field(default_factory=list)


class Calls:
    """All call connections. `declining` are raw ids that take no transfer."""

    def __init__(self) -> None:
        self.by_id: dict[str, Call] = {}
        self.declining: set[str] = set()

    def add(self, call_id: str, *participants: str) -> Call:
        call = Call(id=call_id, participants=list(participants))
        self.by_id[call_id] = call
        return call

    def find(self, call_id: str) -> Call:
        """Raises RefusedError if there is no such call."""
        if call_id not in self.by_id:
            raise replies.not_found(replies.CALL_NOT_FOUND, "Call not found.")
        return self.by_id[call_id]

    def properties(self, call_id: str) -> Reply:
        """How it stands; time goes by from one look to the next."""
        call = self.find(call_id)
        shown = call.state
        if call.ahead:
            call.state = call.ahead.pop(0)
        return Reply(
            status=HTTPStatus.OK,
            body={
                "callConnectionId": call.id,
                "callConnectionState": shown,
                "targets": [{"rawId": each} for each in call.participants],
            },
        )

    def transfer(self, call_id: str, body: Json) -> bool:
        """Begin a transfer; returns whether it will be accepted. Raises RefusedError."""
        call = self.find(call_id)
        if call.state != CONNECTED:
            raise replies.RefusedError(
                HTTPStatus.CONFLICT,
                replies.NOT_ESTABLISHED,
                "Action is invalid when call is not in Established state.",
            )
        target = _raw_id(body.get("targetParticipant"))
        is_accepted = target not in self.declining
        call.state = TRANSFERRING
        call.ahead = ["transferAccepted" if is_accepted else CONNECTED]
        return is_accepted

    def move(self, call_id: str, body: Json) -> Reply:
        """Take participants over from another call. Raises RefusedError."""
        here, there = self.find(call_id), self.find(str(body.get("fromCall")))
        wanted = [_raw_id(each) for each in body.get("targetParticipants") or []]
        if not wanted or not set(wanted) <= set(there.participants):
            raise bad_request(
                "The participants are not all in the call they come from."
            )
        there.participants = [p for p in there.participants if p not in wanted]
        here.participants += wanted
        return Reply(
            status=HTTPStatus.ACCEPTED,
            body={
                "participants": [{"identifier": {"rawId": each}} for each in wanted],
                "fromCall": there.id,
                "operationContext": body.get("operationContext"),
            },
        )


def _raw_id(said: object) -> str:
    if not isinstance(said, dict) or not isinstance(said.get("rawId"), str):
        raise bad_request("A participant has no rawId.")
    return str(said["rawId"])
