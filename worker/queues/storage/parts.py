"""A delivery as the ledger keeps it: parts of some chunks each, written once."""

import base64
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from pydantic import TypeAdapter

from worker import names, stored
from worker.errors import MalformedEventError, NewerFormatError
from worker.model import Chunk, ChunkKey, Delivery, Sibling
from worker.queues import columns, entries, puts
from worker.queues.columns import StoredChunk
from worker.queues.storage.names import PartName, Ref, whole_hour, whole_second
from worker.stored import StoredFormatError
from worker.tracebacks import message_of

MOST_CHUNKS = 64
"""Of one part: whoever receives its message writes four names for each before it rests."""
CACHE_BYTES = 16 * 1024 * 1024
FORMAT_VERSION = 1
_SIBLINGS = TypeAdapter(tuple[Sibling, ...])
_DAMAGE = (ValueError, KeyError, TypeError, IndexError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPart:
    """A part that is to be stored."""

    name: PartName
    data: bytes = field(repr=False)
    keys: frozenset[ChunkKey] = frozenset()
    """Of its chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part as it was read."""

    name: PartName
    chunks: tuple[Chunk, ...]

    def refs(self) -> Iterator[tuple[Ref, Chunk]]:
        for position, chunk in enumerate(self.chunks):
            yield Ref(part=self.name, position=position), chunk


def parts_of(delivery: Delivery, *, now: datetime) -> Sequence[NewPart]:
    """Split a delivery, what expires first in front. Raises MalformedEventError.

    The names depend on the body and on what the chunks say, not on the moment within the
    hour: a delivery that comes twice is known by them.
    """
    try:
        return _parts_of(delivery, now)
    except ValueError as error:
        raise MalformedEventError(f"it can't be stored: {message_of(error)}") from error


def _parts_of(delivery: Delivery, now: datetime) -> Sequence[NewPart]:
    put = puts.prepare(delivery, now=now)
    chunks = sorted(put.chunks, key=lambda chunk: chunk.expires_at)
    said = (text for chunk in put.chunks for text in (chunk.row, columns.saying(chunk)))
    digest = names.digest(put.delivery.sha256, *said)[:32]
    starts = range(0, max(len(chunks), 1), MOST_CHUNKS)
    return [
        _part_of(delivery, digest, number, chunks[start : start + MOST_CHUNKS])
        for number, start in enumerate(starts, start=1)
    ]


def _part_of(
    delivery: Delivery, digest: str, number: int, chunks: Sequence[StoredChunk]
) -> NewPart:
    expiries = [entries.instant(chunk.expires_at) for chunk in chunks]
    name = PartName(
        hour=whole_hour(delivery.received_at),
        digest=digest,
        number=number,
        chunks=len(chunks),
        expires_at=whole_second(min(expiries, default=delivery.received_at)),
    )
    # Chunks of one event share their siblings, of which there may be a thousand.
    decoded: columns.Siblings = {}
    told = [columns.chunk_within(chunk, delivery.body, decoded) for chunk in chunks]
    texts = [
        row.announced or columns.siblings_to_json(chunk.announced)
        for row, chunk in zip(chunks, told, strict=True)
    ]
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    document = {
        "v": FORMAT_VERSION,
        "kind": "delivery",
        "origin": delivery.origin,
        "received_at": delivery.received_at.isoformat(),
        **(_body(delivery.body) if number == 1 else {}),
        "siblings": [json.loads(text) for text in places],
        "chunks": [
            {**_document(chunk), "siblings": places[text]}
            for chunk, text in zip(told, texts, strict=True)
        ],
    }
    keys = frozenset(chunk.key for chunk in told)
    return NewPart(name=name, data=json.dumps(document).encode(), keys=keys)


def _body(body: bytes) -> dict[str, str]:
    """The body as received: readable where it is text."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def _document(chunk: Chunk) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        stored.chunk_to_json(replace(chunk, announced=()))
    )
    return document


def decode_part(name: PartName, data: bytes) -> Part:
    """Read what `parts_of` made. Raises NewerFormatError or StoredFormatError."""
    try:
        document = json.loads(data)
        if document["v"] > FORMAT_VERSION:
            raise NewerFormatError(f"a delivery of format {document['v']}")
        siblings = [_SIBLINGS.validate_python(each) for each in document["siblings"]]
        chunks = tuple(
            replace(
                stored.chunk_from_document(each), announced=siblings[each["siblings"]]
            )
            for each in document["chunks"]
        )
    except _DAMAGE as error:
        raise StoredFormatError(f"not a delivery: {type(error).__name__}") from error
    return Part(name=name, chunks=chunks)


class PartReader(Protocol):
    """Where parts are read from."""

    async def read(self, name: str) -> bytes | None: ...


class Parts:
    """Reads parts, and keeps some: they never change, and chunks of one are asked for in turn."""

    def __init__(self, reader: PartReader, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._reader = reader
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[PartName, tuple[Part, int]] = OrderedDict()
        self._kept_bytes = 0

    async def part(self, name: PartName) -> Part | None:
        """None if there is none. Raises NewerFormatError or StoredFormatError."""
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name][0]
        data = await self._reader.read(name.document)
        if data is None:
            return None
        part = decode_part(name, data)
        self._keep(part, len(data))
        return part

    async def chunk(self, ref: Ref) -> Chunk | None:
        """None if there is no such part. Raises as `part` does."""
        part = await self.part(ref.part)
        if part is None:
            return None
        if ref.position >= len(part.chunks):
            raise StoredFormatError(f"no chunk {ref.position} in {ref.part.document!r}")
        return part.chunks[ref.position]

    def _keep(self, part: Part, size: int) -> None:
        if part.name in self._kept:
            return
        self._kept[part.name] = part, size
        self._kept_bytes += size
        while self._kept_bytes > self._cache_bytes and len(self._kept) > 1:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._kept_bytes -= dropped
