"""`doctor --endpoint` at a real webhook: what Event Grid would say, without touching anything."""

import json
from pathlib import Path

import pytest

from tests import canaries
from tests.e2e import worker_process
from tests.e2e.worker_process import Ended
from tests.e2e.world import World

EMBEDDED = pytest.mark.parametrize("stores", ["embedded"], indirect=True)
KEY = canaries.OTHER_KEY
KEYS = f"{canaries.ROTATED_KEY},{KEY}"
TOPIC = "/subscriptions/1/providers/Microsoft.Communication/communicationServices/calls"


async def examine(folder: Path, *arguments: str, **settings: str) -> Ended:
    """From an operator's machine, where nothing is and nothing stays."""
    ended = await worker_process.run(
        "doctor", *arguments, environment=settings, folder=folder
    )
    assert canaries.seen(ended.out + ended.err) == []
    return ended


@EMBEDDED
async def test_webhook_of_ours_is_fine_and_nothing_comes_of_it(
    world: World, tmp_path: Path
) -> None:
    """By the key in the URL and by that of the environment; no chunk, no quarantine."""
    folder = tmp_path / "operator"
    folder.mkdir()
    async with world.running("webhook", WORKER_WEBHOOK_KEYS=KEYS) as worker:
        url = await worker.url()
        people = await examine(folder, "--endpoint", f"{url}?code={KEY}")
        machine = await examine(
            folder, "--endpoint", url, "--json", WORKER_WEBHOOK_KEYS=KEY
        )
        await worker.stop()

    assert (people.code, machine.code) == (0, 0)
    lines = people.out.splitlines()
    assert lines[0] == url
    assert [line.split("  ")[0].strip() for line in lines[1:]] == ["note", *["ok"] * 8]
    told = json.loads(machine.out)
    assert (told["of"], told["needs_attention"]) == (url, False)
    assert {each["grade"] for each in told["findings"]} == {"ok", "note"}
    assert await world.entries() == []
    assert await world.objects("quarantine/") == {}
    assert len(worker.said("delivery.accepted", outcome="ignored")) == 4
    assert list(folder.iterdir()) == []


@EMBEDDED
async def test_key_that_is_not_known_there_needs_attention(
    world: World, tmp_path: Path
) -> None:
    """It is said for every schema, and what to compare."""
    async with world.running("webhook", WORKER_WEBHOOK_KEYS=KEY) as worker:
        url = await worker.url()
        wrong = f"x-functions-key: {canaries.ROTATED_KEY}"
        ended = await examine(tmp_path, "--endpoint", url, "--header", wrong)
        await worker.stop()

    assert ended.code == 3
    assert "not ok  handshake, Event Grid's schema  answered 503" in ended.out
    assert "Event Grid would not create the subscription" in ended.out
    assert "hint: recording-worker answers so while" in ended.out
    assert "delivery.refused" in ended.out


@EMBEDDED
async def test_topic_that_is_not_taken_there_can_be_named(
    world: World, tmp_path: Path
) -> None:
    """Without its topic a handshake gets no code; the settings may say it, or an option."""
    async with world.running("webhook", WORKER_EVENT_TOPICS=TOPIC) as worker:
        url = await worker.url()
        strange = await examine(tmp_path, "--endpoint", url, "--schema", "eventgrid")
        named = await examine(tmp_path, "--endpoint", url, "--topic", TOPIC.upper())
        known = await examine(tmp_path, "--endpoint", url, WORKER_EVENT_TOPICS=TOPIC)
        await worker.stop()

    assert (strange.code, named.code, known.code) == (3, 0, 0)
    assert "say --topic" in strange.out
    assert "CloudEvents" not in strange.out


async def test_nobody_there_is_exit_1(tmp_path: Path) -> None:
    """What was seen, and where to look."""
    ended = await examine(tmp_path, "--endpoint", f"http://127.0.0.1:1/?code={KEY}")

    assert ended.code == 1
    assert "not ok  connection  connection refused" in ended.out
    assert "WORKER_LISTEN" in ended.out


async def test_endpoint_has_to_be_named(tmp_path: Path) -> None:
    """And to be one."""
    unnamed = await examine(tmp_path)
    odd = await examine(tmp_path, "--endpoint", f"a.example?code={KEY}")

    assert (unnamed.code, odd.code) == (2, 1)
    assert odd.errors == [
        "the endpoint's URL must be https://HOST/api/events, with its query"
    ]
