"""Whether Event Grid has a place for what it gives up, and what lies there.

Whether a subscription names it is told by Azure's management alone: see the hint.
"""

import heapq
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime

from worker import opening
from worker.archives.letter_blobs import LetterBlobs, LettersUnavailableError
from worker.errors import WorkerError
from worker.model import Letter
from worker.ops.ahead import ahead
from worker.ops.doctor import Finding, failed, noted, passed, skipped
from worker.ops.letters import is_known
from worker.own_checks.deployment import Deployment
from worker.storage_clients import open_identity
from worker.storage_errors import create_command
from worker.storage_places import NoPlaceError, Place, Service, parse

CHECK = "dead letters"
USUAL_NAME = "dead-letters"
"""As deploy/event-subscription.json has it."""
MOST = 1000
"""Of the newest so many it is looked up whether they were replayed."""
SAY = "recording-worker doctor --dead-letters https://ACCOUNT.blob.core.windows.net/dead-letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What nobody has replayed of the newest MOST."""

    blobs: int
    oldest: datetime | None


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


def place_for(deployment: Deployment) -> Place | None:
    """Where they are looked for; None: nobody said where they are."""
    return deployment.dead_letters or _usual(deployment)


async def dead_letters(deployment: Deployment) -> Sequence[Finding]:
    """The container that was named, or that of the usual name beside the archive."""
    place = place_for(deployment)
    if place is None:
        return [skipped(CHECK, "where they are is not known here", SAY)]
    try:
        found = await _waiting(deployment, place)
    except LettersUnavailableError as error:
        return [_unread(deployment, place, error)]
    if found.oldest is None:
        return [passed(CHECK, f"none waits in {place.url}")]
    seen = f"{found.blobs} in {place.url}, the oldest of {found.oldest:%Y-%m-%d %H:%M}Z"
    means = "chunks that nobody has fetched, gone from ACS 24 h after the call"
    hint = f"recording-worker replay {place.url} --all"
    return [failed(CHECK, seen, hint, means=means)]


async def _waiting(deployment: Deployment, place: Place) -> Waiting:
    async with AsyncExitStack() as stack:
        identity = await stack.enter_async_context(
            open_identity(deployment.settings.storage_account)
        )
        letters = await stack.enter_async_context(
            LetterBlobs(
                place,
                identity,
                clock=deployment.clock,
                random=random.SystemRandom(),
            )
        )
        newest = await _newest(letters)
        # The archive knows what was replayed.
        known = opening.open_known_archive(deployment.settings)
        memory = await stack.enter_async_context(known) if newest else None

        async def is_replayed(letter: Letter) -> bool:
            return await is_known(memory, letters.container, letter)

        # One after the other, so many would take longer than a check may.
        written = [
            letter.written_at
            async for letter, replayed in ahead(newest, is_replayed)
            if not replayed
        ]
    return Waiting(blobs=len(written), oldest=min(written, default=None))


async def _newest(letters: LetterBlobs) -> Sequence[Letter]:
    """At most MOST; no more are held."""
    kept: list[tuple[datetime, str, Letter]] = []
    async for letter in letters.written(since=None, until=None):
        heapq.heappush(kept, (letter.written_at, letter.name, letter))
        if len(kept) > MOST:
            heapq.heappop(kept)
    return [letter for *_, letter in kept]


def _usual(deployment: Deployment) -> Place | None:
    """A signature for another container opens none."""
    archive = deployment.settings.archive_place
    if archive is None or archive.sas:
        return None
    return replace(archive, name=USUAL_NAME, prefix="")


def _unread(
    deployment: Deployment, place: Place, error: LettersUnavailableError
) -> Finding:
    is_absent = " container list " in (error.hint or "")
    if not is_absent or deployment.dead_letters:
        return failed(CHECK, str(error), error.hint or SAY)
    seen = f"no container {place.name} in {place.account}: what Event Grid gives up is lost"
    return noted(CHECK, f"{seen}, unless it has another one", create_command(place))
