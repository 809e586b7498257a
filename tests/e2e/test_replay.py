"""`replay`, and the verbs that show what it left."""

import json
from pathlib import Path

import pytest

from samples import events_dir
from tests.e2e import events, worker_process
from tests.e2e.stores import files_in
from tests.e2e.worker_process import Ended
from tests.e2e.world import World, check_home

CONNECTION_STRING = "AZURE_COMMUNICATION_CONNECTION_STRING"
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
    await check_home(world, {"0-eus-d1-replayed": original})


async def test_replay_of_a_dead_or_refused_delivery_needs_attention(
    world: World,
) -> None:
    """Exit 3 when a file was refused or a chunk ended dead."""
    refused = events.sample("malformed/not-an-event.json")
    dead = events.sample("hostile/foreign-host.event-grid.json")

    ended = [await world.run("replay", str(file)) for file in (refused, dead)]

    assert [each.code for each in ended] == [3, 3]
    assert world.acs.requests == []
    said = [line for line in ended[0].out.splitlines() if "refused" in line]
    assert said == ["refused  not-an-event.json (400), kept under quarantine/"]
    assert "refused" not in ended[1].out


async def test_replay_is_interrupted_at_once(tmp_path: Path) -> None:
    """Ctrl-C amid downloads ends with the code of the signal, without a word."""
    demo = str(events_dir() / "demo")
    async with worker_process.running(
        "replay", demo, "--simulate", environment=NOTHING_SET, folder=tmp_path
    ) as worker:
        await worker.wait_until(lambda: "downloading" in worker.err)
        worker.interrupt()
        code = await worker.ended()

    assert code == 130
    assert "Traceback" not in worker.err
    assert "error" not in worker.err
    assert worker.out == ""


@pytest.mark.parametrize("store", ["WORKER_QUEUE", "WORKER_ARCHIVE"])
@pytest.mark.parametrize("in_file", [True, False])
async def test_simulation_stays_off_real_chunks(
    tmp_path: Path, store: str, *, in_file: bool
) -> None:
    """Where a real source is set up, its queue and archive are refused: exit 78."""
    kind = "sqlite" if store == "WORKER_QUEUE" else "file"
    variables = {
        CONNECTION_STRING: "endpoint=https://calls.communication.azure.com/;accesskey=a2V5",
        store: f"{kind}:{tmp_path / 'real' / 'store'}",
    }
    file = tmp_path / "worker.env"
    file.write_text("".join(f"{name}={text}\n" for name, text in variables.items()))
    flags = ("--env-file", str(file)) if in_file else ()

    ended = await worker_process.run(
        *flags,
        "replay",
        str(events.sample("one-chunk.event-grid.json")),
        "--simulate",
        environment=NOTHING_SET if in_file else variables,
        folder=tmp_path,
    )

    assert ended.code == 78
    error, hint = ended.err.splitlines()
    assert error.startswith("error: ")
    assert store in error
    assert CONNECTION_STRING in error
    assert hint == (
        "hint: env -u WORKER_QUEUE -u WORKER_ARCHIVE"
        f" -u {CONNECTION_STRING} -u AZURE_COMMUNICATION_ENDPOINT"
        " recording-worker replay FILE --simulate"
    )
    assert set(files_in(tmp_path)) == {"worker.env"}


async def test_simulation_honours_a_queue_and_an_archive_of_its_own(
    tmp_path: Path,
) -> None:
    """Without a real source, WORKER_QUEUE and WORKER_ARCHIVE say where a replay works."""
    ended = await worker_process.run(
        "replay",
        str(events.sample("one-chunk.event-grid.json")),
        "--simulate",
        environment={
            "WORKER_QUEUE": "sqlite:own/queue.db",
            "WORKER_ARCHIVE": "file:own/archive",
        },
        folder=tmp_path,
    )

    assert ended.code == 0
    assert (tmp_path / "own/queue.db").is_file()
    assert files_in(tmp_path / "own/archive")


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
        "hint: recording-worker replay --help",
    ]
    assert files_in(world.folder) == {}
