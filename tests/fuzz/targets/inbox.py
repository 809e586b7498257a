"""A message of the inbox, in base64 or plain, and what the poison queue is told of it."""

import base64
import json
from collections.abc import Iterable

from handlers import inbox
from samples import events_dir
from tests.fakes.clock import START
from tests.fuzz import mutations
from tests.fuzz.target import Target, text_of
from tests.fuzz.targets.delivery import check_body
from worker.model import ReceivedMessage


def check(data: bytes) -> None:
    text = text_of(data)
    body = inbox.body_of(text)
    check_body(body)
    message = ReceivedMessage(id="1", receipt="r", text=text, times=2)
    told = inbox._poisoned(message, text, at=START)
    if told != text:
        assert json.loads(told)["message"] == text
        assert len(told) <= inbox.MAX_MESSAGE_CHARS
        assert told.isascii()
    if text.lstrip()[:1] in {"{", "["}:
        assert inbox.body_of(base64.b64encode(text.encode()).decode()) == body


def _seeds() -> Iterable[bytes]:
    for name in ("one-chunk.event-grid.json", "one-chunk.cloud-event.json"):
        body = (events_dir() / name).read_bytes()
        yield body
        yield base64.b64encode(body)
        yield base64.encodebytes(body)


INBOX = Target(name="inbox", check=check, seeds=_seeds, mutate=mutations.of_json)
