"""`replay URL`: dead letters from their container, into the queue or to an endpoint."""

import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from azure.storage.blob.aio import ContainerClient

from tests import canaries
from tests.azurite import Azurite
from tests.e2e import events
from tests.e2e.events import Original
from tests.e2e.worker_process import Ended
from tests.e2e.world import World, check_home

CRASHING = (sys.executable, str(Path(__file__).with_name("crashing_worker.py")))
ADDED = {"deadLetterReason": "TimeToLiveExceeded", "deliveryAttempts": 9}
FOLDER = "RECORDINGS/2026/3/1/9"
KEY = canaries.OTHER_KEY
pytestmark = pytest.mark.timeout(120)


class Letters:
    """A container of dead letters, whose account the world may or may not be in."""

    def __init__(self, azurite: Azurite, client: ContainerClient) -> None:
        self.url = azurite.container("letters")
        self.settings = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string}
        self._client = client

    async def put(self, name: str, document: object) -> None:
        await self._client.upload_blob(f"{FOLDER}/{name}", json.dumps(document))

    async def names(self) -> list[str]:
        return [name async for name in self._client.list_blob_names()]


@pytest.fixture
async def letters(own_account: Azurite) -> AsyncIterator[Letters]:
    text = own_account.connection_string
    async with ContainerClient.from_connection_string(text, "letters") as client:
        await client.create_container()
        yield Letters(own_account, client)


async def fill(world: World, letters: Letters) -> Mapping[str, Original]:
    """A dead letter in each of the three shapes, by name."""
    originals = {}
    for shape in ("eventgrid", "cloudevents", "namespace"):
        document = f"0-eus-d1-{shape}"
        body, original = events.fresh_chunk(world.acs, document)
        originals[document] = original
        (event,) = json.loads(body)
        await letters.put(f"{shape}.json", [in_shape(event, shape)])
    return originals


def in_shape(event: dict[str, object], shape: str) -> dict[str, object]:
    if shape == "eventgrid":
        return event | ADDED
    lowered = {name.lower(): value for name, value in ADDED.items()}
    cloud = {
        "specversion": "1.0",
        "id": event["id"],
        "type": event["eventType"],
        "source": event["topic"],
        "subject": event["subject"],
        "time": event["eventTime"],
        "data": event["data"],
    }
    if shape == "cloudevents":
        return cloud | lowered
    return {"deadLetterProperties": lowered, "event": cloud}


async def replay(world: World, letters: Letters, *arguments: str) -> Ended:
    ended = await world.run("replay", *arguments, **letters.settings)
    assert canaries.seen(ended.out + ended.err) == []
    return ended


async def test_dead_letters_are_queued_once_and_come_home(
    world: World, letters: Letters
) -> None:
    """Of all three shapes; a second run passes them by, and the blobs stay."""
    originals = await fill(world, letters)
    folder = f"{letters.url}/RECORDINGS"
    before = await letters.names()

    first = await replay(world, letters, folder, "--since", "1h")
    nowhere = await replay(world, letters, f"{letters.url}/NOBODY")
    dry = await replay(world, letters, folder, "--dry-run", "--again")
    second = await replay(world, letters, folder, "--json")
    async with world.running("serve"):
        await world.wait_until_settled(originals)

    assert (dry.code, dry.out.count("would-replay  ")) == (0, 3)
    assert (nowhere.code, nowhere.err) == (0, "")
    assert nowhere.out == "nothing to replay: no dead letter is meant\n"
    assert (first.code, first.out.count("replayed      ")) == (0, 3)
    assert "\nreplayed  3 to the queue\nchunks    3\n" in first.out
    (line,) = [json.loads(line) for line in first.err.splitlines()]
    assert (line["event"], line["replayed"]) == ("letters.replayed", 3)
    assert line["by"]
    outcomes = [json.loads(line)["outcome"] for line in second.out.splitlines()]
    assert (second.code, outcomes) == (0, ["known"] * 3)
    await check_home(world, originals)
    assert await letters.names() == before


