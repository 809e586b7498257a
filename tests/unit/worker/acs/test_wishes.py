"""What ACS would refuse is refused before it is asked."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.fakes.clock import START
from worker.acs import identities, wishes
from worker.acs.trouble import UnfitRequestError
from worker.acs.wishes import (
    MoveWish,
    Shape,
    StartWish,
    TransferWish,
    Which,
)

WHO = "8:acs:11111111-2222_0000-3333"
TEAMS = "8:orgid:11111111-2222-4333-8444-555555555555"
CALL = Which(call_connection="c1")
HEARD = Shape(content="audio", channel="unmixed", format="wav")
MIXED = Shape(content="audio", channel="mixed", format="mp3")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ((None, None, None), ("audio-video", "mixed", "mp4")),
        (("audio", None, None), ("audio", "mixed", "mp3")),
        ((None, None, "wav"), ("audio", "mixed", "wav")),
        ((None, None, "mp3"), ("audio", "mixed", "mp3")),
        ((None, None, "mp4"), ("audio-video", "mixed", "mp4")),
        ((None, "unmixed", None), ("audio", "unmixed", "wav")),
        (("audio-video", "mixed", None), ("audio-video", "mixed", "mp4")),
    ],
)
def test_what_is_left_out_follows_from_what_is_said(
    said: tuple[None, None, None], meant: tuple[str, str, str]
) -> None:
    """All three are sent, so that no default of the service decides."""
    shape = Shape.of(*said)

    assert (shape.content, shape.channel, shape.format) == meant


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((None, "unmixed", "mp4"), "unmixed recordings are wav"),
        ((None, "unmixed", "mp3"), "unmixed recordings are wav"),
        (("audio-video", "unmixed", None), "no video"),
        (("audio-video", None, "wav"), "wav has no video"),
        (("audio-video", None, "mp3"), "mp3 has no video"),
        (("audio", None, "mp4"), "mp4 is for audio-video"),
    ],
)
def test_what_does_not_go_together_is_refused(
    said: tuple[None, None, None], why: str
) -> None:
    """In one line, with what would go."""
    with pytest.raises(UnfitRequestError, match=why):
        Shape.of(*said)


@pytest.mark.parametrize(
    ("wished", "why"),
    [
        (Which, "exactly one of"),
        (lambda: Which(room="1", group_call="2"), "exactly one of"),
        (lambda: Which(server_call="abc"), "a callId is another id"),
        (lambda: Which(server_call="a call"), "a callId is another id"),
        (
            lambda: Which(server_call="5e3a1b2c-1111-4222-8333-444455556666"),
            "a callId is another id",
        ),
        (lambda: start(affinity={0: WHO}), "a mixed recording has one channel"),
        (lambda: start(order=(WHO,)), "a mixed recording has one channel"),
        (lambda: start(shape=HEARD, affinity={5: WHO}), "5 channels, 0 to 4"),
        (lambda: start(shape=HEARD, order=tuple("123456")), "5 channels, 0 to 4"),
        (lambda: start(callback="http://h.example/"), "an https URL"),
        (lambda: start(callback="https://[::1/"), "an https URL"),
        (lambda: start(callback="https://u:secret@h.example/"), "an https URL"),
        (lambda: start(callback="https://h.example:99999/"), "an https URL"),
        (lambda: start(callback="https://h.example:port/"), "an https URL"),
        (lambda: start(callback="https://h.example/a\nb"), "an https URL"),
        (lambda: move(callback="https://h.example/a b"), "an https URL"),
        (lambda: start(container="https://a.example/"), "URL of a container"),
        (lambda: start(container="http://a.example/c"), "URL of a container"),
        (lambda: start(container="https://u:p@a.example/c"), "URL of a container"),
        (lambda: start(container="https://a.example/c?sig=x"), "takes no signature"),
        (lambda: start(container="https://a.example/c#sig=x"), "takes no signature"),
        (lambda: transfer(transferee=WHO), "to themselves"),
        (lambda: transfer(callback="nowhere"), "an https URL"),
        (lambda: move(participants=()), "say who moves"),
        (lambda: move(to_call="c1"), "in already"),
        (lambda: wishes.check_participants(351), "350 participants at most, not 351"),
        (lambda: window(days=180.01), "180 days at most, not for 180.01"),
        (lambda: window(days=0), "must end after it begins"),
    ],
)
def test_unfit_wish_is_refused(wished: Callable[[], object], why: str) -> None:
    """Before anything is sent."""
    with pytest.raises(UnfitRequestError, match=why):
        wished()


def start(**other: object) -> StartWish:
    said: dict[str, object] = {"which": CALL, "shape": MIXED} | other
    return StartWish(**said)  # type: ignore[arg-type]  # what a test says


def transfer(**other: object) -> TransferWish:
    return TransferWish(call_connection="c1", target=WHO, **other)  # type: ignore[arg-type]  # the same


def move(**other: object) -> MoveWish:
    said: dict[str, object] = {
        "from_call": "c1",
        "to_call": "c2",
        "participants": (WHO,),
    } | other
    return MoveWish(**said)  # type: ignore[arg-type]  # the same


def window(*, days: float) -> None:
    wishes.check_window(START, START + timedelta(days=days))


def test_what_is_fit_is_taken() -> None:
    """At the limits too."""
    start(shape=HEARD, order=tuple("12345"), affinity={4: WHO})
    start(callback="http://127.0.0.1:8080/api/callbacks")
    start(container="https://account.blob.core.windows.net/calls")
    wishes.check_participants(350)
    window(days=180)
    wishes.check_window(START, None)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (WHO, WHO),
        (f" {TEAMS} ", TEAMS),
        ("28:gcch:11111111-2222-4333-8444-555555555555",) * 2,
        ("8:spool:abc", "8:spool:abc"),
        ("+14255550123", "4:+14255550123"),
        ("4:+14255550123", "4:+14255550123"),
    ],
)
def test_identity_is_a_raw_id_or_a_number(typed: str, meant: str) -> None:
    """As operators have them."""
    assert identities.raw_id(typed) == meant


@pytest.mark.parametrize(
    "typed", ["", "bob", "8:acs:", "14255550123", "8:orgid:bob", "8:acs:a b", "+1 425"]
)
def test_what_is_no_identity_is_refused_and_not_repeated(typed: str) -> None:
    """It may be a name."""
    with pytest.raises(UnfitRequestError, match="an identity is") as refused:
        identities.raw_id(typed)

    assert "bob" not in str(refused.value)


def test_voicemail_is_explained() -> None:
    """Rather than sent, and refused."""
    with pytest.raises(UnfitRequestError, match="no server-side API"):
        identities.raw_id("Voicemail")


def test_nobody_is_named_twice() -> None:
    """Two spellings of one number are one person."""
    with pytest.raises(UnfitRequestError, match="named twice"):
        identities.raw_ids(["+14255550123", "4:+14255550123"])


def test_caller_id_is_a_phone_number() -> None:
    """With its country."""
    assert identities.phone_number("4:+14255550123") == "+14255550123"
    with pytest.raises(UnfitRequestError, match="a caller id is a phone number"):
        identities.phone_number(WHO)


@pytest.mark.parametrize(
    "text",
    ["aHR0cHM6Ly9hLmV4YW1wbGUvMQ==", "aHR0cHM6Ly9hLmV4YW1wbGUvMQ", "fn4-fn4_"],
)
def test_server_call_is_taken_as_it_is_written(text: str) -> None:
    """Padded or not, in either alphabet: nobody promised one."""
    assert Which(server_call=text).named[0] == text
