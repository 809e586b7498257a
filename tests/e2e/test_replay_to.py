"""`replay --to`: saved events to a deployed endpoint; a line for each, and an honest end."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests import canaries
from tests.e2e import events, worker_process
from tests.e2e.worker_process import Ended
from tests.e2e.world import World, check_home
from tests.grid import answer, serving

EMBEDDED = pytest.mark.parametrize("stores", ["embedded"], indirect=True)
KEY = canaries.OTHER_KEY
DOCUMENT = "0-eus-d1-again"


@asynccontextmanager
async def deployed(world: World) -> AsyncIterator[str]:
    """A webhook that wants the key."""
    async with world.running("serve", WORKER_WEBHOOK_KEYS=KEY) as worker:
        yield await worker.url()


async def replay(folder: Path, *arguments: str, **settings: str) -> Ended:
    """An operator's machine has neither queue nor archive, and makes none."""
    ended = await worker_process.run(
        "replay", *arguments, environment=settings, folder=folder
    )
    assert canaries.seen(ended.out + ended.err) == []
    assert not (folder / "data").exists()
    return ended


@EMBEDDED
async def test_dead_letters_come_home_through_a_deployed_endpoint(
    world: World, tmp_path: Path
) -> None:
    """The container's folders as they are, the key from the environment."""
    body, original = events.fresh_chunk(world.acs, DOCUMENT)
    (event,) = json.loads(body)
    folder = tmp_path / "operator/RECORDINGS/2026/3/1/9"
    folder.mkdir(parents=True)
    dead = event | {"deadLetterReason": "TimeToLiveExceeded", "deliveryAttempts": 9}
    (folder / "a.json").write_text(json.dumps([dead]))

    async with deployed(world) as url:
        ended = await replay(
            tmp_path / "operator", "RECORDINGS", "--to", url, WORKER_WEBHOOK_KEYS=KEY
        )
        await world.wait_until_settled({DOCUMENT})

    await check_home(world, {DOCUMENT: original})
    assert ended.code == 0
    first, _, *end = ended.out.splitlines()
    assert first.startswith("200  a.json  1 event in Event Grid's schema: Event Grid")
    assert end == [f"to         {url}", "delivered  1"]
    (line,) = (json.loads(line) for line in ended.err.splitlines())
    assert (line["event"], line["to"], line["delivered"]) == ("replay.posted", url, 1)
    assert line["by"]


@EMBEDDED
async def test_wrong_key_needs_attention(world: World, tmp_path: Path) -> None:
    """Each line says what Event Grid would do; what was refused is still in its file."""
    folder = tmp_path / "operator"
    folder.mkdir()
    demo = str(events.sample("demo"))

    async with deployed(world) as url:
        refused = await replay(
            folder, demo, "--to", f"{url}?code={canaries.ROTATED_KEY}"
        )
        given = f"x-functions-key: {canaries.ROTATED_KEY}"
        by_header = await replay(folder, demo, "--to", url, "--header", given)

    for ended in (refused, by_header):
        assert ended.code == 3
        assert "Event Grid would send the events again, in 30 s" in ended.out
        assert "delivered" not in ended.out
        assert ended.out.splitlines()[-3:] == [
            "refused   5",
            "left out  1 of Event Grid itself",
            "next      recording-worker doctor --endpoint URL",
        ]


async def test_dry_run_says_what_would_be_posted_and_posts_nothing(
    tmp_path: Path,
) -> None:
    """The same lines, before."""
    async with serving(answer(status=200)) as server:
        url = f"{server.url}&code={KEY}"
        ended = await replay(
            tmp_path, str(events.sample("demo")), "--to", url, "--dry-run"
        )

    assert server.seen == []
    assert ended.code == 0
    assert ended.out.count("would post  ") == 5
    assert "05-batch-of-recordings.event-grid.json  4 events in Event Grid" in ended.out
    assert "not sent  5" in ended.out
    assert ended.err == ""


async def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    """Exit 1, what was not sent, and who can look closer."""
    url = f"http://127.0.0.1:1/api/events?code={KEY}"
    ended = await replay(tmp_path, str(events.sample("demo")), "--to", url)

    assert ended.code == 1
    assert "not sent  5" in ended.out
    assert ended.errors == ["http://127.0.0.1:1/api/events: connection refused"]
    assert "hint: recording-worker doctor --endpoint URL" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--to", "http://127.0.0.1:1/", "--simulate"], 2, "exclude each other"),
        (["--dry-run"], 2, "go with --to"),
        (["--header", f"X: {KEY}"], 2, "go with --to"),
        (["--to", f"http://a.example/?code={KEY}"], 1, "in the clear"),
        (["--to", f"a.example/?code={KEY}"], 1, "must be https://"),
        (["--to", "https://a.example/", "--header", KEY], 1, "--header 1 is not"),
    ],
)
async def test_what_can_not_be_meant_is_refused(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    """Before anything is sent, without the key."""
    ended = await replay(tmp_path, str(events.DEMO[0]), *arguments)

    assert ended.code == code
    (error,) = ended.errors
    assert words in error
    assert ended.out == ""
