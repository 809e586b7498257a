"""`doctor` where the worker runs, and at a real webhook, without touching anything."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from samples.acs import DEMO_CONNECTION_STRING
from tests import canaries
from tests.e2e import events, worker_process
from tests.e2e.stores import files_in
from tests.e2e.worker_process import Ended
from tests.e2e.world import KEPT, World
from tests.grid import serving

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
    assert [line.split("  ")[0] for line in lines[1:]] == ["note", *["ok"] * 8]
    told = json.loads(machine.out)
    columns = {
        line.rindex(each["seen"])
        for line, each in zip(lines[1:], told["findings"], strict=True)
        if each["seen"] in line
    }
    assert len(columns) == 1
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
    assert "not ok   handshake, Event Grid's schema  answered 503" in ended.out
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
    assert re.search(
        r"^not ok   connection +connection refused", ended.out, re.MULTILINE
    )
    assert "WORKER_LISTEN" in ended.out


async def test_endpoint_has_to_be_one(tmp_path: Path) -> None:
    """And options that are about it go with it."""
    odd = await examine(tmp_path, "--endpoint", f"a.example?code={KEY}")
    unnamed = await examine(tmp_path, "--topic", TOPIC)
    both = await examine(tmp_path, "--endpoint", "https://a.b/", "--dead-letters", "x")

    assert odd.code == 1
    assert odd.errors == [
        "the endpoint's URL must be https://HOST/api/events, with its query"
    ]
    assert (unnamed.code, both.code) == (2, 2)
    assert "go with --endpoint" in unnamed.err
    assert "exclude each other" in both.err


async def test_findings_are_told_as_they_come(tmp_path: Path) -> None:
    """Who looks at an endpoint that says nothing need not wait to see what was found."""
    answers = asyncio.Event()

    async def mute(_request: web.BaseRequest, _body: bytes) -> web.Response:
        await answers.wait()
        return web.Response()

    async with (
        serving(mute) as server,
        worker_process.running(
            "doctor", "--endpoint", server.url, environment={}, folder=tmp_path
        ) as running,
    ):
        await running.wait_until(lambda: "somebody listens" in running.out)
        assert "handshake" not in running.out
        answers.set()
        code = await running.ended()

    assert code == 3
    assert "handshake" in running.out


async def test_worker_that_is_well_needs_nothing(world: World) -> None:
    """For people and for machines; a line for each check, and no recording is touched."""
    body, _ = events.fresh_chunk(world.acs, "0-eus-d1-checked")
    (world.folder / "saved.json").write_bytes(body)
    assert (await world.run("replay", "saved.json")).code == 0
    before = await world.objects(*KEPT)

    people = await world.run("doctor")
    machine = await world.run("doctor", "--json")

    assert (people.code, machine.code) == (0, 0)
    assert canaries.seen(people.out + machine.out) == []
    told = json.loads(machine.out)
    assert (told["of"], told["needs_attention"]) == ("recording-worker serve", False)
    checks = {each["check"] for each in told["findings"]}
    assert checks >= {
        *("settings", "identity", "clock", "archive write", "archive overwrite"),
        *("archive read", "archive protection", "queue", "dead letters", "handshake"),
    }
    first, *lines = people.out.splitlines()
    assert first == "recording-worker serve"
    assert {line[:7].strip() for line in lines} <= {"ok", "note", "skipped", ""}
    assert await world.objects(*KEPT) == before
    assert await world.objects("probe/") != {}
    assert (await world.stores.messages(), await world.stores.poisoned()) == (0, 0)


async def test_worker_with_a_wrong_key_needs_attention(world: World) -> None:
    """What is wrong, what comes of it, and the command that mends it."""
    endpoint = world.acs.connection_string.partition(";")[0]
    wrong = {"AZURE_COMMUNICATION_CONNECTION_STRING": f"{endpoint};accesskey=eA=="}

    ended = await replace(world, settings=wrong).run("doctor")

    assert ended.code in {1, 3}  # where nothing has started yet, there is nothing
    assert "answered 401: not the key or token of contoso: no chunk comes home" in (
        ended.out
    )
    assert "hint: az communication list-key --name contoso" in ended.out


async def test_settings_that_are_wrong_are_exit_78(tmp_path: Path) -> None:
    """As for every verb; each is a line of its own."""
    people = await examine(tmp_path, WORKER_MAX_CHUNKS="none")
    machine = await examine(tmp_path, "--json", "--for", "webhook", WORKER_ARCHVE="x")

    assert (people.code, machine.code) == (78, 78)
    assert "WORKER_MAX_CHUNKS: must be a whole number" in people.out
    assert json.loads(machine.out)["findings"][0]["check"] == "settings"
    assert files_in(tmp_path) == {}


async def test_dead_letters_can_be_named(tmp_path: Path) -> None:
    """By the URL of a container, and of nothing else; it may bear a signature."""
    url = f"ftp://a.b/?sig={canaries.LOCATION_TOKEN}"
    given = {"AZURE_COMMUNICATION_CONNECTION_STRING": DEMO_CONNECTION_STRING}
    given["WORKER_SOURCE_HOSTS"] = "127.0.0.1:1"

    ended = await examine(tmp_path, "--dead-letters", url, **given)

    assert ended.code == 1
    (error,) = ended.errors
    assert error.startswith("the URL of the dead letters is not https://")
