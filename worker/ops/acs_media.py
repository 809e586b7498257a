"""Media at the source on an operator's word: one object into a file, one document deleted.

The rule: a delete follows a proof of our own, or a person who was told that there is none.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from worker import __version__, names, siblings, transfer
from worker.errors import AlreadyExistsError, WorkerError
from worker.limits import MemoryBudget
from worker.model import ChunkKey, DeleteAnswer
from worker.ports import Archive, BlockWriter, ChunkQueue, Clock, Source
from worker.stored import Receipt, SourceDeleted, decode, encode
from worker.transfer import TransferLimits, TransferStats


class NotADeleteLocationError(WorkerError):
    """A location of a document that a delete is not documented for."""

    reason = "not-a-delete-location"
    hint = "recording-worker acs recording delete --help"


class UnprovenError(WorkerError):
    """A delete that no proof of ours allows, and that nobody at a terminal confirmed."""

    reason = "unproven"
    hint = "recording-worker recordings verify --help"


class HashingWriter(BlockWriter, Protocol):
    """What a download needs besides: the hash of the whole, read back."""

    async def sha256(self) -> str: ...


class UnprovenDelete(Protocol):
    """What deletes at the source without a proof: no part of ports.Source, for the engine
    must not be able to."""

    async def delete_unproven(
        self, location: str, *, resource: str | None
    ) -> DeleteAnswer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """JSON fields of `acs recording download --json`: additions only."""

    file: str
    size_bytes: int
    sha256: str
    source_host: str
    ranges: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the archive knows of a document; `why_none` says why a delete has no proof."""

    document_id: str
    receipt: Receipt | None
    why_none: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """JSON fields of `acs recording delete --json`: additions only."""

    document_id: str
    is_proven: bool
    why_unproven: str | None
    status: int | None
    """What the source answered; null: it was not asked."""


async def download(  # noqa: PLR0913 - from where, to where, and within which bounds
    source: Source,
    writer: HashingWriter,
    location: str,
    *,
    resource: str | None,
    limits: TransferLimits,
    memory: MemoryBudget,
    clock: Clock,
) -> Download:
    """Bring one object into a file, by parallel ranges that are checked as a chunk's are."""
    stats = TransferStats()
    fetched = await transfer.fetch(
        source,
        writer,
        location,
        resource=resource,
        limits=limits,
        memory=memory,
        clock=clock,
        stats=stats,
    )
    stored = await writer.commit(size=fetched.size_bytes)
    return Download(
        file=stored.name,
        size_bytes=fetched.size_bytes,
        sha256=await writer.sha256(),
        source_host=fetched.facts.host,
        ranges=stats.ranges,
    )


def document_of(location: str) -> str:
    """The document that a delete location means. Raises NotADeleteLocationError."""
    document_id = names.document_in(location)
    if not document_id or names.view_of(location) not in names.DELETE_VIEWS:
        raise NotADeleteLocationError(
            "that is no delete location: …/v1/objects/DOCUMENT or"
            " …/v1/objects/DOCUMENT/content/deletedata"
        )
    return document_id


async def proof_of(archive: Archive | None, location: str) -> Proof:
    """Look up whether all that the delete would take is proven here. None: no archive."""
    document_id = document_of(location)
    receipt: Receipt | None = None
    why: str | None = "there is no archive here"
    if archive is not None:
        name = names.receipt_name(ChunkKey(names.safe_id(document_id)))
        data = await archive.read(name)
        receipt = decode(Receipt, data) if data is not None else None
        why = await _why_none(archive, receipt, document_id)
    return Proof(document_id=document_id, receipt=receipt, why_none=why)


async def _why_none(
    archive: Archive, receipt: Receipt | None, document_id: str
) -> str | None:
    if receipt is None:
        return "no receipt proves it"
    if receipt.flags:
        return f"its receipt is flagged: {', '.join(receipt.flags)}"
    if receipt.document_id != document_id or receipt.metadata is None:
        return "its receipt does not prove all of it"
    for each in (receipt.content, receipt.metadata):
        if names.is_external(each.name):
            return "it lies in your own storage, not in the archive"
        stored = await archive.stat(each.name)
        if stored is None or stored.size_bytes != each.size_bytes:
            return "the archive no longer holds what its receipt proves"
        if archive.unmet(stored.protection):
            return "it lacks a protection that was asked for"
    return None


async def proof_besides(queue: ChunkQueue, archive: Archive, proof: Proof) -> Proof:
    """The proof, held against what the queue knows of the document, as a worker does.

    The delete takes all of it, and somebody may have announced more than is proven.
    """
    for entry in await queue.naming(proof.document_id):
        _, receipt = await siblings.identified(archive, entry.chunk)
        if receipt is None:
            return replace(proof, why_none="another announcement of it has no receipt")
    return proof


async def delete_proven(
    source: Source, archive: Archive, location: str, proof: Receipt, *, instance: str
) -> Deleted:
    """Delete what a receipt proves, and keep the answer beside it, as a worker does."""
    answer = await source.delete(location, proof=proof)
    record = SourceDeleted(
        key=proof.key,
        worker_version=__version__,
        worker_instance=instance,
        answer=answer,
    )
    # A worker may have, or we before we were killed.
    with suppress(AlreadyExistsError):
        await archive.create(names.source_deleted_name(proof.key), encode(record))
    return Deleted(
        document_id=proof.document_id,
        is_proven=True,
        why_unproven=None,
        status=answer.status,
    )


async def delete_unproven(
    source: UnprovenDelete, location: str, proof: Proof, *, resource: str | None
) -> Deleted:
    """Delete what nothing proves: for those who were told, and said so."""
    answer = await source.delete_unproven(location, resource=resource)
    return Deleted(
        document_id=proof.document_id,
        is_proven=False,
        why_unproven=proof.why_none,
        status=answer.status,
    )
