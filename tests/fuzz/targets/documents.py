"""What was stored once and is read again: documents, messages, names; damage has one type."""

import json
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import START
from tests.fuzz import mutations
from tests.fuzz.target import Target, fields_of, text_of
from tests.proofs import a_manifest, a_proof
from worker import stored
from worker.errors import NewerFormatError
from worker.model import DeleteAnswer, LeaseToken
from worker.queues.storage import messages, names, parts
from worker.queues.storage.messages import DeliveryMessage, Held, Poison
from worker.queues.storage.names import Death, Mark, NoNameError, PartName, Ref
from worker.stored import (
    Control,
    Erased,
    Erasing,
    Hold,
    Notice,
    ReplayedBlob,
    SourceDeleted,
    StoredFormatError,
)

ROW = "f" * 32
PART = PartName(hour=START, digest="0" * 32, number=1, chunks=1, expires_at=START)
REF = Ref(part=PART, position=0)
Again = Callable[[str], tuple[object, object]]
"""What a text says, and what it says once it was written again."""


def _of_archive(kind: type[Any]) -> Again:
    def again(text: str) -> tuple[object, object]:
        first = stored.encode(stored.decode(kind, text.encode()))
        return first, stored.encode(stored.decode(kind, first))

    return again


def _chunk(text: str) -> tuple[object, object]:
    chunk = stored.chunk_from_json(text)
    try:
        written = stored.chunk_to_json(chunk)
    except ValueError:
        # A lone surrogate, which none of ours could have written.
        return None, None
    return chunk, stored.chunk_from_json(written)


def _message(text: str) -> tuple[object, object]:
    message = messages.decode(text)
    sent = messages.encode(message)
    assert sent.isascii()
    return message, messages.decode(sent)


def _poison(text: str) -> tuple[object, object]:
    poison = messages.decode_poison(text)
    return poison, messages.decode_poison(messages.encode_poison(poison))


def _part(text: str) -> tuple[object, object]:
    parts.decode_part(PART, text.encode())
    # It is written from a delivery alone.
    return None, None


KINDS: Mapping[str, Again] = {
    **{kind.__name__: _of_archive(kind) for kind in typing.get_args(stored.Document)},
    "Chunk": _chunk,
    "Message": _message,
    "Poison": _poison,
    "Part": _part,
}


def _document_again(text: str) -> str:
    part, ending = names.parse_part(text)
    named: str = getattr(part, "document" if ending == "json" else ending)
    return named


def _entry_again(text: str) -> str:
    """The folder is whoever's that asks."""
    row, ref = names.parse_entry(text)
    return f"{text.rpartition('/')[0]}/{row}.{ref}"


def _due_again(text: str) -> str:
    due, marked = names.parse_due(text)
    return due.marked(marked[1], marked[0]) if marked else str(due)


def _death_again(text: str) -> str:
    death, is_revived = names.parse_death(text)
    return death.revived if is_revived else death.document


NAMES: Mapping[str, Callable[[str], str]] = {
    "Ref": lambda text: str(names.parse_ref(text)),
    "Document": _document_again,
    "Due": _due_again,
    "Death": _death_again,
    "Entry": _entry_again,
}


def check_document(data: bytes) -> None:
    """The kind on the first line, the document behind it: read, and read again as written."""
    kind, text = fields_of(text_of(data), 2)
    if kind not in KINDS:
        return
    try:
        first, second = KINDS[kind](text)
    except (StoredFormatError, NewerFormatError) as error:
        str(error).encode(errors="surrogatepass")
        return
    assert first == second, kind


def check_name(data: bytes) -> None:
    """The kind on the first line, the name on the second: it is made again as it was."""
    kind, text = fields_of(text_of(data), 2)
    if kind not in NAMES:
        return
    try:
        again = NAMES[kind](text)
    except NoNameError:
        return
    assert again == text, (text, again)


def _document_seeds() -> Iterable[bytes]:
    proof = a_proof("0-eus-d1-doc1", flags=("structure",))
    answer = DeleteAnswer(
        status=200, host="a.example", at=START, hops=("a.example 200",)
    )
    deleted = SourceDeleted(
        key=proof.key, worker_version="1", worker_instance="a", answer=answer
    )
    notice = Notice(id="1", type="T", subject="s", time=START, data={"a": [1, None]})
    erased = Erased(
        worker_version="1",
        key=proof.key,
        recording=proof.recording,
        index=0,
        content_bytes=1,
        metadata_bytes=None,
        reason="unlawful",
        erased_at=START,
        erased_by="o",
    )
    erasing = Erasing(recording=proof.recording, chunks=(erased,))
    hold = Hold(
        worker_version="1",
        recording=proof.recording,
        held=True,
        reason="r",
        at=START,
        by="o",
    )
    control = Control(worker_version="1", paused=True, reason="r", at=START, by="o")
    replayed = ReplayedBlob(
        worker_version="1",
        container="https://a.blob.core.windows.net/c",
        blob="A/1.json",
        etag="e",
        events=1,
        to="queue",
        at=START,
        by="o",
    )
    kept = (erased, erasing, hold, control, replayed)
    proven = (proof, proof.content, deleted, notice, a_manifest(2, missing=1))
    for document in (*proven, *kept):
        readable = stored.encode(document)
        yield type(document).__name__.encode() + b"\n" + readable
    chunk = a_chunk()
    for kind, text in (
        ("Chunk", stored.chunk_to_json(chunk)),
        ("Message", messages.encode(messages.chunk_message(chunk, row=ROW, ref=REF))),
        ("Message", messages.encode(DeliveryMessage(part=PART.document))),
        ("Poison", messages.encode_poison(_a_poison())),
        ("Part", parts.parts_of(a_delivery(chunk), now=START)[0].data.decode()),
    ):
        yield f"{kind}\n{json.dumps(json.loads(text))}".encode()


def _a_poison() -> Poison:
    return Poison(reason="r", error="e", worker="w", at=START, attempts=1, row=ROW)


def _name_seeds() -> Iterable[bytes]:
    chunk = a_chunk()
    entry, *_, due = names.index_names(chunk, row=ROW, ref=str(REF))
    marked = names.parse_due(due)[0].marked(Mark.URGENT, START)
    death = Death(recording="a" * 16, row=ROW, number=1, reason="host-not-allowed")
    for kind, text in (
        ("Ref", str(REF)),
        ("Document", PART.document),
        ("Document", PART.fanned),
        ("Entry", entry),
        ("Due", due),
        ("Due", marked),
        ("Death", death.document),
        ("Death", death.revived),
    ):
        yield f"{kind}\n{text}".encode()


def _check_token(data: bytes) -> None:
    """A lease's token is our own, from a queue file: it is whole, or ValueError."""
    try:
        held = messages.held_from(LeaseToken(text_of(data)))
    except ValueError:
        return
    assert messages.held_from(held.token) == held


def _token_seeds() -> Iterable[bytes]:
    message = messages.chunk_message(a_chunk(), row=ROW, ref=REF)
    held = Held(queue="", id="1", receipt="r", received=1, message=message)
    yield held.token.encode()


DOCUMENT = Target(
    name="document",
    check=check_document,
    seeds=_document_seeds,
    mutate=mutations.after_line(mutations.of_json),
)
NAME = Target(
    name="name", check=check_name, seeds=_name_seeds, mutate=mutations.of_lines
)
LEASE = Target(
    name="lease", check=_check_token, seeds=_token_seeds, mutate=mutations.of_json
)
