"""What messages say, and what is none of ours."""

import json
from dataclasses import replace

import pytest

from tests.factories import a_chunk, an_announcement
from tests.fakes.clock import START
from worker.errors import NewerFormatError
from worker.queues.storage import messages
from worker.queues.storage.messages import (
    ChunkMessage,
    DeliveryMessage,
    Held,
    Poison,
    held_from,
)
from worker.queues.storage.names import PartName, Ref
from worker.stored import StoredFormatError

PART = PartName(hour=START, digest="0" * 32, number=1, chunks=1, expires_at=START)
REF = Ref(part=PART, position=0)
ROW = "f" * 32


def a_message() -> ChunkMessage:
    return messages.chunk_message(a_chunk(), row=ROW, ref=REF)


def test_chunk_message_is_read_as_it_was_sent() -> None:
    """All that is known of the work travels with it."""
    message = replace(
        a_message(),
        attempts=3,
        seen=2,
        archived=True,
        looks=1,
        reason="r",
        error="é<&]]>\0",
        missing_since=START,
    )

    text = messages.encode(message)

    assert messages.decode(text) == message
    assert text.isascii()
    assert json.loads(text)["v"] == 1


def test_delivery_message_is_read_as_it_was_sent() -> None:
    """It says where to look."""
    message = DeliveryMessage(part=PART.document)

    assert messages.decode(messages.encode(message)) == message


def test_message_of_a_long_resource_is_short() -> None:
    """The topic is what others sent."""
    chunk = a_chunk(announcement=an_announcement(resource="x" * 100_000))

    text = messages.encode(messages.chunk_message(chunk, row=ROW, ref=REF))

    assert len(text) < 4000


def test_unknown_fields_are_passed_by() -> None:
    """A newer worker may say more within the same version."""
    document = json.loads(messages.encode(a_message()))

    assert messages.decode(json.dumps({**document, "more": 1})) == a_message()


@pytest.mark.parametrize("text", ['{"v": 2}', '{"v": 99, "kind": "?"}'])
def test_newer_message_is_told_apart(text: str) -> None:
    """It is for a newer worker."""
    with pytest.raises(NewerFormatError):
        messages.decode(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "null", "[]", "1", '"v"', "{}", '{"v": null}', '{"v": 1}'),
        '{"v": 1, "kind": "poison"}',
        '{"v": 1, "kind": ["chunk"]}',
        '{"v": 1, "kind": "chunk", "row": 1}',
        '{"v": 1, "kind": "delivery", "part": "receipts/x.json"}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_foreign_message_is_told(text: str) -> None:
    """Whatever was put there: one kind of error."""
    with pytest.raises(StoredFormatError):
        messages.decode(text)


def test_foreign_ref_is_told() -> None:
    """A message leads to the ledger, and nowhere else."""
    message = replace(a_message(), ref="../../receipts")

    with pytest.raises(StoredFormatError):
        messages.decode(messages.encode(message))


NAIVE = "2026-03-01T12:00:00"
BEYOND = "9999-12-31T23:59:59-12:00"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expires_at", NAIVE),
        ("expires_at", BEYOND),
        ("first_expires_at", NAIVE),
        ("first_expires_at", BEYOND),
        ("missing_since", NAIVE),
        ("row", "../../x"),
        ("row", "f" * 33),
        ("row", ROW + "\n"),
        ("recording", "../x"),
        ("recording", ""),
        ("resource", "x" * 2001),
        ("attempts", -1),
        ("attempts", 2**40),
        ("looks", -5),
        ("seen", -2),
    ],
)
def test_message_that_is_odd_is_foreign(field: str, value: object) -> None:
    """Whatever would make a worker stumble behind this point is stopped here."""
    document = json.loads(messages.encode(a_message()))

    with pytest.raises(StoredFormatError):
        messages.decode(json.dumps({**document, field: value}))


def test_delivery_message_of_an_odd_time_is_foreign() -> None:
    """The same for a whole part."""
    document = json.loads(messages.encode(DeliveryMessage(part=PART.document)))

    with pytest.raises(StoredFormatError):
        messages.decode(json.dumps({**document, "missing_since": NAIVE}))


@pytest.mark.parametrize(
    ("attempts", "seen", "received", "expected"),
    [
        (0, 0, 1, 1),
        (0, 0, 3, 3),
        (2, 5, 6, 3),
        (2, 5, 8, 5),
        (0, -1, 0, 1),
        (0, -1, 1, 2),
        (0, 9, 1, 1),
    ],
)
def test_attempts_that_lapsed_are_counted(
    attempts: int, seen: int, received: int, expected: int
) -> None:
    """Nobody settled those between: each reception was an attempt.

    A message that is sent as leased (seen: -1) was never received for its first.
    """
    message = replace(a_message(), attempts=attempts, seen=seen)

    assert message.attempt(received) == expected


def test_token_holds_all_that_settling_needs() -> None:
    """No memory of the process is needed, so that nothing leaks if a lease is dropped."""
    held = Held(
        queue="-urgent", id="i", receipt="AgA+/=", received=2, message=a_message()
    )

    assert held_from(held.token) == held


def test_poison_is_read_as_it_was_written() -> None:
    """By `queue show`, and by whoever reads the poison queue."""
    poison = Poison(reason="r", error="é", worker="w", at=START, attempts=1, row=ROW)

    text = messages.encode_poison(poison)

    assert messages.decode_poison(text) == poison
    assert "raw_base64" not in json.loads(text)
    assert text.isascii()
    with pytest.raises(StoredFormatError):
        messages.decode_poison(b"{}")
