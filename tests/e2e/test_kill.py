"""kill -9 at every step of the work, and what the next worker makes of it."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from tests.e2e import events
from tests.e2e.worker_process import WorkerProcess
from tests.e2e.world import World, check_home
from worker.model import ChunkState

CRASHING = (sys.executable, str(Path(__file__).with_name("crashing_worker.py")))
SIX_CHUNKS = "demo/02-six-chunks.event-grid.json"
BATCH = "demo/05-batch-of-recordings.event-grid.json"
STEPS = [
    ("before_put", 1),
    ("after_put", 2),
    ("after_lease", 1),
    ("after_download", 9),
    ("after_commit", 12),
    ("after_receipt", 6),
    ("after_manifest", 1),
    ("after_checksums", 3),
    ("after_delete", 8),
    ("after_source_deleted_record", 7),
    ("before_settle", 1),
    ("before_settle", 9),
    ("after_settle", 4),
]


async def deliver(worker: WorkerProcess, bodies: Sequence[bytes]) -> list[bytes]:
    """Post each; those that got no 200, which Event Grid would send again."""
    url = await worker.url()
    return [body for body in bodies if not await _is_acknowledged(url, body)]


async def _is_acknowledged(url: str, body: bytes) -> bool:
    try:
        return await events.post(url, body) == 200
    except aiohttp.ClientError:
        return False


def deliveries(world: World) -> list[bytes]:
    """Four recordings, ten chunks."""
    files = [events.sample(name) for name in (SIX_CHUNKS, BATCH)]
    return [world.acs.address(path.read_bytes()) for path in files]


async def killed_at(
    step: str, nth: int, world: World, bodies: Sequence[bytes], *, verb: str = "serve"
) -> list[bytes]:
    """Have a worker that is given these die there; those that got no 200."""
    async with world.running(step, str(nth), verb, command=CRASHING) as worker:
        unheard = await deliver(worker, bodies)
        assert await worker.ended() == -signal.SIGKILL
    return unheard


@pytest.mark.parametrize(("step", "nth"), STEPS)
async def test_worker_killed_at_any_step_leaves_nothing_undone(
    hasty: World, step: str, nth: int
) -> None:
    """The next worker ends in the same state: each chunk home once, deletes after proof."""
    bodies = deliveries(hasty)
    originals = events.samples_of(events.documents_in(*bodies))

    unheard = await killed_at(step, nth, hasty, bodies)
    async with hasty.running("serve") as worker:
        assert await deliver(worker, unheard) == []
        await hasty.wait_until_settled(originals)
        assert await worker.stop() == 0

    await check_home(hasty, originals)
    entries = await hasty.entries()
    assert {entry.state for entry in entries} == {ChunkState.DELETED}
    assert len(entries) == len(originals)
    assert worker.said("attempt.crashed") == []


async def test_workers_killed_one_after_the_other_leave_nothing_undone(
    hasty: World,
) -> None:
    """Each dies further on; the last one finds a chunk half-way at every step."""
    bodies = deliveries(hasty)
    originals = events.samples_of(events.documents_in(*bodies))
    unheard = bodies

    for step, nth in (("after_commit", 5), ("after_receipt", 3), ("after_delete", 2)):
        unheard = await killed_at(step, nth, hasty, unheard)
    async with hasty.running("serve") as worker:
        assert await deliver(worker, unheard) == []
        await hasty.wait_until_settled(originals)
        assert await worker.stop() == 0

    await check_home(hasty, originals)
