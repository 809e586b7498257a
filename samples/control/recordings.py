"""Recordings of the stand-in: started, paused, resumed, stopped; what may go together.

https://learn.microsoft.com/azure/communication-services/concepts/voice-video-calling/call-recording
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from http import HTTPStatus

from samples.control import replies
from samples.control.replies import Json, Reply, bad_request

MOST_CHANNELS = 5
_FORMATS = {
    ("mixed", "audiovideo"): {"mp4"},
    ("mixed", "audio"): {"mp3", "wav"},
    ("unmixed", "audio"): {"wav"},
}
_LOCATORS = {
    "serverCallLocator": "serverCallId",
    "groupCallLocator": "groupCallId",
    "roomCallLocator": "roomId",
}


@dataclass(slots=True, kw_only=True)
class Recording:
    """One recording; `asked` is the body that started it."""

    id: str
    state: str
    asked: Json

    @property
    def callback(self) -> str:
        return str(self.asked.get("recordingStateCallbackUri") or "")


@dataclass(slots=True)
class Recordings:
    """All recordings that go on."""

    going_on: dict[str, Recording] = field(default_factory=dict)
    started: int = 0

    def start(self, body: Json) -> Recording:
        """Start one. Raises RefusedError for what can't be recorded."""
        _check_call(body)
        _check_shape(body)
        self.started += 1
        recording = Recording(
            id=_id_of(self.started),
            state="inactive" if body.get("pauseOnStart") else "active",
            asked=body,
        )
        self.going_on[recording.id] = recording
        return recording

    def find(self, recording_id: str) -> Recording:
        """Raises RefusedError if there is none, or no more."""
        found = self.going_on.get(recording_id)
        if found is None:
            raise replies.not_found(replies.CALL_NOT_FOUND, "Recording not found.")
        return found

    def stop(self, recording_id: str) -> Recording:
        """End it; nobody can ask for its state from then on."""
        found = self.find(recording_id)
        del self.going_on[recording_id]
        found.state = "inactive"
        return found


def state_reply(recording: Recording) -> Reply:
    return Reply(
        status=HTTPStatus.OK,
        body={
            "recordingId": recording.id,
            "recordingState": recording.state,
            "recordingKind": "azureCommunicationServices",
        },
    )


def _id_of(number: int) -> str:
    said = {"PlatformEndpointId": f"{number:08}", "ResourceSpecificId": "stand-in"}
    return base64.b64encode(json.dumps(said).encode()).decode()


def _check_call(body: Json) -> None:
    locator = body.get("callLocator")
    connection = body.get("callConnectionId")
    if (locator is None) == (connection is None):
        raise bad_request("Exactly one of callLocator and callConnectionId is needed.")
    if locator is None:
        return
    name = _LOCATORS.get(str(locator.get("kind")), "")
    said = str(locator.get(name) or "")
    if not said:
        raise bad_request("The call locator names no call.")
    if name == "serverCallId" and not _is_server_call(said):
        # Seen: whoever passes the callId of the client SDK is refused.
        # https://github.com/Azure-Samples/communication-services-javascript-quickstarts/issues/203
        raise bad_request("Invalid serverCallId.")


def _is_server_call(text: str) -> bool:
    try:
        return base64.urlsafe_b64decode(text + "==").startswith(b"http")
    except (binascii.Error, ValueError):
        return False


def _check_shape(body: Json) -> None:
    channel = str(body.get("recordingChannelType") or "mixed").casefold()
    content = str(body.get("recordingContentType") or "audioVideo").casefold()
    kind = str(body.get("recordingFormatType") or "mp4").casefold()
    if kind not in _FORMATS.get((channel, content), set()):
        raise bad_request(f"{kind} is not supported for {channel} {content}.")
    placed = body.get("channelAffinity") or []
    ordered = body.get("audioChannelParticipantOrdering") or []
    if (placed or ordered) and channel != "unmixed":
        raise bad_request("Channels are for unmixed recordings only.")
    if len(placed) > MOST_CHANNELS or len(ordered) > MOST_CHANNELS:
        raise bad_request(f"There are {MOST_CHANNELS} channels at most.")
