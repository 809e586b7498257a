"""What others hear of a worker's work, by real processes and the official client."""

import hashlib
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from tests.e2e import events
from tests.e2e.worker_process import WorkerProcess
from tests.e2e.world import World
from tests.identity import identity_endpoint
from tests.topic import HANG, KEY, Event, StandInTopic
from worker.notices import ARCHIVED, DEAD_LETTERED

CRASHING = (sys.executable, str(Path(__file__).with_name("crashing_worker.py")))
EMBEDDED = pytest.mark.parametrize("stores", ["embedded"], indirect=True)
BATCH = "demo/05-batch-of-recordings.event-grid.json"
RECORDINGS = 3
FOREIGN = "hostile/foreign-host.event-grid.json"


@pytest.fixture
async def topic() -> AsyncIterator[StandInTopic]:
    async with StandInTopic() as topic:
        yield topic


@pytest.fixture
def telling(world: World, topic: StandInTopic) -> World:
    """A world whose workers tell, and whose leases and drains are short."""
    told = {"WORKER_NOTIFY": topic.endpoint, "WORKER_NOTIFY_KEY": KEY}
    hasty = {"WORKER_LEASE_SECONDS": "1", "WORKER_DRAIN_SECONDS": "1"}
    return replace(world, settings=told | hasty)


async def deliver(world: World, worker: WorkerProcess, *names: str) -> set[str]:
    """Post these samples; returns the documents that they announce."""
    url = await worker.url()
    bodies = [world.acs.address(events.sample(name).read_bytes()) for name in names]
    for body in bodies:
        assert await events.post(url, body) == 200
    return events.documents_in(*bodies)


def told(topic: StandInTopic, kind: str) -> dict[str, Event]:
    """What was told of this kind, by id: what comes twice under one id is one event."""
    return {
        event["id"]: event["data"] for event in topic.events if event["type"] == kind
    }


async def wait_for(topic: StandInTopic, *, archived: int, dead: int = 0) -> None:
    """Wait until so many were told of; samples are old, so all may be at risk besides."""
    await topic.wait_until(
        lambda: (
            len(told(topic, ARCHIVED)) >= archived
            and len(told(topic, DEAD_LETTERED)) >= dead
        )
    )


async def check_told(world: World, topic: StandInTopic) -> None:
    """Each recording was told, and what was told leads to what the archive holds."""
    held = await world.objects("recordings/", "receipts/")
    archived = told(topic, ARCHIVED).values()
    assert len(archived) == RECORDINGS
    url = world.environment.get(
        "WORKER_ARCHIVE", f"{world.folder.as_uri()}/data/archive"
    )
    for data in archived:
        assert data["complete"]
        assert data["manifestUrl"] == f"{url}/{quote(data['manifest'])}"
        folder = data["manifest"].rpartition("/")[0]
        for chunk in data["chunks"]:
            content = held[f"{folder}/{chunk['content']}"]
            assert hashlib.sha256(content).hexdigest() == chunk["sha256"]
            assert chunk["receipt"] in held


async def test_recordings_and_deaths_are_told(
    telling: World, topic: StandInTopic
) -> None:
    """Each recording once, with what its manifest says; a dead chunk, with the reason."""
    async with telling.running("serve") as worker:
        home = await deliver(telling, worker, BATCH)
        await telling.wait_until_settled(home)
        await wait_for(topic, archived=RECORDINGS)
        await check_told(telling, topic)

        await deliver(telling, worker, FOREIGN)
        await wait_for(topic, archived=RECORDINGS + 1, dead=1)
        assert await worker.stop() == 0
        assert worker.said("notify.unavailable") == []

    (dead,) = told(topic, DEAD_LETTERED).values()
    assert dead["reason"] == "host-not-allowed"
    assert len(topic.ids) == len(set(topic.ids))
    incomplete = [d for d in told(topic, ARCHIVED).values() if not d["complete"]]
    assert [data["missing"][0]["reason"] for data in incomplete] == ["host-not-allowed"]


@EMBEDDED
@pytest.mark.parametrize(
    ("step", "nth"),
    [
        ("after_manifest", 1),
        ("after_checksums", 2),
        ("after_notice", 1),
        ("after_notice", 2),
        ("after_publish", 1),
        ("before_settle", 1),
    ],
)
async def test_worker_killed_at_any_step_leaves_nothing_untold(
    telling: World, topic: StandInTopic, step: str, nth: int
) -> None:
    """kill -9 before or behind the notice, or when it was told and nobody noted it."""
    async with telling.running(step, str(nth), "serve", command=CRASHING) as worker:
        home = await deliver(telling, worker, BATCH)
        assert await worker.ended() == -signal.SIGKILL
    async with telling.running("serve") as worker:
        await telling.wait_until_settled(home)
        assert await worker.stop() == 0

    await check_told(telling, topic)


@EMBEDDED
async def test_topic_that_hangs_delays_nothing_but_notices(
    telling: World, topic: StandInTopic
) -> None:
    """Chunks come home, are settled and deleted; the worker stops; the next one tells."""
    topic.always = HANG
    async with telling.running("serve") as worker:
        home = await deliver(telling, worker, BATCH)
        await telling.wait_until_settled(home)
        await topic.wait_for(posts=1)
        assert await worker.stop() == 0
    assert telling.acs.deleted == home
    assert topic.events == []

    topic.always = None
    ended = await telling.run("consume", "--until-empty")

    assert ended.code == 0
    await check_told(telling, topic)


@EMBEDDED
async def test_identity_is_shown_to_the_topic_under_tls(
    world: World, tmp_path: Path
) -> None:
    """Without a key: a token of this machine's identity, for Event Grid and nobody else."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with (
        identity_endpoint() as identity,
        StandInTopic(tokens=identity.issued, ssl_context=context) as topic,
    ):
        settings = {
            "WORKER_NOTIFY": topic.endpoint,
            "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
            **identity.variables,
        }
        telling = replace(world, settings=settings)
        async with telling.running("serve") as worker:
            await deliver(telling, worker, BATCH)
            await wait_for(topic, archived=RECORDINGS)
            assert await worker.stop() == 0

    await check_told(telling, topic)
    assert identity.asked == ["https://eventgrid.azure.net"]
