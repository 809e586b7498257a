"""Inputs that have the structure of good ones: changed seeds, and what is built from nothing."""

import json
import struct
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests import media
from tests.fuzz import mutations, table
from tests.fuzz.target import Target
from tests.fuzz.targets import documents
from tests.unit.handlers.bodies import RECORDING_TYPE, VALIDATION_TYPE

MOST_CHANGES = 6
NUMBERS = st.integers() | st.floats() | st.integers(min_value=2**60, max_value=10**400)
TEXTS = st.text() | st.sampled_from(mutations.ODD_TEXTS)
EVENT_NAMES = (
    *("id", "type", "subject", "source", "time", "data", "data_base64", "specversion"),
    *("eventType", "topic", "eventTime", "event", "deadLetterProperties"),
)
DATA_NAMES = (
    *("recordingStorageInfo", "recordingChunks", "recordingStartTime", "recordingId"),
    *("documentId", "index", "endReason", "contentLocation", "metadataLocation"),
    *("deleteLocation", "storageType", "recordingDurationMs", "validationCode"),
)
METADATA_NAMES = (
    *("chunkDocumentId", "chunkStartTime", "chunkDuration", "pauseResumeIntervals"),
    *("duration", "recordingInfo", "audioConfiguration", "channels"),
)
HEADERS = (
    *("Content-Range", "Content-Length", "Content-Type", "Content-Encoding", "Date"),
    *("Last-Modified", "Retry-After", "retry-after-ms", "x-ms-retry-after-ms", "ETag"),
)
BOXES = (
    b"ftyp",
    b"moov",
    b"mvhd",
    b"trak",
    b"mdia",
    b"minf",
    b"stbl",
    b"stco",
    b"co64",
)


def any_json(names: tuple[str, ...]) -> SearchStrategy[Any]:
    """JSON in which the names that mean something stand where they mean nothing, too."""
    leaves = st.none() | st.booleans() | NUMBERS | TEXTS
    keys = st.sampled_from(names) | st.text(max_size=3)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6)
        ),
        max_leaves=25,
    )


def as_bytes(document: Any) -> bytes:
    return json.dumps(document).encode()


@st.composite
def events(draw: DrawFn) -> bytes:
    """Deliveries of events whose type is known, and whose data may be anything."""
    kinds = st.sampled_from(
        [RECORDING_TYPE, RECORDING_TYPE.upper(), VALIDATION_TYPE, "x"]
    )
    names = st.sampled_from(["type", "eventType"])
    bare = st.dictionaries(
        st.sampled_from(EVENT_NAMES), any_json(DATA_NAMES), max_size=6
    )
    listed = draw(st.lists(bare, max_size=3))
    return as_bytes([event | {draw(names): draw(kinds)} for event in listed])


@st.composite
def boxes(draw: DrawFn, depth: int = 4) -> bytes:
    """Boxes within boxes, whose lengths are mostly right."""
    kind = draw(st.sampled_from([*BOXES, b"mdat", b"moof", b"mvex", b"free"]))
    payload = draw(st.binary(max_size=40))
    if depth and draw(st.booleans()):
        payload = b"".join(draw(st.lists(boxes(depth - 1), max_size=4)))
    whole = media.box(kind, payload, large=draw(st.booleans()))
    wrong = draw(st.integers(min_value=0, max_value=30))
    return (
        whole[:wrong] + draw(st.binary(max_size=2)) + whole[wrong:]
        if wrong < 8
        else whole
    )


def chunk_of_wav(kind: bytes, body: bytes, *, more: int) -> bytes:
    length = max(0, len(body) + more)
    return kind + struct.pack("<I", length) + body + bytes(len(body) % 2)


@st.composite
def wavs(draw: DrawFn) -> bytes:
    """RIFF, RF64 or BW64 with chunks of known kinds, whose lengths are mostly right."""
    kinds = st.sampled_from([b"fmt ", b"data", b"ds64", b"LIST"])
    frames = struct.pack("<HHIIHH", 1, 2, 16_000, 64_000, 4, 16)
    bodies = st.just(frames) | st.binary(max_size=60)
    wrong = st.sampled_from([0, 0, 0, 0, 1, -1, 2**31])
    chunks = draw(st.lists(st.tuples(kinds, bodies, wrong), max_size=5))
    body = b"WAVE" + b"".join(
        chunk_of_wav(kind, data, more=more) for kind, data, more in chunks
    )
    form = draw(st.sampled_from([b"RIFF", b"RF64", b"BW64"]))
    return form + struct.pack("<I", len(body) + draw(wrong) & 0xFFFFFFFF) + body


