"""The custody record of a recording: what happened to each chunk, when, by whose hand.

Made of receipts, the source's answers to deletes, holds and the reports of verifications.
It shows no event, no metadata and no path at the source: those may name people, or more.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from worker import names, reports
from worker.errors import NewerFormatError
from worker.model import ChunkKey
from worker.ops.finding import stored
from worker.ops.recording_rows import ChunkRow, RecordingDetail, RecordingRow
from worker.ops.recordings import recordings_show
from worker.ports import Archive
from worker.reports import VerifyPart
from worker.stored import Erased, Hold, Receipt, SourceDeleted, StoredFormatError

PROVES = (
    (
        "The files named here were read back from the archive, or hashed where they lie, and "
        "held what had been received from the source, byte for byte, before the source was asked "
        "to delete anything (`read-back`, `in-place`); under `checksum` the archive confirmed the "
        "checksum of each block instead."
    ),
    (
        "Size and media structure were whole when the chunk was archived, unless a flag says "
        "otherwise; a flagged chunk was never deleted at the source."
    ),
    (
        "The archive is write-once: what was named here was neither overwritten nor renamed by "
        "this program."
    ),
    "Whoever holds a file can check it: sha256sum FILE must give the sha256 told here.",
)
PROVES_NOT = (
    (
        "That ACS sent what was said in the call: ACS gives no checksum, so that the proof begins "
        "with what arrived, complete by its announced size."
    ),
    "Who spoke, or who took part.",
    (
        "That nobody with rights to the storage account or the disk changed files and receipts "
        "alike: a policy of the storage (immutability, legal hold) has to speak against that; what "
        "of it was read back is told here."
    ),
    (
        "That clocks were right: times are those of the machines named; the source's own Date is "
        "told beside them."
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened; part of `recordings audit --json`: additions only."""

    at: datetime | None
    what: str
    """`announced`, `received`, `downloaded`, `archived`, `proven`, `deleted at the source`,
    `verified`, `held`, `released` or `erased`."""
    by: str | None
    """The worker, or the operator."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenFile:
    """One file and its proof; part of `recordings audit --json`: additions only."""

    what: str
    name: str
    size_bytes: int
    sha256: str | None
    block_bytes: int
    blocks_sha256: str
    verified: str
    etag: str | None
    version: str | None
    protection: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkAudit:
    """The custody of one chunk; part of `recordings audit --json`: additions only."""

    index: int
    document_id: str
    resource: str | None
    event_id: str | None
    attempts: int | None
    structure: str | None
    flags: tuple[str, ...]
    files: tuple[ProvenFile, ...]
    steps: tuple[Step, ...]
    problem: str | None = None
    """Why there is no more to say: the receipt is gone, or can't be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The custody record of one recording; JSON fields of `recordings audit --json`."""

    made_at: datetime
    made_by: str
    worker_version: str
    recording: RecordingRow
    ended: str | None
    chunks: tuple[ChunkAudit, ...]
    holds: tuple[Step, ...]
    proves: tuple[str, ...] = PROVES
    proves_not: tuple[str, ...] = PROVES_NOT


async def recordings_audit(
    archive: Archive, text: str, *, made_at: datetime, made_by: str, version: str
) -> Sequence[Audit]:
    """Custody records of the recordings that an id means (finding.find)."""
    return [
        Audit(
            made_at=made_at,
            made_by=made_by,
            worker_version=version,
            recording=detail.recording,
            ended=detail.ended,
            chunks=tuple([await _chunk(archive, row) for row in detail.chunks]),
            holds=tuple([step async for step in _holds(archive, detail)]),
        )
        for detail in await recordings_show(archive, text)
    ]


async def _chunk(archive: Archive, row: ChunkRow) -> ChunkAudit:
    key = ChunkKey(row.key)
    try:
        receipt = await stored(archive, names.receipt_name(key), Receipt)
    except (NewerFormatError, StoredFormatError) as error:
        return _unproven(row, f"its receipt can't be read: {error}")
    if receipt is None:
        tombstone = await stored(archive, names.erased_name(key), Erased)
        if tombstone is None:
            return _unproven(row, "its receipt is gone")
        return replace(_unproven(row, "it was erased"), steps=(_erased(tombstone),))
    deleted = await stored(archive, names.source_deleted_name(key), SourceDeleted)
    steps = [*_way_home(receipt), *([_deleted(deleted)] if deleted else [])]
    steps += [step async for step in _verifications(archive, key)]
    return ChunkAudit(
        index=receipt.index,
        document_id=receipt.document_id,
        resource=receipt.resource,
        event_id=_said(receipt, "id"),
        attempts=receipt.attempts,
        structure=receipt.structure,
        flags=receipt.flags,
        files=tuple(_files(receipt)),
        steps=tuple(steps),
    )


