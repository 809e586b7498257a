"""A flood of announcements of nothing delays what is true, and loses none of it."""

import asyncio
from datetime import timedelta

from tests.factories import RETENTION, a_chunk, an_announcement
from tests.unit.worker.rig import Rig
from worker.breaker import LONGEST_PAUSE
from worker.errors import SourceNotFoundError
from worker.model import Chunk, ChunkState

FLOOD = 4 * SourceNotFoundError.streak
LATER = timedelta(minutes=15)
TURNS = 6
"""Pauses that a chunk may have to wait out until the next probe is its own."""


def alone(name: str) -> Chunk:
    """The one chunk of a recording of its own."""
    return a_chunk(
        document_id=name, announcement=an_announcement(recording_id=f"of-{name}")
    )


async def test_flood_of_what_is_not_there_only_delays_what_is() -> None:
    """Its 404s pause the resource; but by turns the newest chunk probes, and opens it again."""
    rig = Rig()
    await rig.announce(*(alone(f"nowhere-{number}") for number in range(FLOOD)))
    stopping = asyncio.Event()
    working = asyncio.ensure_future(
        rig.consumer(slots=4, nudge=asyncio.Event(), cut=asyncio.Event()).run(stopping)
    )

    async def announce_truth() -> timedelta:
        await rig.clock.sleep(LATER.total_seconds())
        truth = a_chunk(
            document_id="there",
            announcement=an_announcement(recording_id="of-there"),
            received_at=rig.clock.now(),
            expires_at=rig.clock.now() + RETENTION,
        )
        await rig.put(truth)
        announced_at = rig.clock.now()
        while (await rig.queued(truth)).state is not ChunkState.DELETED:
            await rig.clock.sleep(10)
        return rig.clock.now() - announced_at

    took = await rig.drive(announce_truth())
    stopping.set()
    await rig.drive(asyncio.wait_for(working, timeout=None))

    assert took <= TURNS * LONGEST_PAUSE
    assert rig.source.unproven == []
