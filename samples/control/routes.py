"""Which path of the control API does what."""

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from samples.control import recordings, replies
from samples.control.recordings import Recording
from samples.control.replies import Json, RefusedError, Reply

if TYPE_CHECKING:
    from samples.control.service import ControlRequest, ControlStandIn

MERGE_PATCH = "application/merge-patch+json"
_OK, _CREATED = HTTPStatus.OK, HTTPStatus.CREATED
_ACCEPTED, _GONE = HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT
_Handler = Callable[["ControlStandIn", "ControlRequest", str], Reply]


def answer(acs: "ControlStandIn", asked: "ControlRequest") -> Reply:
    """Do what is asked. Raises RefusedError."""
    for method, path, handler in _ROUTES:
        found = re.fullmatch(path, asked.path)
        if found and method == asked.method:
            return handler(acs, asked, found[1] if found.groups() else "")
    raise replies.not_found("NotFound", "There is no such path.")


def _start(acs: "ControlStandIn", asked: "ControlRequest", _: str) -> Reply:
    body = replies.read_object(asked.body)
    if "callConnectionId" in body:
        acs.calls.find(str(body["callConnectionId"]))
    room_id = (body.get("callLocator") or {}).get("roomId")
    if room_id:
        acs.rooms.find(str(room_id))
    recording = acs.recordings.start(body)
    _tell_state(acs, recording)
    return recordings.state_reply(recording)


def _state(acs: "ControlStandIn", _: "ControlRequest", recording_id: str) -> Reply:
    return recordings.state_reply(acs.recordings.find(recording_id))


def _stop(acs: "ControlStandIn", _: "ControlRequest", recording_id: str) -> Reply:
    _tell_state(acs, acs.recordings.stop(recording_id))
    return Reply(status=_GONE)


def _pause(acs: "ControlStandIn", _: "ControlRequest", recording_id: str) -> Reply:
    return _set_state(acs, recording_id, "inactive")


def _resume(acs: "ControlStandIn", _: "ControlRequest", recording_id: str) -> Reply:
    return _set_state(acs, recording_id, "active")


def _set_state(acs: "ControlStandIn", recording_id: str, state: str) -> Reply:
    recording = acs.recordings.find(recording_id)
    recording.state = state
    _tell_state(acs, recording)
    return Reply(status=_ACCEPTED)


def _tell_state(acs: "ControlStandIn", recording: Recording) -> None:
    data = {
        "recordingId": recording.id,
        "state": recording.state,
        "serverCallId": (recording.asked.get("callLocator") or {}).get("serverCallId"),
        "callConnectionId": recording.asked.get("callConnectionId"),
        "recordingKind": "azureCommunicationServices",
    }
    acs.callbacks.tell(recording.callback, "RecordingStateChanged", data)


def _call(acs: "ControlStandIn", _: "ControlRequest", call_id: str) -> Reply:
    return acs.calls.properties(call_id)


def _transfer(acs: "ControlStandIn", asked: "ControlRequest", call_id: str) -> Reply:
    body = replies.read_object(asked.body)
    is_accepted = acs.calls.transfer(call_id, body)
    context = body.get("operationContext")
    target = body["targetParticipant"]
    acs.callbacks.tell(
        str(body.get("operationCallbackUri") or ""),
        "CallTransferAccepted" if is_accepted else "CallTransferFailed",
        {
            "callConnectionId": call_id,
            "operationContext": context,
            "resultInformation": _result(target, is_accepted=is_accepted),
        }
        | ({"transferTarget": target} if is_accepted else {}),
    )
    return Reply(status=_ACCEPTED, body={"operationContext": context})


def _result(target: Json, *, is_accepted: bool) -> Json:
    if is_accepted:
        return {"code": 200, "subCode": 0, "message": "Success"}
    # What a service says may name whom it is about.
    message = f"{target['rawId']} declined."
    return {"code": 603, "subCode": 560000, "message": message}


def _move(acs: "ControlStandIn", asked: "ControlRequest", call_id: str) -> Reply:
    return acs.calls.move(call_id, replies.read_object(asked.body))


def _create_room(acs: "ControlStandIn", asked: "ControlRequest", _: str) -> Reply:
    room = acs.rooms.create(replies.read_object(asked.body))
    return Reply(status=_CREATED, body=room.shown())


def _list_rooms(acs: "ControlStandIn", asked: "ControlRequest", _: str) -> Reply:
    return _page(acs, asked, [room.shown() for room in acs.rooms.by_id.values()])


def _get_room(acs: "ControlStandIn", _: "ControlRequest", room_id: str) -> Reply:
    return Reply(status=_OK, body=acs.rooms.find(room_id).shown())


def _patch_room(acs: "ControlStandIn", asked: "ControlRequest", room_id: str) -> Reply:
    return Reply(status=_OK, body=acs.rooms.patch(room_id, _patch(asked)).shown())


def _delete_room(acs: "ControlStandIn", _: "ControlRequest", room_id: str) -> Reply:
    del acs.rooms.by_id[acs.rooms.find(room_id).id]
    return Reply(status=_GONE)


def _list_roles(acs: "ControlStandIn", asked: "ControlRequest", room_id: str) -> Reply:
    roles = acs.rooms.find(room_id).roles
    return _page(
        acs, asked, [{"rawId": who, "role": role} for who, role in roles.items()]
    )


def _patch_roles(acs: "ControlStandIn", asked: "ControlRequest", room_id: str) -> Reply:
    acs.rooms.patch_roles(room_id, _patch(asked))
    return Reply(status=_OK, body={})


def _patch(asked: "ControlRequest") -> Json:
    if asked.headers.get("Content-Type") != MERGE_PATCH:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            f"A patch is {MERGE_PATCH}.",
        )
    return replies.read_object(asked.body)


def _page(
    acs: "ControlStandIn", asked: "ControlRequest", items: Sequence[Any]
) -> Reply:
    skip = int(asked.query.get("skip", "0"))
    end = skip + acs.page_size
    body: Json = {"value": list(items[skip:end])}
    if end < len(items):
        body["nextLink"] = acs.page_url(asked.path, end)
    return Reply(status=_OK, body=body)


_RECORDING = r"/calling/recordings/([^/:]+)"
_CALL = r"/calling/callConnections/([^/:]+)"
_ROOM = r"/rooms/([^/]+)"
_ROUTES: tuple[tuple[str, str, _Handler], ...] = (
    ("POST", r"/calling/recordings", _start),
    ("GET", _RECORDING, _state),
    ("DELETE", _RECORDING, _stop),
    ("POST", rf"{_RECORDING}:pause", _pause),
    ("POST", rf"{_RECORDING}:resume", _resume),
    ("GET", _CALL, _call),
    ("POST", rf"{_CALL}:transferToParticipant", _transfer),
    ("POST", rf"{_CALL}/participants:moveHere", _move),
    ("POST", r"/rooms", _create_room),
    ("GET", r"/rooms", _list_rooms),
    ("GET", _ROOM, _get_room),
    ("PATCH", _ROOM, _patch_room),
    ("DELETE", _ROOM, _delete_room),
    ("GET", rf"{_ROOM}/participants", _list_roles),
    ("PATCH", rf"{_ROOM}/participants", _patch_roles),
)
