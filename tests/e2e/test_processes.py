"""`webhook` and `consume` as processes of their own, on one queue and one archive."""

from tests.e2e import events
from tests.e2e.world import World, check_home


async def test_consumers_share_what_the_webhook_queued(world: World) -> None:
    """A webhook and two consumers: six chunks come home, each fetched by one of the two."""
    body = world.acs.address(events.DEMO[1].read_bytes())
    originals = events.samples_of(events.documents_in(body))
    half = str(len(originals) // 2)
    world.acs.sends_contents.clear()

    async with (
        world.running("webhook") as webhook,
        world.running("consume", WORKER_INSTANCE="one", WORKER_MAX_CHUNKS=half) as one,
        world.running("consume", WORKER_INSTANCE="two", WORKER_MAX_CHUNKS=half) as two,
    ):
        url = await webhook.url()
        await one.wait_for("worker.started")
        await two.wait_for("worker.started")
        assert await events.post(url, body) == 200
        # No content is sent before all are asked for: each holds its half by then.
        for document in originals:
            await world.acs.wait_for_read(document)
        world.acs.sends_contents.set()
        await world.wait_until_settled(originals)
        codes = [await worker.stop() for worker in (webhook, one, two)]

    assert codes == [0, 0, 0]
    await check_home(world, originals)
    assert [world.acs.reads(document) for document in originals] == [1] * 6
    assert webhook.said("chunk.finished") == []
    assert one.said("chunk.finished")
    assert two.said("chunk.finished")


async def test_webhook_alone_fetches_nothing(world: World) -> None:
    """It queues, answers its probes, and leaves the source to the consumers."""
    body = world.acs.address(events.DEMO[1].read_bytes())

    async with world.running("webhook") as webhook:
        url = await webhook.url()
        assert await events.post(url, body) == 200
        assert await events.get(url.replace("/api/events", "/livez")) == 200
        assert await events.get(url.replace("/api/events", "/readyz")) == 200
        assert await webhook.stop() == 0

    assert world.acs.requests == []
    assert {entry.state for entry in await world.entries()} == {"pending"}


async def test_consume_until_empty_ends_by_itself(world: World) -> None:
    """A job: what is queued comes home, then it exits with 0; with nothing to do, at once."""
    body = world.acs.address(events.DEMO[1].read_bytes())
    originals = events.samples_of(events.documents_in(body))
    async with world.running("webhook") as webhook:
        assert await events.post(await webhook.url(), body) == 200
        await webhook.stop()

    ended = await world.run("consume", "--until-empty")
    again = await world.run("consume", "--until-empty")

    assert (ended.code, again.code) == (0, 0)
    await check_home(world, originals)
    assert [world.acs.reads(document) for document in originals] == [1] * 6
