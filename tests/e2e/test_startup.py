"""Starting: every problem of the settings at once, dangerous ones refused; keys at the door."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e import events, worker_process
from tests.e2e.stores import files_in
from tests.e2e.world import World, check_home

CONFIGURATION = 78
SECRET = "dGhpcyBrZXkgbXVzdCBub3QgYmUgc2hvd24="
REAL = {
    "AZURE_COMMUNICATION_CONNECTION_STRING": "endpoint=https://contoso.communication"
    f".azure.com/;accesskey={SECRET}",
}
KEYS = "first-key-of-two,second-key-of-two"


async def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    """One run tells all: wrong values, a misspelt name, what is missing; exit 78."""
    wrong = {
        "WORKER_LISTEN": "0.0.0.0",  # noqa: S104 - to be refused
        "WORKER_MAX_CHUNKS": "none",
        "WORKER_VERIFY": "hope",
        "WORKER_ARCHVE": "file:archive",
        "AZURE_COMMUNICATION_CONNECTION_STRING": f"accesskey={SECRET}",
    }
    ended = await worker_process.run("serve", environment=wrong, folder=tmp_path)

    assert ended.code == CONFIGURATION
    assert ended.out == ""
    named = {error.partition(":")[0] for error in ended.errors}
    assert named == {*wrong, "WORKER_ARCHIVE", "WORKER_QUEUE"}
    assert "WORKER_ARCHVE: unknown; did you mean WORKER_ARCHIVE?" in ended.errors
    assert "hint: recording-worker config" in ended.err
    assert SECRET not in ended.err
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize("verb", ["serve", "webhook", "consume"])
async def test_defaults_are_refused_with_a_real_source(
    tmp_path: Path, verb: str
) -> None:
    """What a real source holds must not land in a folder that nobody chose."""
    ended = await worker_process.run(verb, environment=REAL, folder=tmp_path)

    assert ended.code == CONFIGURATION
    assert [error.partition(":")[0] for error in ended.errors] == [
        "WORKER_ARCHIVE",
        "WORKER_QUEUE",
    ]
    assert files_in(tmp_path) == {}


async def test_listening_beyond_loopback_needs_keys(world: World) -> None:
    """An endpoint that anybody could post to is refused, unless that is said aloud."""
    everywhere = "0.0.0.0:0"
    ended = await world.run("webhook", WORKER_LISTEN=everywhere)

    assert ended.code == CONFIGURATION
    (error,) = ended.errors
    assert error.startswith("WORKER_WEBHOOK_KEYS: ")
    for setting in ({"WORKER_WEBHOOK_KEYS": KEYS}, {"WORKER_WEBHOOK_AUTH": "none"}):
        said = replace(world, settings={**setting, "WORKER_LISTEN": everywhere})
        async with said.running("webhook") as webhook:
            await webhook.url()
            assert await webhook.stop() == 0


async def test_keys_decide_who_may_post(world: World) -> None:
    """Either key opens; strangers get 401, and Event Grid with an old key 503, to retry."""
    body, original = events.fresh_chunk(world.acs, "0-eus-d1-keyed")
    first, second = KEYS.split(",")

    async with world.running("serve", WORKER_WEBHOOK_KEYS=KEYS) as worker:
        url = await worker.url()
        assert await events.post(url, body) == 401
        assert await events.post(f"{url}?code=wrong", body) == 401
        grid = await events.post(
            f"{url}?code=wrong", body, aeg_event_type="Notification"
        )
        assert grid == 503
        assert world.acs.requests == []
        assert await events.post(f"{url}?code={first}", body) == 200
        assert await events.post(url, body, x_functions_key=second) == 200
        await world.wait_until_settled({"0-eus-d1-keyed"})
        assert await worker.stop() == 0

    await check_home(world, {"0-eus-d1-keyed": original})
    assert worker.said("delivery.refused", reason="bad-credential")
    assert [key for key in (first, second) if key in worker.err] == []


async def test_port_in_use_is_one_line(world: World) -> None:
    """A worker that can't listen says so and fails; it doesn't work unheard."""
    async with world.running("serve") as worker:
        taken = (await worker.url()).split("/")[2]
        ended = await world.run("serve", WORKER_LISTEN=taken)

    assert ended.code == 1
    (error,) = ended.errors
    assert "address already in use" in error
    assert "Traceback" not in ended.err
