"""Whether the archive takes what is written, gives it back, and lets nobody write over it.

One fixed name, so that a container that lets nothing go is not littered.
"""

import hashlib
from collections.abc import Sequence

from worker import names, opening
from worker.errors import AlreadyExistsError
from worker.model import Stored
from worker.ops.doctor import Finding, failed, noted, passed
from worker.own_checks.deployment import Deployment
from worker.ports import Archive

WRITE, OVERWRITE = "archive write", "archive overwrite"
READ, PROTECTION = "archive read", "archive protection"
PROBE = b'{"v":1,"probe":"recording-worker doctor"}\n'
_BLOCK_BYTES = 1024 * 1024
_AGING = "immutability"
"""What a probe of long ago has less of than it was given."""
_OF_CONTENTS = {"tier"}
"""What no small document is given."""


async def archive(deployment: Deployment) -> Sequence[Finding]:
    """Write, write again, read back, and look at what protects it."""
    settings = deployment.settings
    if not settings.has_archive:
        seen = f"there is no archive at {settings.archive} yet"
        return [noted(WRITE, seen, "recording-worker serve")]
    async with opening.open_archive(settings, create=False) as opened:
        return await probed(opened)


async def probed(archive: Archive) -> list[Finding]:
    """The same of an archive that is open. Raises its errors."""
    is_new = await _is_created(archive)
    seen = "a probe was written" if is_new else "a probe lies there from before"
    again = await _is_created(archive)
    return [
        passed(WRITE, f"{seen}: {names.PROBE}"),
        _written_over() if again else passed(OVERWRITE, "was refused"),
        await _read_back(archive),
        *_protection(archive, await archive.stat(names.PROBE), is_new=is_new),
    ]


async def _is_created(archive: Archive) -> bool:
    try:
        await archive.create(names.PROBE, PROBE)
    except AlreadyExistsError:
        return False
    return True


def _written_over() -> Finding:
    means = "no proof outlasts that"
    return failed(
        OVERWRITE,
        "what is stored was written over",
        "recording-worker config",
        means=means,
    )


async def _read_back(archive: Archive) -> Finding:
    back = await archive.read_back(names.PROBE, block_bytes=_BLOCK_BYTES)
    if back.sha256 == hashlib.sha256(PROBE).hexdigest():
        return passed(READ, "the same as was written")
    return failed(READ, "another content than was written", "recording-worker config")


def _protection(
    archive: Archive, stored: Stored | None, *, is_new: bool
) -> list[Finding]:
    if stored is None:
        return [failed(READ, "the probe is gone", "recording-worker config")]
    unmet = set(archive.unmet(stored.protection)) - _OF_CONTENTS
    if not is_new and "immutable_until" in stored.protection:
        unmet.discard(_AGING)
    if unmet:
        seen = f"asked for and not there: {', '.join(sorted(unmet))}"
        means = "chunks are archived, and kept at ACS"
        return [failed(PROTECTION, seen, "recording-worker config", means=means)]
    shown = ", ".join(f"{key} {value}" for key, value in stored.protection.items())
    return [passed(PROTECTION, shown or "none was asked for")]
