"""`replay`, and the verbs that show what it left."""

import json
from pathlib import Path

import pytest

from samples import events_dir
from tests.e2e import events, worker_process
from tests.e2e.worker_process import Ended
from tests.e2e.world import World, check_home, files_in

NOTHING_SET: dict[str, str] = {}


async def simulate(folder: Path, *files: Path) -> Ended:
    """Replay with no settings at all."""
    return await worker_process.run(
        "replay",
        *map(str, files),
        "--simulate",
        environment=NOTHING_SET,
        folder=folder,
    )


async def show(folder: Path, *arguments: str) -> Ended:
    return await worker_process.run(*arguments, environment=NOTHING_SET, folder=folder)


async def test_demo_comes_home_and_is_home_the_second_time(tmp_path: Path) -> None:
    """All chunks are archived; again, nothing in the archive changes, not even a time."""
    demo = events_dir() / "demo"
    first = await simulate(tmp_path, demo)
    before = files_in(tmp_path / "data/archive")
    second = await simulate(tmp_path, demo)

    assert (first.code, second.code) == (0, 0)
    originals = events.samples_of(
        events.documents_in(*(path.read_bytes() for path in events.DEMO))
    )
    contents = {original.content for original in originals.values()}
    assert contents < {data for data, _ in before.values()}
    assert len([name for name in before if name.startswith("receipts/")]) == 24
    assert files_in(tmp_path / "data/archive") == before
    assert _closing_table(second).count("already archived") == len(originals)
    assert "already archived" not in first.out
    assert "archive  data/archive" in second.out


def _closing_table(ended: Ended) -> str:
    return ended.out[ended.out.index("RECORDING") :]


async def test_shown_state_is_json_on_demand(tmp_path: Path) -> None:
    """Every verb that shows has `--json`: one document, or one per line for a list."""
    await simulate(tmp_path, events.sample("one-chunk.event-grid.json"))
    status = await show(tmp_path, "status", "--json")
    entries = await show(tmp_path, "queue", "list", "--json")
    recordings = await show(tmp_path, "recordings", "list", "--json")
    config = await show(tmp_path, "config", "--for", "read", "--json")
    (entry,) = map(json.loads, entries.out.splitlines())
    (recording,) = map(json.loads, recordings.out.splitlines())
    one_entry = await show(tmp_path, "queue", "show", entry["row"], "--json")
    one_recording = await show(
        tmp_path, "recordings", "show", recording["recording"], "--json"
    )

    assert json.loads(status.out)["deleted"] == 1
    assert entry["state"] == "deleted"
    assert recording["complete"] is True
    assert json.loads(config.out)["problems"] == []
    for shown in (one_entry, one_recording):
        json.loads(shown.out)
        assert (shown.code, shown.err) == (0, "")
    people = await show(tmp_path, "recordings", "show", recording["recording"])
    assert "deleted (200)" in people.out


async def test_replay_reaches_the_source_that_is_set(world: World) -> None:
    """Without --simulate the chunks come from the configured source."""
    body, original = events.fresh_chunk(world.acs, "0-eus-d1-replayed")
    file = world.folder / "event.json"
    file.write_bytes(body)

    ended = await world.run("replay", str(file), WORKER_WEBHOOK_KEYS="a-key-for-it")

    assert ended.code == 0
    check_home(world, {"0-eus-d1-replayed": original})


async def test_replay_of_a_dead_or_refused_delivery_needs_attention(
    world: World,
) -> None:
    """Exit 3 when a file was refused or a chunk ended dead."""
    refused = events.sample("malformed/not-an-event.json")
    dead = events.sample("hostile/foreign-host.event-grid.json")

    ended = [await world.run("replay", str(file)) for file in (refused, dead)]

    assert [each.code for each in ended] == [3, 3]
    assert world.acs.requests == []


@pytest.mark.parametrize("simulated", [True, False])
async def test_replay_of_a_missing_file_is_one_line_and_a_hint(
    world: World, *, simulated: bool
) -> None:
    """The error names the file, the hint is a command; nothing is created."""
    flags = ("--simulate",) if simulated else ()
    ended = await world.run("replay", "nowhere.json", *flags)

    assert ended.code == 1
    assert ended.err.splitlines() == [
        "error: there is no file 'nowhere.json'",
        "hint: recording-worker replay samples/events/demo --simulate",
    ]
    assert files_in(world.folder) == {}