@st.composite
def mp3s(draw: DrawFn) -> bytes:
    """Headers of frames, now and then the right bytes apart, between tags."""
    tags = [
        b"",
        b"ID3\4\0\0\0\0\0\4abcd",
        b"ID3\4\0\x10\x7f\x7f\x7f\x7f",
        b"TAG" + bytes(125),
    ]
    frame = b"\xff\xfb\x54\xc0" + bytes(140)
    frames = st.lists(st.sampled_from([frame, frame[:-1], frame + b"\0"]), max_size=8)
    ape = b"APETAGEX" + struct.pack(
        "<IIII", 2000, draw(st.integers(0, 2**32 - 1)), 0, 0
    )
    ends = st.sampled_from([b"", tags[3], ape + bytes(8), ape + bytes(8) + tags[3]])
    return draw(st.sampled_from(tags)) + b"".join(draw(frames)) + draw(ends)


def sized(data: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """With the last byte, which says how much more there is."""
    return st.tuples(data, st.integers(0, 7)).map(
        lambda pair: pair[0] + bytes([pair[1]])
    )


@st.composite
def locations(draw: DrawFn) -> bytes:
    """URLs put together of what is right and what is nearly so."""
    hosts = (
        "a.asm.skype.com",
        "exact.example.com",
        "127.0.0.1:8080",
        "[::1]:8443",
        "evil",
    )
    odd = (
        "",
        "@",
        ".",
        ":443",
        "%2e",
        "\\",
        "/",
        "?",
        "#",
        "//",
        "..",
        " ",
        "é",
        "xn--a",
    )
    parts = st.sampled_from([*hosts, *odd, "https://", "/v1/objects/d/content/video"])
    starts = st.sampled_from(["https://", "http://", "HTTPS://", "//", "/", ""])
    lines = [
        draw(starts) + "".join(draw(st.lists(parts, max_size=6))) for _ in range(2)
    ]
    return "\n".join(lines).encode()


@st.composite
def answers(draw: DrawFn) -> bytes:
    """Heads of answers about ranges, in which one number or the other is wrong."""
    small = st.integers(min_value=0, max_value=200) | st.sampled_from([10**18, 10**19])
    status = draw(st.sampled_from([200, 206, 206, 206, 404, 416, 503]))
    told = f"bytes {draw(small)}-{draw(small)}/{draw(small)}"
    values = st.sampled_from([told, str(draw(small)), "video/mp4", "text/html"]) | TEXTS
    lines = [
        f"{status} {draw(small)} {draw(small)} {draw(small)}",
        f"Content-Range: {told}",
    ]
    others = draw(st.lists(st.tuples(st.sampled_from(HEADERS), values), max_size=4))
    lines += [f"{name}: {value}" for name, value in others]
    return "\n".join(lines).encode(errors="surrogatepass")


def of_kinds(kinds: Mapping[str, object]) -> SearchStrategy[bytes]:
    names = (
        "v",
        "kind",
        "key",
        "index",
        "event",
        "content",
        "chunk",
        "part",
        "row",
        "ref",
    )
    kind = st.sampled_from(sorted(kinds)).map(str.encode)
    document = st.dictionaries(st.sampled_from(names), any_json(names)).map(
        lambda told: as_bytes({"v": 1, **told})
    )
    return st.tuples(kind, document).map(b"\n".join)


BUILT: Mapping[str, Callable[[], SearchStrategy[bytes]]] = {
    "body": lambda: events() | any_json(EVENT_NAMES).map(as_bytes),
    "inbox": events,
    "metadata": lambda: any_json(METADATA_NAMES).map(as_bytes),
    "document": lambda: of_kinds(documents.KINDS),
    "location": locations,
    "answer": answers,
    "mp4": lambda: sized(st.lists(boxes(), max_size=5).map(b"".join)),
    "wav": lambda: sized(wavs()),
    "mp3": lambda: sized(mp3s()),
}
"""By target, where changes of the seeds are not all that is worth trying."""


def inputs(target: Target) -> SearchStrategy[bytes]:
    """Inputs for a target, of every origin."""
    found = _changed(target) | st.binary(max_size=400)
    built = BUILT.get(target.name)
    return found if built is None else built() | found


def _changed(target: Target) -> SearchStrategy[bytes]:
    def changed(data: bytes, count: int, random: Random) -> bytes:
        for _ in range(count):
            data = target.mutate(data, random)
        return data

    return st.builds(
        changed,
        st.sampled_from(table.inputs_of(target)),
        st.integers(min_value=1, max_value=MOST_CHANGES),
        st.randoms(use_true_random=False),
    )
