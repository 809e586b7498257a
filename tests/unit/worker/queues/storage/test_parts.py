"""A delivery as the ledger keeps it."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.factories import a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.clock import START
from worker.errors import MalformedEventError, NewerFormatError
from worker.model import Chunk, Delivery, Sibling
from worker.queues import columns
from worker.queues.storage.names import PartName, Ref
from worker.queues.storage.parts import NewPart, Part, Parts, decode_part, parts_of
from worker.stored import StoredFormatError

HOUR = timedelta(hours=1)


def stored(delivery: Delivery) -> list[NewPart]:
    return list(parts_of(delivery, now=START))


def read(part: NewPart) -> Part:
    return decode_part(part.name, part.data)


def many(count: int) -> list[Chunk]:
    return [
        a_chunk(
            document_id=f"d{n}",
            announcement=an_announcement(recording_id=f"r{n}"),
            expires_at=START + timedelta(hours=20, seconds=-n),
        )
        for n in range(count)
    ]


def test_delivery_is_read_as_it_came() -> None:
    """Chunk by chunk, siblings and all."""
    chunks = some_chunks(3)

    (part,) = stored(a_delivery(*chunks, body="é".encode()))

    assert read(part).chunks == chunks
    document = json.loads(part.data)
    assert (document["v"], document["kind"], document["body"]) == (1, "delivery", "é")
    assert (document["origin"], len(document["siblings"])) == ("webhook", 1)
    assert (part.name.chunks, part.name.number) == (3, 1)
    assert [str(ref)[-2:] for ref, _ in read(part).refs()] == ["00", "01", "02"]


def test_delivery_is_split_by_deadline() -> None:
    """What expires first is in front, and each part says when its first one does."""
    chunks = many(130)

    parts = stored(a_delivery(*chunks))

    assert [part.name.chunks for part in parts] == [64, 64, 2]
    assert [part.name.number for part in parts] == [1, 2, 3]
    found = [chunk for part in parts for chunk in read(part).chunks]
    assert found == sorted(chunks, key=lambda chunk: chunk.expires_at)
    assert [part.name.expires_at for part in parts] == [
        read(part).chunks[0].expires_at for part in parts
    ]
    assert ["body" in json.loads(part.data) for part in parts] == [True, False, False]


def test_siblings_are_stored_once_for_an_event() -> None:
    """A thousand chunks have a thousand siblings each."""
    (part, *_) = stored(a_delivery(*some_chunks(64)))

    assert len(json.loads(part.data)["siblings"]) == 1
    assert len({id(chunk.announced) for chunk in read(part).chunks}) == 1


def test_siblings_are_decoded_once_for_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand times a thousand would hold up the loop, and every other delivery."""
    adapter, decoded = columns._SIBLINGS, []

    class Counting:
        dump_json = adapter.dump_json

        @staticmethod
        def validate_json(text: str) -> tuple[Sibling, ...]:
            decoded.append(text)
            return adapter.validate_json(text)

    monkeypatch.setattr(columns, "_SIBLINGS", Counting)

    assert len(stored(a_delivery(*some_chunks(128)))) == 2
    assert len(decoded) == 2


def test_same_delivery_has_the_same_names() -> None:
    """Delivered again within the hour it is known; what says more is another."""
    chunk = a_chunk()
    (first,) = stored(a_delivery(chunk))
    later = START + timedelta(minutes=59)
    again = a_delivery(replace(chunk, received_at=later), received_at=later)
    says_more = a_delivery(replace(chunk, end_reason=None), body=a_delivery(chunk).body)

    assert stored(again)[0].name == first.name
    assert stored(says_more)[0].name.digest != first.name.digest
    assert stored(a_delivery(chunk, body=b"x"))[0].name.digest != first.name.digest


def test_delivery_without_chunks_is_kept() -> None:
    """Its body, for whoever asks what came."""
    (part,) = stored(a_delivery(body=b"[]"))

    assert part.name.chunks == 0
    assert read(part).chunks == ()


def test_chunk_that_no_file_can_hold_is_malformed() -> None:
    """As every queue says it, before anything is stored."""
    with pytest.raises(MalformedEventError):
        stored(a_delivery(a_chunk(document_id="\ud800")))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"v": 1}', b'{"v": "x"}', b"\xff", b"[" * 100_000],
    ids=repr,
)
def test_damage_is_told(data: bytes) -> None:
    """Whatever lies there: one kind of error."""
    (part,) = stored(a_delivery(a_chunk()))

    with pytest.raises(StoredFormatError):
        decode_part(part.name, data)


def test_newer_delivery_is_told_apart() -> None:
    """It is for a newer worker."""
    (part,) = stored(a_delivery(a_chunk()))

    with pytest.raises(NewerFormatError):
        decode_part(part.name, b'{"v": 2}')


class Reader:
    """Holds parts, and counts what is read."""

    def __init__(self, *parts: NewPart) -> None:
        self.held = {part.name.document: part.data for part in parts}
        self.reads: list[str] = []

    async def read(self, name: str) -> bytes | None:
        self.reads.append(name)
        return self.held.get(name)


async def test_part_is_read_once() -> None:
    """Its chunks are asked for in turn."""
    (part,) = stored(a_delivery(*some_chunks(3)))
    reader = Reader(part)
    parts = Parts(reader)

    found = [await parts.chunk(Ref(part=part.name, position=n)) for n in range(3)]

    assert tuple(found) == some_chunks(3)
    assert reader.reads == [part.name.document]


async def test_cache_is_bounded() -> None:
    """Memory doesn't grow with the backlog: what was used longest ago is read again."""
    made = stored(a_delivery(*many(3 * 64)))
    size = max(len(part.data) for part in made)
    reader = Reader(*made)
    parts = Parts(reader, cache_bytes=2 * size)

    async def ask(*numbers: int) -> list[str]:
        reader.reads.clear()
        for number in numbers:
            await parts.part(made[number].name)
        return list(reader.reads)

    documents = [part.name.document for part in made]
    assert await ask(0, 1, 0) == documents[:2]
    assert await ask(2) == documents[2:]
    assert await ask(0, 2) == []
    assert await ask(1) == [documents[1]]


async def test_missing_part_is_none_and_asked_for_again() -> None:
    """It may come back."""
    (part,) = stored(a_delivery(a_chunk()))
    reader = Reader()
    parts = Parts(reader)

    assert await parts.chunk(Ref(part=part.name, position=0)) is None
    reader.held[part.name.document] = part.data
    assert await parts.chunk(Ref(part=part.name, position=0)) == a_chunk()


async def test_position_beyond_the_part_is_damage() -> None:
    """A message that says so is no message of ours."""
    (part,) = stored(a_delivery(a_chunk()))

    with pytest.raises(StoredFormatError):
        await Parts(Reader(part)).chunk(Ref(part=part.name, position=1))


def test_part_name_fits_what_is_in_it() -> None:
    """Two digits of chunks, whatever the delivery holds."""
    names: list[PartName] = [part.name for part in stored(a_delivery(*many(700)))]

    assert max(name.chunks for name in names) == 64
    assert sum(name.chunks for name in names) == 700
