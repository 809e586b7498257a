"""Hostile and malformed deliveries at a running worker: right statuses, and no harm done."""

import pytest

from samples.acs import Fault, StandIn
from tests.e2e import events
from tests.e2e.events import sample
from tests.e2e.world import WatchfulStandIn, World
from worker.model import ChunkState, QueuedChunk

MALFORMED = {
    "malformed/bad-json.json": 400,
    "malformed/empty-array.event-grid.json": 400,
    "malformed/not-an-event.json": 400,
    "malformed/wrong-types.event-grid.json": 400,
    "malformed/one-in-a-good-batch.event-grid.json": 200,
}
REFUSED = (
    "hostile/foreign-host.event-grid.json",
    "hostile/path-traversal.event-grid.json",
    "hostile/plain-http.event-grid.json",
    "hostile/userinfo-host.event-grid.json",
)
FLAGGED = (
    "hostile/delete-of-another-document.event-grid.json",
    "hostile/locations-of-another-document.event-grid.json",
)
DOCUMENT = "0-eus-d1-lured"


def test_every_bad_sample_is_tried() -> None:
    """A bad sample that is added must be added here."""
    folders = (sample("hostile"), sample("malformed"))
    there = {
        f"{folder.name}/{path.name}" for folder in folders for path in folder.iterdir()
    }
    assert there == {*MALFORMED, *REFUSED, *FLAGGED}


async def test_malformed_deliveries_are_quarantined(world: World) -> None:
    """What can't be read is kept byte for byte and answered 400; what is good goes on."""
    bodies = {name: world.acs.address(sample(name).read_bytes()) for name in MALFORMED}
    good = "malformed/one-in-a-good-batch.event-grid.json"
    originals = events.samples_of(events.documents_in(bodies[good]))

    async with world.running("serve") as worker:
        url = await worker.url()
        statuses = {name: await events.post(url, bodies[name]) for name in bodies}
        await world.wait_until_settled(originals)
        assert await events.get(url.replace("/api/events", "/readyz")) == 200
        assert await worker.stop() == 0

    assert statuses == MALFORMED
    entries = await world.entries()
    assert {entry.chunk.document_id for entry in entries} == originals.keys()
    assert world.acs.deleted == originals.keys()
    quarantined = await world.objects("quarantine/")
    kept = [data for name, data in quarantined.items() if name.endswith(".json")]
    assert len(kept) == len(MALFORMED)
    whole = {bodies[name] for name, status in MALFORMED.items() if status == 400}
    assert whole < set(kept)
    reasons = [name for name in quarantined if name.endswith(".reason.txt")]
    assert len(reasons) == len(kept)
    assert worker.said("attempt.crashed") == []


async def test_hostile_deliveries_do_no_harm(world: World) -> None:
    """Accepted, then refused where they aim elsewhere, or archived and never deleted."""
    names = (*REFUSED, *FLAGGED)
    bodies = {name: world.acs.address(sample(name).read_bytes()) for name in names}
    documents = events.documents_in(*bodies.values())

    async with world.running("serve") as worker:
        url = await worker.url()
        statuses = [await events.post(url, body) for body in bodies.values()]
        await world.wait_until_settled(documents)
        assert await worker.stop() == 0

    assert statuses == [200] * len(names)
    entries = {entry.chunk.document_id: entry for entry in await world.entries()}
    for name, body in bodies.items():
        (document,) = events.documents_in(body)
        entry = entries[document]
        if name in REFUSED:
            assert (entry.state, entry.reason) == (ChunkState.DEAD, "host-not-allowed")
        else:
            assert entry.state is ChunkState.ARCHIVED
    assert world.acs.deleted == set()
    assert "DELETE" not in {seen.method for seen in world.acs.requests}
    assert not list(world.folder.rglob("*owned*"))
    assert worker.said("attempt.crashed") == []


@pytest.fixture
async def foreign(world: World) -> StandIn:
    """A server that is not on the allow-list; it would serve whatever is asked for."""
    return WatchfulStandIn(world.stores)


async def test_until_empty_reports_a_dead_chunk(world: World, foreign: StandIn) -> None:
    """Exit 3; the host that is not allowed was never asked, `status` says so too."""
    async with foreign:
        body, _ = events.fresh_chunk(foreign, DOCUMENT)
        entry = await _consumed(world, body, code=3)

    assert (entry.state, entry.reason) == (ChunkState.DEAD, "host-not-allowed")
    assert foreign.requests == []
    assert (await world.run("status")).code == 3


async def test_redirect_to_a_foreign_host_is_not_followed(
    world: World, foreign: StandIn
) -> None:
    """Not even when the source itself points there: no credential leaves."""
    async with foreign:
        body, _ = events.fresh_chunk(world.acs, DOCUMENT)
        lure = Fault.redirect_to(foreign.locations(DOCUMENT).content)
        world.acs.plan(DOCUMENT, "content", [lure.always()])
        entry = await _consumed(world, body, code=3)

    assert entry.state is ChunkState.DEAD
    assert foreign.requests == []
    assert world.acs.deleted == set()


async def test_delete_location_on_a_foreign_host_is_not_called(
    world: World, foreign: StandIn
) -> None:
    """The chunk comes home, flagged; nothing is deleted and nobody else is asked."""
    async with foreign:
        body, _ = events.fresh_chunk(world.acs, DOCUMENT)
        own, other = (
            acs.locations(DOCUMENT).delete.encode() for acs in (world.acs, foreign)
        )
        entry = await _consumed(world, body.replace(own, other), code=0)

    assert entry.state is ChunkState.ARCHIVED
    assert foreign.requests == []
    assert world.acs.deleted == set()
    (receipt,) = (await world.objects("receipts/")).values()
    assert b"delete-host-not-allowed" in receipt


async def _consumed(world: World, body: bytes, *, code: int) -> QueuedChunk:
    """Deliver, and let a job work it off; the queue's only entry."""
    async with world.running("webhook") as webhook:
        assert await events.post(await webhook.url(), body) == 200
        await webhook.stop()
    ended = await world.run("consume", "--until-empty")
    assert ended.code == code
    (entry,) = await world.entries()
    return entry
