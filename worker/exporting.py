"""Wires the containers of the user's own storage that ACS exports to."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.byos import NO_EXPORTS, Exports
from worker.clock import SystemClock
from worker.settings import Settings


@asynccontextmanager
async def open_exports(settings: Settings) -> AsyncIterator[Exports]:
    """The containers that may be read; none unless the settings say `index`."""
    if settings.byos != "index":
        yield NO_EXPORTS
        return
    # Start-up cost: the SDK is for those who use it.
    from worker.archives.customer_blobs import CustomerBlobs
    from worker.storage_clients import open_identity

    async with (
        open_identity(settings.storage_account) as identity,
        CustomerBlobs(
            settings.byos_places,
            identity,
            clock=SystemClock(),
            random=random.SystemRandom(),
        ) as blobs,
    ):
        yield blobs
