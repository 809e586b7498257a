"""`serve` as a whole: deliveries in, proven recordings out, nothing said that is secret."""

from samples.acs import DEMO_CONNECTION_STRING, Fault
from tests.azurite import KEY as STORAGE_KEY
from tests.e2e import events
from tests.e2e.world import World, check_home

KEY = "the-key-in-the-query-of-the-subscription"
ACCESS_KEY = DEMO_CONNECTION_STRING.partition("accesskey=")[2]
CANARIES = (ACCESS_KEY, STORAGE_KEY, KEY, "/v1/objects/", "?code=", "skype.com")
STORES = ("archive.", "queue.")
"""What may be said of them before the start: that they were made."""


async def test_serve_brings_every_announced_chunk_home(world: World) -> None:
    """Both schemas, every format: archived, proven, closed, deleted; SIGTERM ends with 0."""
    bodies = [world.acs.address(path.read_bytes()) for path in events.DEMO]
    originals = events.samples_of(events.documents_in(*bodies))

    async with world.running("serve") as worker:
        url = await worker.url()
        statuses = [await events.post(url, body) for body in bodies]
        await world.wait_until_settled(originals)
        code = await worker.stop()

    assert statuses == [200] * len(bodies)
    assert code == 0
    assert len(originals) == 12
    await check_home(world, originals)
    entries = await world.entries()
    assert {entry.state for entry in entries} == {"deleted"}
    assert [world.acs.reads(document) for document in originals] == [1] * 12


async def test_serve_logs_one_json_line_per_step_and_no_secret(world: World) -> None:
    """Deliveries and attempts have their line; keys, queries and locations are in none."""
    body, original = events.fresh_chunk(world.acs, "0-eus-d1-quiet")
    trouble = [Fault.status(503), Fault.cut_after(100), Fault.status(401)]
    world.acs.plan("0-eus-d1-quiet", "content", trouble)

    async with world.running(
        "serve", WORKER_WEBHOOK_KEYS=KEY, WORKER_LOG_LEVEL="debug"
    ) as worker:
        url = await worker.url()
        assert await events.post(f"{url}?code={KEY}", body) == 200
        assert await events.post(f"{url}?code=not-{KEY}", b"{") == 401
        await worker.wait_for("chunk.finished", outcome="deleted")
        await worker.stop()

    await check_home(world, {"0-eus-d1-quiet": original})
    order = [
        line["event"]
        for line in worker.lines
        if "logger" not in line and not line["event"].startswith(STORES)
    ]
    assert order[:3] == ["config.loaded", "worker.listening", "worker.started"]
    assert order[-1] == "worker.stopped"
    assert len(worker.said("delivery.accepted")) == 1
    (finished,) = worker.said("chunk.finished")
    assert finished["chunk"] == "0-eus-d1-quiet"
    assert finished["retries"] == len(trouble)
    assert finished["attempt"] == 1
    assert all({"ts", "level", "event"} <= line.keys() for line in worker.lines)
    said = (worker.err + worker.out).replace(url, "")
    assert [canary for canary in CANARIES if canary in said] == []
