"""What an operator may ask of ACS, and what it will not do: said before it is asked. Pure.

https://learn.microsoft.com/azure/communication-services/concepts/voice-video-calling/call-recording
https://learn.microsoft.com/azure/communication-services/concepts/service-limits
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from worker.acs.trouble import UnfitRequestError

Content = Literal["audio", "audio-video"]
Channel = Literal["mixed", "unmixed"]
Format = Literal["wav", "mp3", "mp4"]
MOST_CHANNELS = 5
LONGEST_WINDOW = timedelta(days=180)
MOST_PARTICIPANTS = 350
_ODD = re.compile(r"[^!-~]")
"""What no URL has in it, and urlsplit passes over."""
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which call is meant, in one of four ways."""

    server_call: str | None = None
    group_call: str | None = None
    room: str | None = None
    call_connection: str | None = None

    def __post_init__(self) -> None:
        if sum(1 for each in self.named if each) != 1:
            raise UnfitRequestError(
                "say which call by exactly one of --server-call, --group-call, --room"
                " and --call-connection"
            )
        if self.server_call and not _is_encoded(self.server_call):
            raise UnfitRequestError(
                "not a serverCallId, which is a URL in base64 and begins with aHR0c:"
                " a callId is another id"
            )

    @property
    def named(self) -> tuple[str | None, ...]:
        return (self.server_call, self.group_call, self.room, self.call_connection)


def _is_encoded(text: str) -> bool:
    """Whether it is text in base64, in either alphabet, padded or not; no more is promised.

    A callId in its place is a common mistake, which ACS answers with a 400 or a 404:
    https://github.com/Azure-Samples/communication-services-javascript-quickstarts/issues/203
    """
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        return decoded.decode("ascii").isprintable()
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the recording will be; what is left out follows from what is said."""

    content: Content
    channel: Channel
    format: Format

    @classmethod
    def of(
        cls, content: Content | None, channel: Channel | None, kind: Format | None
    ) -> "Shape":
        """Fill in what is None. Raises UnfitRequestError for what can't go together."""
        channel = channel or "mixed"
        is_heard = channel == "unmixed" or kind in {"wav", "mp3"}
        content = content or ("audio" if is_heard else "audio-video")
        kind = kind or _usual_format(content, channel)
        why = _why_not(content, channel, kind)
        if why:
            raise UnfitRequestError(why)
        return cls(content=content, channel=channel, format=kind)


def _usual_format(content: Content, channel: Channel) -> Format:
    if channel == "unmixed":
        return "wav"
    return "mp4" if content == "audio-video" else "mp3"


def _why_not(content: Content, channel: Channel, kind: Format) -> str | None:
    if channel == "unmixed" and kind != "wav":
        return f"unmixed recordings are wav: {kind} is for --channel mixed"
    if channel == "unmixed" and content != "audio":
        return "unmixed recordings have no video: take --content audio"
    if content == "audio-video" and kind != "mp4":
        return f"{kind} has no video: take --content audio, or --format mp4"
    if content == "audio" and kind == "mp4":
        return "mp4 is for audio-video: take --format mp3 or wav for audio"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWish:
    """A recording to be started. `order`: who is on channel 0, 1, …; `affinity` by channel."""

    which: Which
    shape: Shape
    callback: str | None = field(default=None, repr=False)
    container: str | None = None
    is_paused: bool = False
    order: tuple[str, ...] = field(default=(), repr=False)
    affinity: Mapping[int, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_callback(self.callback)
        _check_container(self.container)
        if not self.order and not self.affinity:
            return
        if self.shape.channel == "mixed":
            raise UnfitRequestError(
                "a mixed recording has one channel: --channel-order and --affinity are"
                " for --channel unmixed"
            )
        beyond = [channel for channel in self.affinity if channel >= MOST_CHANNELS]
        if len(self.order) > MOST_CHANNELS or beyond:
            raise UnfitRequestError(
                f"an unmixed recording has {MOST_CHANNELS} channels, 0 to"
                f" {MOST_CHANNELS - 1}"
            )


def check_callback(url: str | None) -> None:
    """Call Automation calls back over https alone; a stand-in may be on this machine."""
    if url is not None and not _is_secure(url):
        raise UnfitRequestError("a callback is an https URL")


def _check_container(url: str | None) -> None:
    if url is None:
        return
    if not _is_secure(url) or not urlsplit(url).path.strip("/"):
        raise UnfitRequestError("--container is the https URL of a container")
    if urlsplit(url).query or urlsplit(url).fragment:
        raise UnfitRequestError(
            "--container takes no signature: ACS writes there by its managed identity"
        )


def _is_secure(url: str) -> bool:
    """Whether it is a whole https URL, without a password for others to see."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_odd = _ODD.search(url) or "@" in parts.netloc or port == 0
    is_here = parts.scheme == "http" and parts.hostname in _LOOPBACK
    is_safe = parts.scheme == "https" or is_here
    return bool(parts.hostname) and is_safe and not is_odd


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomWish:
    """A room as it should be; None: as the service has it. `roles` by raw id."""

    valid_from: datetime | None = None
    valid_until: datetime | None = None
    pstn_dial_out: bool | None = None
    roles: Mapping[str, str] = field(default_factory=dict, repr=False)


def check_window(start: datetime, end: datetime | None) -> None:
    """A room is open for 180 days at most."""
    if end is None:
        return
    if end <= start:
        raise UnfitRequestError(
            "a room must end after it begins: see --from and --until"
        )
    if end - start > LONGEST_WINDOW:
        days = (end - start) / timedelta(days=1)
        raise UnfitRequestError(
            f"a room is open for {LONGEST_WINDOW.days} days at most, not for {days:.5g}"
        )


def check_participants(count: int) -> None:
    """A call takes no more."""
    if count > MOST_PARTICIPANTS:
        raise UnfitRequestError(
            f"a room takes {MOST_PARTICIPANTS} participants at most, not {count}"
        )


def check_guests(raw_ids: Iterable[str]) -> None:
    """Who is called by phone is in no room's list, and has no role.

    https://learn.microsoft.com/azure/communication-services/concepts/rooms/room-concept
    """
    if any(each.startswith("4:") for each in raw_ids):
        raise UnfitRequestError(
            "a phone is in no room's list: it is called from the room, with --pstn-dial-out"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferWish:
    """Who shall be handed over to whom, within a call that the resource is in."""

    call_connection: str
    target: str = field(repr=False)
    transferee: str | None = field(default=None, repr=False)
    caller_id: str | None = field(default=None, repr=False)
    sip_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    voip_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    callback: str | None = field(default=None, repr=False)
    context: str | None = None

    def __post_init__(self) -> None:
        check_callback(self.callback)
        if self.transferee is not None and self.transferee == self.target:
            raise UnfitRequestError("nobody can be transferred to themselves")


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveWish:
    """Who shall leave one call of the resource for another one of it."""

    from_call: str
    to_call: str
    participants: tuple[str, ...] = field(repr=False)
    callback: str | None = field(default=None, repr=False)
    context: str | None = None

    def __post_init__(self) -> None:
        check_callback(self.callback)
        if not self.participants:
            raise UnfitRequestError("say who moves: --participant ID")
        if self.from_call == self.to_call:
            raise UnfitRequestError("that is the call they are in already")