def _unproven(row: ChunkRow, problem: str) -> ChunkAudit:
    return ChunkAudit(
        index=row.index,
        document_id=row.document_id,
        resource=None,
        event_id=None,
        attempts=None,
        structure=None,
        flags=row.flags,
        files=(),
        steps=(),
        problem=problem,
    )


def _way_home(receipt: Receipt) -> list[Step]:
    worker, content = receipt.worker_instance, receipt.content
    source = f"from {content.source_host}"
    if content.source_date:
        source += f", whose clock said {content.source_date}"
    outside = names.is_external(content.name)
    return [
        Step(at=_event_time(receipt), what="announced", by=None, detail=_kind(receipt)),
        Step(
            at=receipt.received_at,
            what="received",
            by=None,
            detail="and durable before the sender was answered",
        ),
        Step(
            at=None,
            what="left where it lay" if outside else "downloaded",
            by=worker,
            detail=source,
        ),
        Step(at=content.last_modified, what="archived", by=worker, detail=content.name),
        Step(
            at=receipt.archived_at,
            what="proven",
            by=f"{worker}, version {receipt.worker_version}",
            detail=f"{content.verified}; {receipt.structure}",
        ),
    ]


def _event_time(receipt: Receipt) -> datetime | None:
    said = _said(receipt, "eventTime") or _said(receipt, "time") or ""
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else None


def _kind(receipt: Receipt) -> str:
    kind = _said(receipt, "eventType") or _said(receipt, "type") or "event"
    return f"{kind}, id {_said(receipt, 'id') or 'unknown'}"


def _said(receipt: Receipt, name: str) -> str | None:
    value = receipt.event.get(name)
    return value if isinstance(value, str) else None


def _files(receipt: Receipt) -> list[ProvenFile]:
    proven = [("content", receipt.content)]
    if receipt.metadata is not None:
        proven.append(("metadata", receipt.metadata))
    return [
        ProvenFile(
            what=what,
            name=each.name,
            size_bytes=each.size_bytes,
            sha256=each.sha256,
            block_bytes=each.block_bytes,
            blocks_sha256=each.blocks_sha256,
            verified=each.verified,
            etag=each.etag,
            version=each.version,
            protection=each.protection,
        )
        for what, each in proven
    ]


def _deleted(deleted: SourceDeleted) -> Step:
    answer = deleted.answer
    return Step(
        at=answer.at,
        what="deleted at the source",
        by=deleted.worker_instance,
        detail=f"{answer.host} answered {answer.status} ({', '.join(answer.hops)})",
    )


def _erased(tombstone: Erased) -> Step:
    return Step(
        at=tombstone.erased_at,
        what="erased",
        by=tombstone.erased_by,
        detail=tombstone.reason,
    )


async def _holds(archive: Archive, detail: RecordingDetail) -> AsyncIterator[Step]:
    folder = detail.recording.folder
    number = 1
    while hold := await stored(archive, names.hold_name(folder, number), Hold):
        what = "held" if hold.held else "released"
        yield Step(at=hold.at, what=what, by=hold.by, detail=hold.reason)
        number += 1


async def _verifications(archive: Archive, key: ChunkKey) -> AsyncIterator[Step]:
    """Later looks at a chunk, in order; reads only the parts that may tell of it."""
    place = names.receipt_name(key).split("/")[1]
    run, reached = "", ""
    async for name in archive.list(names.VERIFICATIONS):
        its, _, file = name.removeprefix(names.VERIFICATIONS).rpartition("/")
        _, _, until = file.removesuffix(".json").partition("-")
        if its != run:
            run, reached = its, ""
        if not until or until == "recordings":
            continue
        if reached <= place <= until and (step := await _told(archive, name, key)):
            yield step
        reached = until


async def _told(archive: Archive, name: str, key: ChunkKey) -> Step | None:
    try:
        part = reports.decode(VerifyPart, await archive.read(name) or b"")
    except (NewerFormatError, StoredFormatError):
        return None
    problems = [each for each in part.problems if each.key == key]
    if key not in part.checked and not problems:
        return None
    found = "; ".join(f"{each.what} {each.kind}: {each.detail}" for each in problems)
    return Step(
        at=part.ended_at,
        what="verified",
        by=f"{part.by} at {part.worker_instance}",
        detail=found or "as proven",
    )
