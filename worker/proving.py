"""One object from the source into the archive, proven: download, commit, read back, compare."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from worker import transfer
from worker.attempt import AttemptLog
from worker.errors import AlreadyExistsError, ArchiveConflictError, IntegrityError
from worker.limits import MemoryBudget
from worker.model import ReadBack, Stored
from worker.ports import Archive, BlockWriter, Clock, Source
from worker.stored import ProvenObject, blocks_sha256
from worker.transfer import Fetched, TransferLimits

MOST_CANDIDATES = 9
Verify = Literal["read-back", "checksum"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prover:
    """Brings objects home. `verify` says how far the proof goes."""

    source: Source
    archive: Archive
    clock: Clock
    memory: MemoryBudget
    limits: TransferLimits
    verify: Verify

    async def prove(
        self,
        location: str,
        name_of: Callable[[int], str],
        *,
        resource: str | None,
        log: AttemptLog,
    ) -> tuple[ProvenObject, bool]:
        """Archive what lies at `location` under the first candidate name that proves right.

        Returns the proof and whether the source announced the size. A name that holds other
        content, or reads back wrong, is left as it is: the next candidate's turn.
        """
        for candidate in range(1, MOST_CANDIDATES):
            try:
                return await self._prove_at(
                    name_of(candidate), location, resource=resource, log=log
                )
            except (ArchiveConflictError, IntegrityError):
                continue
        name = name_of(MOST_CANDIDATES)
        return await self._prove_at(name, location, resource=resource, log=log)

    async def _prove_at(
        self, name: str, location: str, *, resource: str | None, log: AttemptLog
    ) -> tuple[ProvenObject, bool]:
        with log.timed("download"):
            async with self.archive.writer(name) as writer:
                with log.step("download"):
                    fetched = await transfer.fetch(
                        self.source,
                        writer,
                        location,
                        resource=resource,
                        limits=self.limits,
                        memory=self.memory,
                        clock=self.clock,
                        stats=log.stats,
                    )
                block_bytes = writer.block_bytes
                with log.step("archive"):
                    stored, found = await self._commit(writer, name, fetched)
        with log.timed("verify"), log.step("verify"):
            read_back = None
            if found or self.verify == "read-back":
                read_back = await self.archive.read_back(name, block_bytes=block_bytes)
                _compare(fetched, read_back, name=name, found=found)
        proof = _proof(stored, fetched, read_back, block_bytes)
        return proof, fetched.size_announced

    async def _commit(
        self, writer: BlockWriter, name: str, fetched: Fetched
    ) -> tuple[Stored, bool]:
        """Commit; or, if the name is taken, say what is there (True) to be compared."""
        try:
            return await writer.commit(size=fetched.size_bytes), False
        except AlreadyExistsError:
            stored = await self.archive.stat(name)
            if stored is None:
                raise ArchiveConflictError("a taken name holds nothing") from None
            return stored, True


def _compare(fetched: Fetched, read_back: ReadBack, *, name: str, found: bool) -> None:
    """Raise unless the archive holds, block for block, what the source sent."""
    same = (
        read_back.size_bytes == fetched.size_bytes
        and read_back.blocks == fetched.blocks
    )
    if same:
        return
    if found:
        raise ArchiveConflictError(f"{name!r} holds other content")
    raise IntegrityError(f"{name!r} does not read back as it was written")


def _proof(
    stored: Stored, fetched: Fetched, read_back: ReadBack | None, block_bytes: int
) -> ProvenObject:
    facts = fetched.facts
    whole = fetched.blocks[0].sha256 if len(fetched.blocks) == 1 else None
    return ProvenObject(
        name=stored.name,
        size_bytes=fetched.size_bytes,
        sha256=read_back.sha256 if read_back else whole,
        block_bytes=block_bytes,
        blocks_sha256=blocks_sha256(fetched.blocks),
        verified="read-back" if read_back else "checksum",
        etag=stored.etag,
        version=stored.version,
        last_modified=stored.last_modified,
        protection=stored.protection,
        source_host=facts.host,
        source_date=facts.date,
        source_last_modified=facts.last_modified,
        source_headers=facts.headers,
    )
