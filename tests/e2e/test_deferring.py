"""Deliveries that are answered before they are sorted: kill -9 at any step loses none."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from random import Random

import pytest

from handlers.deferring import CROWD, LONG_BYTES
from tests.e2e import events
from tests.e2e.test_acks import Sender
from tests.e2e.test_kill import deliver, deliveries, killed_at
from tests.e2e.worker_process import PATIENCE_SECONDS
from tests.e2e.world import LOOK_AGAIN_SECONDS, World, check_home
from tests.factories import a_deferred
from worker.clock import SystemClock
from worker.model import SORTED_WITHIN
from worker.queues.sqlite import SqliteQueue

pytestmark = pytest.mark.parametrize("stores", ["embedded"], indirect=True)
"""A Storage Queue defers nothing."""


def long_ones(world: World) -> list[bytes]:
    """Four recordings, ten chunks, in deliveries that nobody sorts at once."""
    return [body.ljust(LONG_BYTES + 1) for body in deliveries(world)]


async def leave_unsorted(
    world: World, bodies: Sequence[bytes], *, ago: timedelta = timedelta(0)
) -> None:
    """As a webhook does that dies before it sorts them."""
    clock = SystemClock()
    async with SqliteQueue(
        world.folder / "data/queue.db",
        clock=clock,
        worker="gone",
        random=Random(1),  # noqa: S311 - jitter
    ) as queue:
        for body in bodies:
            await queue.defer(a_deferred(body, received_at=clock.now() - ago))


async def wait_until_sorted(world: World) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), world.queue() as queue:
        while (await queue.counts(at_risk_within=timedelta(0))).deferred:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


@pytest.mark.parametrize(
    ("step", "nth"),
    [
        ("after_defer", 2),
        ("after_take", 1),
        ("after_put", 1),
        ("before_drop", 1),
    ],
)
async def test_worker_killed_at_any_step_leaves_nothing_unsorted(
    hasty: World, step: str, nth: int
) -> None:
    """What was acknowledged comes home by the next worker, each chunk once."""
    bodies = long_ones(hasty)
    originals = events.samples_of(events.documents_in(*bodies))

    unheard = await killed_at(step, nth, hasty, bodies, verb="webhook")
    async with hasty.running("serve") as worker:
        assert await deliver(worker, unheard) == []
        await wait_until_sorted(hasty)
        await hasty.wait_until_settled(originals)
        assert await worker.stop() == 0

    await check_home(hasty, originals)
    assert len(await hasty.entries()) == len(originals)


async def test_consumer_sorts_what_a_webhook_left(world: World) -> None:
    """A job that empties the queue, too: what waits unsorted is of the queue."""
    bodies = long_ones(world)
    await leave_unsorted(world, bodies)

    ended = await world.run("consume", "--until-empty")

    assert ended.code == 0
    await check_home(world, events.samples_of(events.documents_in(*bodies)))


@pytest.mark.parametrize(
    ("ago", "code", "told"),
    [
        (timedelta(0), 0, "deferred  2 deliveries since"),
        (SORTED_WITHIN + timedelta(minutes=1), 3, "does a worker run?"),
    ],
)
async def test_status_tells_of_what_is_not_sorted(
    world: World, ago: timedelta, code: int, told: str
) -> None:
    """Nothing else counts its chunks."""
    await leave_unsorted(world, long_ones(world), ago=ago)

    ended = await world.run("status")

    assert ended.code == code
    assert told in ended.out
    assert ("hint: recording-worker consume --until-empty" in ended.err) == bool(code)


async def test_kill_in_a_flood_loses_no_acknowledged_delivery(hasty: World) -> None:
    """Some are sorted and some are not: every 200 is kept."""
    sender = Sender(hasty, connections=4 * CROWD)
    for _ in range(2):
        wanted = len(sender.acknowledged) + 500
        async with hasty.running("webhook") as worker:
            async with sender.sending(await worker.url()):
                await sender.wait_for_acks(wanted)
                worker.kill()
            await worker.ended()
        assert worker.said("delivery.deferred")

    async with hasty.running("webhook") as worker:
        await wait_until_sorted(hasty)
        assert await worker.stop() == 0

    kept = [entry.chunk.document_id for entry in await hasty.entries()]
    assert len(set(kept)) == len(kept)
    assert sender.acknowledged <= set(kept)