async def test_replay_goes_on_after_a_kill(world: World, letters: Letters) -> None:
    """Killed behind the queue and before the record, or behind that: all come home, once."""
    originals = await fill(world, letters)
    for point in ("after_put", "after_replayed_record"):
        async with world.running(
            *(point, "1", "replay", f"{letters.url}/RECORDINGS"),
            command=CRASHING,
            **letters.settings,
        ) as killed:
            assert await killed.ended() == -signal.SIGKILL

    again = await replay(world, letters, f"{letters.url}/RECORDINGS")
    async with world.running("serve"):
        await world.wait_until_settled(originals)

    assert again.code == 0
    assert "known     1, see --again" in again.out
    await check_home(world, originals)


async def test_what_is_no_event_needs_attention(world: World, letters: Letters) -> None:
    """It is kept in quarantine, told, and tried again by the next run; the others are taken."""
    await fill(world, letters)
    await letters.put("broken.json", "no event at all")

    for replayed in (3, 0):
        ended = await replay(world, letters, letters.url, "--all")
        assert ended.code == 3
        assert f"refused       {FOLDER}/broken.json" in ended.out
        assert ("replayed  3 to the queue" in ended.out) is bool(replayed)
        assert "left      1" in ended.out or "left   1" in ended.out
    assert len(await world.stores.names("quarantine/")) == 2


@pytest.mark.parametrize("stores", ["embedded"], indirect=True)
async def test_dead_letters_go_to_a_deployed_endpoint(
    world: World, letters: Letters
) -> None:
    """With --to, and remembered all the same where there is an archive."""
    originals = await fill(world, letters)
    async with world.running("serve", WORKER_WEBHOOK_KEYS=KEY) as worker:
        url = await worker.url()
        refused = await replay(
            *(world, letters, letters.url, "--all"),
            *("--to", f"{url}?code={canaries.ROTATED_KEY}"),
        )
        sent = await replay(
            world, letters, letters.url, "--all", "--to", f"{url}?code={KEY}"
        )
        known = await replay(
            *(world, letters, letters.url, "--all", "--json"),
            *("--to", f"{url}?code={KEY}"),
        )
        await world.wait_until_settled(originals)

    assert (refused.code, refused.out.count("refused  ")) == (3, 3)
    assert (sent.code, f"replayed  3 to the {url}" in sent.out) == (0, True)
    assert known.out.count('"known"') == 3
    await check_home(world, originals)


@pytest.mark.parametrize("stores", ["embedded"], indirect=True)
async def test_what_can_not_be_meant_is_refused(world: World, letters: Letters) -> None:
    """All of a container must be said; a container is no file."""
    demo = str(events.DEMO[0])
    for arguments, words in (
        ([letters.url], "say which: a prefix in the URL, --since, --until, or --all"),
        ([f"{letters.url}/A", "--all"], "--all goes with no prefix"),
        ([letters.url, demo], "one container at a time"),
        ([letters.url, "--simulate"], "--simulate goes with files"),
        ([f"{letters.url}?code={KEY}"], "has a query that is no shared access"),
        ([demo, "--since", "1h"], "go with a container's URL"),
        ([demo, "--json"], "--dry-run and --json go with --to, or a container"),
    ):
        ended = await replay(world, letters, *arguments)
        assert (ended.code, ended.out) == (2, "")
        assert words in ended.err


@pytest.mark.parametrize("stores", ["embedded"], indirect=True)
async def test_embedded_queue_stands_in_for_no_real_one(
    world: World, letters: Letters
) -> None:
    """From a laptop without settings nothing is queued where no worker looks."""
    await fill(world, letters)

    ended = await world.run(
        *("replay", letters.url, "--all"),
        **letters.settings,
        WORKER_SOURCE_HOSTS=".asm.skype.com",
    )

    assert ended.code == 78
    assert "WORKER_QUEUE: must be set" in ended.err
    assert not (world.folder / "data").exists()
