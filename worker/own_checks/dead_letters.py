"""Whether Event Grid has a place for what it gives up, and what lies there.

Whether a subscription names it is told by Azure's management alone: see the hint.
"""

from collections.abc import Sequence
from dataclasses import replace

from worker.errors import ArchiveForbiddenError, WorkerError
from worker.ops.doctor import Finding, failed, noted, passed, skipped
from worker.own_checks.deployment import Deployment
from worker.storage_errors import create_command
from worker.storage_places import NoPlaceError, Place, Service, parse

CHECK = "dead letters"
USUAL_NAME = "dead-letters"
"""As deploy/event-subscription.json has it."""
SAY = "recording-worker doctor --dead-letters https://ACCOUNT.blob.core.windows.net/dead-letters"


class DeadLettersUrlError(WorkerError):
    """What was given is no container's URL."""

    reason = "dead-letters-url"
    hint = SAY


def place_of(url: str) -> Place:
    """The container of that URL. Raises DeadLettersUrlError, which never quotes it."""
    try:
        return parse(url, Service.BLOB)
    except NoPlaceError as error:
        raise DeadLettersUrlError(f"the URL of the dead letters {error}") from None


async def dead_letters(deployment: Deployment) -> Sequence[Finding]:
    """The container that was named, or that of the usual name beside the archive."""
    place = deployment.dead_letters or _usual(deployment)
    if place is None:
        return [skipped(CHECK, "where they are is not known here", SAY)]
    # Start-up cost: the SDK is for those who use it.
    from worker.archives.dead_letters import waiting
    from worker.storage_clients import open_identity

    account = deployment.settings.storage_account
    try:
        async with open_identity(account) as identity:
            found = await waiting(place, identity)
    except ArchiveForbiddenError as error:
        return [_no_container(deployment, place, error)]
    if not found.blobs:
        return [passed(CHECK, f"none waits in {place.url}")]
    since = f"{found.oldest:%Y-%m-%d %H:%M}Z" if found.oldest else "?"
    seen = f"{found.blobs} in {place.url}, the oldest of {since}"
    means = "chunks that nobody has fetched, gone from ACS 24 h after the call"
    return [failed(CHECK, seen, f"recording-worker replay {place.url}", means=means)]


def _usual(deployment: Deployment) -> Place | None:
    """A signature for another container opens none."""
    archive = deployment.settings.archive_place
    if archive is None or archive.sas:
        return None
    return replace(archive, name=USUAL_NAME, prefix="")


def _no_container(
    deployment: Deployment, place: Place, error: ArchiveForbiddenError
) -> Finding:
    if error.hint != create_command(place) or deployment.dead_letters:
        return failed(CHECK, str(error), error.hint or SAY)
    seen = f"no container {place.name} in {place.account}: what Event Grid gives up is lost"
    return noted(CHECK, f"{seen}, unless it has another one", error.hint)
