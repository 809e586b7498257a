"""Wires what operators ask of ACS: the clients of its control API, and our own for media."""

from pathlib import Path

from worker import app, opening
from worker.acs.resources import resource_from
from worker.archives.local_file import LocalFile
from worker.clock import SystemClock
from worker.limits import MemoryBudget
from worker.ops import acs_media
from worker.ops.acs_media import Deleted, Download, Proof
from worker.ports import Archive
from worker.settings import Settings
from worker.transfer import TransferLimits


async def check(settings: Settings, location: str) -> None:
    """Raise HostNotAllowedError unless we would ask there; asks nothing."""
    async with app.open_source(settings, SystemClock()) as source:
        source.check(location)


async def download(
    settings: Settings, location: str, path: Path, *, resource: str | None
) -> Download:
    """Bring what lies at a location into a file that is not there yet."""
    named = resource_from(settings, resource).name
    clock = SystemClock()
    range_bytes = settings.block_mib * opening.MIB
    async with (
        app.open_source(settings, clock) as source,
        LocalFile(path, block_bytes=range_bytes) as file,
    ):
        return await acs_media.download(
            source,
            file,
            location,
            resource=named,
            limits=TransferLimits(
                range_bytes=range_bytes, max_ranges=settings.max_ranges
            ),
            memory=MemoryBudget(settings.memory_mib * opening.MIB),
            clock=clock,
        )


async def proof_of(settings: Settings, location: str) -> Proof:
    """What archive and queue, where they are, know of the document that a delete would take."""
    # Where it may not go is told before anything else is looked at.
    async with (
        app.open_source(settings, SystemClock()) as source,
        opening.open_known_archive(settings) as archive,
    ):
        source.check(location)
        return await _proof_of(settings, archive, location)


async def _proof_of(
    settings: Settings, archive: Archive | None, location: str
) -> Proof:
    proof = await acs_media.proof_of(archive, location)
    if archive is None or proof.why_none is not None or not settings.has_queue:
        return proof
    async with opening.open_queue(settings, create=False, archive=archive) as queue:
        return await acs_media.proof_besides(queue, archive, proof)


async def delete(
    settings: Settings, location: str, *, resource: str | None, unproven: bool
) -> Deleted:
    """Delete a document at the source; `unproven`: whoever asks knows that nothing proves it.

    The proof is looked up anew: what was found before the question may be gone.
    """
    async with (
        app.open_source(settings, SystemClock()) as source,
        opening.open_known_archive(settings) as archive,
    ):
        proof = await _proof_of(settings, archive, location)
        if archive is not None and proof.receipt and proof.why_none is None:
            return await acs_media.delete_proven(
                source, archive, location, proof.receipt, instance=settings.instance
            )
        if not unproven:
            raise acs_media.UnprovenError(proof.why_none or "nothing proves it")
        named = resource_from(settings, resource).name
        return await acs_media.delete_unproven(source, location, proof, resource=named)
