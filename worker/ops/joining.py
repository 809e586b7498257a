"""Chunks joined into one playable file: packets are moved in time, and nothing is encoded.

Each chunk begins where all streams of the one before it have ended, so that sound and
picture stay together however many chunks there are.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

from worker.errors import WorkerError
from worker.ops.reading import ArchiveFile

if TYPE_CHECKING:
    # An extra: see `needed`.
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    MediaStream = AudioStream | VideoStream
    MediaPacket = Packet[Any]

_OPTIONS = {
    # A header of 32 bits ends at 4 GiB: https://tech.ebu.ch/docs/tech/tech3306v1_0.pdf
    "wav": {"rf64": "auto"}
}

_INSTALL = "python -m pip install 'recording-worker[export]'"


class ExtraMissingError(WorkerError):
    """What joins files is not part of a plain installation."""

    reason = "extra-missing"


class NotJoinableError(WorkerError):
    """Chunks that don't make up one file; each can be exported by itself."""

    reason = "not-joinable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One chunk to be joined."""

    index: int
    file: ArchiveFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Where in the whole a chunk came to lie, in seconds."""

    index: int
    starts_at: Fraction
    duration: Fraction


def needed() -> None:
    """Raise ExtraMissingError unless files can be joined here."""
    try:
        import av  # noqa: F401 - an extra
    except ImportError:
        raise ExtraMissingError("joining chunks takes PyAV", hint=_INSTALL) from None


def join(parts: Iterable[Part], out: BinaryIO, *, kind: str) -> Sequence[Joined]:
    """Write all parts into one file of the kind (mp4, mp3, wav). Runs in a thread.

    Raises NotJoinableError if parts differ in how they are encoded, or can't be read.
    """
    import av

    joined: list[Joined] = []
    options = _OPTIONS.get(kind, {})
    with av.open(out, "w", format=kind, options=options) as container:
        whole = _Whole(container=container)
        for part in parts:
            with _readable(part):
                joined.append(whole.append(part, kind))
    return joined


@contextmanager
def _readable(part: Part) -> Iterator[None]:
    import av

    try:
        yield
    except av.FFmpegError as error:
        said = error.strerror or type(error).__name__
        raise NotJoinableError(f"chunk {part.index} can't be joined: {said}") from error


@dataclass(slots=True, kw_only=True)
class _Whole:
    """The file as it grows."""

    container: "OutputContainer"
    ends_at: Fraction = Fraction(0)
    first: int = 0
    formats: "list[dict[str, Any]]" = field(default_factory=list)
    streams: "list[MediaStream]" = field(default_factory=list)
    latest: "list[Fraction | None]" = field(default_factory=list)

    def append(self, part: Part, kind: str) -> Joined:
        import av

        starts_at = self.ends_at
        with av.open(part.file, "r", format=kind) as chunk:
            self._agree(part.index, _media(chunk))
            for position, packet in _packets(chunk):
                self._take(position, packet, starts_at)
        duration = self.ends_at - starts_at
        return Joined(index=part.index, starts_at=starts_at, duration=duration)

    def _agree(self, index: int, media: "Sequence[MediaStream]") -> None:
        """The first chunk decides; a decoder is told once what is to come."""
        formats = [_format(stream) for stream in media]
        if not self.streams:
            add = self.container.add_stream_from_template
            self.streams = [add(stream) for stream in media]
            self.latest = [None] * len(media)
            self.formats, self.first = formats, index
        elif formats != self.formats:
            what = _difference(formats, self.formats)
            raise NotJoinableError(
                f"chunk {index} is encoded differently from chunk {self.first}: {what}"
            )

    def _take(self, position: int, packet: "MediaPacket", starts_at: Fraction) -> None:
        base, decoded_at = packet.time_base, packet.dts or 0
        shown_at = decoded_at if packet.pts is None else packet.pts
        ends_at = (shown_at + (packet.duration or 0)) * base
        if starts_at and ends_at <= 0:
            # An encoder's run-up: whatever it says was said by the chunk before.
            return
        self.ends_at = max(self.ends_at, starts_at + ends_at)
        shift = round(starts_at / base)
        # Packets of a stream are decoded one after the other, also across a join.
        latest = self.latest[position]
        earliest = decoded_at + shift if latest is None else int(latest / base) + 1
        packet.dts = max(decoded_at + shift, earliest)
        packet.pts = max(shown_at + shift, packet.dts)
        self.latest[position] = packet.dts * base
        packet.stream = self.streams[position]
        self.container.mux(packet)


def _media(container: "InputContainer") -> "Sequence[MediaStream]":
    return [*container.streams.video, *container.streams.audio]


def _packets(container: "InputContainer") -> "Iterator[tuple[int, MediaPacket]]":
    """Packets in file order, each with the position of its stream in the whole."""
    media = _media(container)
    positions = {stream.index: position for position, stream in enumerate(media)}
    for packet in container.demux(*media):
        # A demuxer ends with an empty packet for each stream.
        if packet.dts is not None:
            yield positions[packet.stream.index], packet


def _format(stream: "MediaStream") -> dict[str, Any]:
    """All that a decoder is told before the first packet."""
    codec: Any = stream.codec_context
    said = {"codec": codec.name, "headers": bytes(codec.extradata or b"").hex()}
    if stream.type == "video":
        return said | {"width": codec.width, "height": codec.height}
    return said | {"sample rate": codec.sample_rate, "channels": codec.channels}


def _difference(
    found: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]
) -> str:
    for one, other in zip(found, wanted, strict=False):
        if said := [
            f"{name} {one.get(name)}, not {value}"
            for name, value in other.items()
            if one.get(name) != value and name != "headers"
        ]:
            return "; ".join(said)
    if len(found) != len(wanted):
        return f"{len(found)} streams, not {len(wanted)}"
    return "other headers of the codec"
