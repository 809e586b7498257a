"""The verbs: what they print, in both forms, and how they end."""

import asyncio
import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.factories import a_chunk, a_delivery, an_announcement, some_chunks
from tests.fakes.clock import START, ManualClock
from tests.unit.worker.cli.conftest import Composed, Run
from tests.unit.worker.ops.test_queue import RebuildableMemoryQueue
from tests.unit.worker.ops.test_recordings import receipt_for, store, store_manifest
from worker import names
from worker.clock import SystemClock
from worker.model import Chunk, ChunkKey, ChunkState, DeleteAnswer
from worker.stored import SourceDeleted, encode
from worker.telemetry import spans


def put(composed: Composed, *chunks: Chunk) -> None:
    asyncio.run(composed.queue.put(a_delivery(*chunks)))


def kill(composed: Composed, *, reason: str = "source-expired") -> None:
    """Lease the most urgent chunk and let it die."""

    async def die() -> None:
        (lease,) = await composed.queue.lease(1)
        await composed.queue.dead_letter(lease, reason=reason, error="404\x1b[2J")

    asyncio.run(die())


def soon(hours: float, document_id: str = "d1") -> Chunk:
    # Of this moment, not of the import: all tests before this one may take minutes.
    expires_at = SystemClock().now() + timedelta(hours=hours)
    return a_chunk(document_id=document_id, expires_at=expires_at)


def test_serve_runs_with_the_settings(run: Run, composed: Composed) -> None:
    """The verb hands the loaded settings on, and tells what it loaded, on stderr."""
    ended = run("serve")

    assert (ended.code, ended.out) == (0, "")
    ((verb, settings),) = composed.calls
    assert (verb, settings.source_hosts) == ("serve", ("127.0.0.1:7700",))
    (line,) = map(json.loads, ended.err.splitlines())
    assert (line["event"], line["use"]) == ("config.loaded", "serve")
    assert "aHVudGVyMg" not in ended.err


def test_unknown_variable_is_warned_about_at_the_start(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that may be a mistake is in the log of the start."""
    monkeypatch.setenv("WORKER_COLOUR", "red")

    (_, warning) = map(json.loads, run("serve").err.splitlines())

    assert warning["problem"] == "WORKER_COLOUR: unknown, ignored"


def test_webhook_needs_no_connection_string(
    run: Run, composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only queues can run without a key of the source."""
    monkeypatch.delenv("AZURE_COMMUNICATION_CONNECTION_STRING")

    assert run("webhook").code == 0
    assert composed.calls[0][0] == "webhook"
    assert run("serve").code == 78


@pytest.mark.parametrize("code", [0, 3])
def test_consume_ends_with_the_code_of_the_run(
    run: Run, composed: Composed, code: int
) -> None:
    """A job learns whether something needs attention."""
    composed.exit_code = code

    assert run("consume", "--until-empty").code == code
    assert composed.calls[0][0] == "consume until_empty=True"


def test_env_file_feeds_the_settings(run: Run, composed: Composed, home: Path) -> None:
    """`--env-file` before the verb."""
    (home / "worker.env").write_text("WORKER_MAX_CHUNKS=9\n")

    run("--env-file", "worker.env", "serve")

    assert composed.calls[0][1].max_chunks == 9


def test_wrong_settings_end_every_verb_with_78(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All problems, one line each, and the verb that shows the settings."""
    monkeypatch.setenv("WORKER_MAX_CHUNKS", "x")
    monkeypatch.setenv("WORKER_VERIFY", "x")

    ended = run("status")

    assert (ended.code, ended.out) == (78, "")
    assert ended.err.count("error: WORKER_") == 2
    assert ended.err.endswith("hint: recording-worker config\n")


def test_status_counts(run: Run, composed: Composed) -> None:
    """What is where, and when the first chunk expires."""
    put(composed, soon(23.5))

    ended = run("status")

    assert (ended.code, ended.err) == (0, "")
    assert "pending      1  first expires in 23 h" in ended.out


def test_status_with_something_dead_exits_3_with_a_hint(
    run: Run, composed: Composed
) -> None:
    """A cron job notices by the exit code, a person by the hint."""
    put(composed, soon(23))
    kill(composed)

    ended = run("status")

    assert ended.code == 3
    assert "dead         1  source-expired 1" in ended.out
    assert ended.err == "hint: recording-worker queue list --state dead\n"


def test_status_with_a_chunk_at_risk_exits_3(run: Run, composed: Composed) -> None:
    """Little time left is loud."""
    # The queue in memory lives on 1 March 2026.
    put(composed, a_chunk(expires_at=START + timedelta(hours=1)))

    ended = run("status")

    assert (ended.code, ended.err) == (
        3,
        "hint: recording-worker queue list --within 6h\n",
    )
    assert "at risk      1  less than 6 h left" in ended.out


def test_status_as_json(run: Run, composed: Composed) -> None:
    """One document, with absolute times."""
    put(composed, soon(23))

    found = json.loads(run("status", "--json").out)

    assert (found["pending"], found["needs_attention"]) == (1, False)
    assert found["earliest_deadline"].endswith("Z")


@pytest.mark.parametrize(
    "arguments", [["status"], ["queue", "list"], ["queue", "show", "x"]]
)
def test_reading_a_queue_that_is_not_there_creates_nothing(
    run: Run, composed: Composed, home: Path, arguments: list[str]
) -> None:
    """One line, a hint, exit 1, and the disk as it was."""
    (home / "data/queue.db").unlink()

    ended = run(*arguments)

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "error: there is no queue at sqlite:data/queue.db yet\n"
        "hint: recording-worker config\n"
    )
    assert composed.calls == []
    assert not (home / "data/queue.db").exists()


@pytest.mark.parametrize(
    "arguments", [["recordings", "list"], ["recordings", "show", "x"]]
)
def test_reading_an_archive_that_is_not_there_creates_nothing(
    run: Run, composed: Composed, home: Path, arguments: list[str]
) -> None:
    """The same for the archive."""
    (home / "data/archive").rmdir()

    ended = run(*arguments)

    assert (ended.code, ended.out) == (1, "")
    assert "error: there is no archive at file:data/archive yet\n" in ended.err
    assert composed.calls == []
    assert not (home / "data/archive").exists()


def test_queue_list_fits_a_terminal(run: Run, composed: Composed) -> None:
    """Row, state, recording, index, deadline, tries and a note, within 80 columns."""
    put(composed, soon(23.5), soon(-1, "d2"))
    kill(composed)

    ended = run("queue", "list")

    header, dead, pending = ended.out.splitlines()
    assert header.split() == [
        "ROW",
        "STATE",
        "RECORDING",
        "#",
        "EXPIRES",
        "ATTEMPTS",
        "NOTE",
    ]
    assert "60 min ago" in dead
    assert dead.split()[1] == "dead"
    assert dead.endswith("source-expired")
    assert "in 23 h" in pending
    assert max(map(len, ended.out.splitlines())) <= 80


def test_queue_list_tells_who_works_and_who_waits(run: Run, composed: Composed) -> None:
    """A leased chunk names its worker, a rescheduled one its reason."""
    put(composed, soon(1), soon(2, "d2"))

    async def work() -> None:
        first, _ = await composed.queue.lease(2)
        at = SystemClock().now() + timedelta(minutes=5, seconds=30)
        await composed.queue.reschedule(
            first, not_before=at, reason="throttled", error="429"
        )

    asyncio.run(work())

    _, first, second = run("queue", "list").out.splitlines()
    assert first.endswith("due in 5 min: throttled")
    assert second.endswith("with memory")


def test_queue_list_as_json_lines(run: Run, composed: Composed) -> None:
    """One document per line; `--state` and `--limit` choose."""
    put(composed, soon(1), soon(2, "d2"), soon(3, "d3"))
    kill(composed)

    ended = run("queue", "list", "--json", "--state", "pending", "--limit", "1")

    (line,) = map(json.loads, ended.out.splitlines())
    assert (line["document_id"], line["state"]) == ("d2", "pending")


def test_queue_show_tells_all_of_an_entry(run: Run, composed: Composed) -> None:
    """Ids, times in both forms, attempts; escapes from outside are made harmless."""
    put(composed, soon(23.5))
    kill(composed)

    ended = run("queue", "show", "d1")

    assert ended.code == 0
    assert re.search(r"^document +d1$", ended.out, re.MULTILINE)
    trace = spans.trace_id(ChunkKey("d1"))
    assert re.search(rf"^trace +{trace}$", ended.out, re.MULTILINE)
    assert "(in 23 h)" in ended.out
    assert "dead source-expired" in ended.out
    assert "\x1b" not in ended.out
    assert "TRY" in ended.out


def test_queue_show_of_a_fresh_chunk_has_no_attempts(
    run: Run, composed: Composed
) -> None:
    """No empty table."""
    put(composed, soon(23))

    assert "TRY" not in run("queue", "show", "d1").out


def test_queue_show_of_a_running_attempt(run: Run, composed: Composed) -> None:
    """What has no end yet is running."""
    put(composed, soon(23))
    asyncio.run(composed.queue.lease(1))

    assert "running" in run("queue", "show", "d1").out


def test_queue_show_as_json(run: Run, composed: Composed) -> None:
    """The entry and its attempts."""
    put(composed, soon(23))
    kill(composed)

    found = json.loads(run("queue", "show", "--json", "d1").out)

    assert found["entry"]["reason"] == "source-expired"
    assert len(found["attempts"]) == 1


def test_queue_show_of_an_unknown_id_fails(run: Run) -> None:
    """Exit 1 and where to look."""
    ended = run("queue", "show", "nobody")

    assert ended.code == 1
    assert ended.err == (
        "error: the queue knows no 'nobody'\nhint: recording-worker queue list\n"
    )


def test_queue_rebuild_is_not_for_a_queue_with_entries(
    run: Run, composed: Composed
) -> None:
    """A SQLite queue is all there is of it: one line says so."""
    composed.may_create = True

    ended = run("queue", "rebuild")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "error: this queue keeps its own entries\nhint: recording-worker queue list\n"
    )


def test_queue_rebuild_says_what_it_would_send(run: Run, composed: Composed) -> None:
    """A dry run creates nothing; both forms say what it was."""
    composed.queue = RebuildableMemoryQueue(clock=ManualClock())

    people = run("queue", "rebuild", "--dry-run")
    machine = run("queue", "rebuild", "--dry-run", "--json")

    assert (people.code, people.err) == (0, "")
    assert "nothing: a dry run" in people.out
    found = json.loads(machine.out)
    assert found == {
        "chunks": 1,
        "deliveries": 3,
        "dry_run": True,
        "unreadable": 4,
    }
    assert "unreadable" in people.out


@pytest.fixture
def archived(composed: Composed) -> list[Chunk]:
    """A complete recording of two chunks, one deleted at the source; and half a one."""

    async def fill() -> list[Chunk]:
        announcement = an_announcement()
        chunks = some_chunks(2, announcement=announcement)
        receipts = await store(composed.archive, *chunks)
        await store_manifest(composed.archive, announcement, receipts)
        deleted = SourceDeleted(
            key=chunks[0].key,
            worker_version="1",
            worker_instance="w",
            answer=DeleteAnswer(status=202, host="h", at=START, hops=()),
        )
        name = names.source_deleted_name(chunks[0].key)
        await composed.archive.create(name, encode(deleted))
        other = an_announcement(recording_id="r2", call_id="call-2")
        half = some_chunks(3, announcement=other, document_id="half")
        await store(composed.archive, half[1])
        return [*chunks, *half]

    return asyncio.run(fill())


@pytest.mark.usefixtures("archived")
def test_recordings_list_fits_a_terminal(run: Run) -> None:
    """One line per recording, within 80 columns."""
    ended = run("recordings", "list")

    assert ended.code == 0
    header, whole, half = ended.out.splitlines()
    assert header.split() == ["RECORDING", "CALL", "STARTED", "CHUNKS", "SIZE", "STATE"]
    assert "2026-03-01 11:50" in whole
    assert whole.endswith("complete")
    assert half.endswith("waiting for 0, 2")
    assert max(map(len, ended.out.splitlines())) <= 80


@pytest.mark.usefixtures("archived")
def test_recordings_list_can_leave_out_what_is_complete(run: Run) -> None:
    """`--incomplete` is what remains to be looked at; `--day` where."""
    lines = run("recordings", "list", "--incomplete", "--json").out.splitlines()
    other_day = run("recordings", "list", "--day", "2026-03-02").out.splitlines()

    assert [json.loads(line)["call_id"] for line in lines] == ["call-2"]
    assert len(other_day) == 1


def test_recordings_list_says_what_is_wrong(
    run: Run, composed: Composed, archived: list[Chunk]
) -> None:
    """An unreadable manifest and one with gaps say so on their line."""
    chunk = archived[2]
    folder = names.recording_folder(chunk.announcement, chunk.recording)
    asyncio.run(composed.archive.create(names.manifest_name(folder, 1), b"{}"))

    assert "unreadable: " in run("recordings", "list").out


def test_recordings_without_all_chunks_are_missing_some(
    run: Run, composed: Composed
) -> None:
    """After the deadline a gap is missing rather than waited for."""

    async def fill() -> None:
        announcement = an_announcement()
        chunks = some_chunks(2, announcement=announcement)
        receipts = await store(composed.archive, chunks[0])
        await store_manifest(composed.archive, announcement, receipts)

    asyncio.run(fill())

    assert "missing 1" in run("recordings", "list").out
    assert "missing    1: not archived yet" in run("recordings", "show", "call-1").out


def test_recordings_show_tells_files_proof_and_source(
    run: Run, archived: list[Chunk]
) -> None:
    """Every chunk with its file, hash, and what the source still has."""
    ended = run("recordings", "show", "call-1")

    assert ended.code == 0
    assert "complete" in ended.out
    assert "deleted (202)" in ended.out
    assert "expired" in ended.out
    assert f"0000-{archived[0].key}.mp4" in ended.out
    assert f"sha256 of 1  {'00' * 32}" in ended.out


def test_recordings_show_tells_why_a_source_was_kept(
    run: Run, composed: Composed
) -> None:
    """A flag keeps the chunk at the source; without one its deadline counts."""

    async def fill() -> None:
        kept, waiting = map(receipt_for, some_chunks(2))
        kept = replace(kept, flags=("structure", "metadata-missing"), metadata=None)
        content = replace(waiting.content, sha256=None)
        soon = SystemClock().now() + timedelta(hours=9.5)
        waiting = replace(waiting, content=content, expires_at=soon)
        for receipt in (kept, waiting):
            await composed.archive.create(receipt.content.name, b"x")
            await composed.archive.create(
                names.receipt_name(receipt.key), encode(receipt)
            )

    asyncio.run(fill())

    ended = run("recordings", "show", "call-1")

    assert "kept   of 0  structure, metadata-missing" in ended.out
    assert re.search(r"read-back +kept +0000-", ended.out)
    assert re.search(r"read-back +expires in 9 h +0001-", ended.out)
    assert "sha256 of 1" not in ended.out


def test_recordings_show_without_receipts_says_less(
    run: Run, composed: Composed, archived: list[Chunk]
) -> None:
    """What only a receipt knows is left empty, and nothing fails."""
    composed.archive.lose(names.receipt_name(archived[1].key))

    ended = run("recordings", "show", "call-1")

    assert ended.code == 0
    assert re.search(r"^ *1 +1000 B +0001-", ended.out, re.MULTILINE)


def test_recordings_show_before_any_chunk_is_proven(
    run: Run, composed: Composed
) -> None:
    """A folder with a first file and no receipt is a recording that waits."""
    (chunk,) = some_chunks(1)
    asyncio.run(composed.archive.create(names.content_name(chunk), b"x"))

    ended = run("recordings", "show", "call-1")

    assert re.search(r"^state +waiting$", ended.out, re.MULTILINE)
    assert "VERIFIED" not in ended.out


@pytest.mark.usefixtures("archived")
def test_recordings_show_as_json(run: Run) -> None:
    """The same with absolute times, one document per recording."""
    found = json.loads(run("recordings", "show", "call-1", "--json").out)

    assert found["recording"]["complete"]
    assert [chunk["source_deleted"] for chunk in found["chunks"]] == [True, False]


def test_recordings_show_of_an_unknown_id_fails(run: Run) -> None:
    """Exit 1 and where to look."""
    ended = run("recordings", "show", "nobody")

    assert ended.code == 1
    assert "error: the archive knows no 'nobody'\n" in ended.err
    assert ended.err.endswith("hint: recording-worker recordings list\n")


def test_config_shows_all_settings_with_secrets_masked(run: Run) -> None:
    """Exit 0 when a worker could start."""
    ended = run("config")

    assert (ended.code, ended.err) == (0, "")
    assert "WORKER_SOURCE_HOSTS" in ended.out
    assert "accesskey=***" in ended.out
    assert "aHVudGVyMg" not in ended.out


def test_config_of_wrong_settings_exits_78_and_still_shows_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table on stdout, problems and warnings on stderr."""
    monkeypatch.setenv("WORKER_MAX_CHUNKS", "x")
    monkeypatch.setenv("WORKER_COLOUR", "red")

    ended = run("config")

    assert ended.code == 78
    assert "WORKER_MAX_CHUNKS" in ended.out
    assert ended.err == (
        "error: WORKER_MAX_CHUNKS: must be a whole number\n"
        "warning: WORKER_COLOUR: unknown, ignored\n"
    )


def test_config_checks_for_one_verb(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only receives events is complete without a connection string."""
    monkeypatch.delenv("AZURE_COMMUNICATION_CONNECTION_STRING")

    assert run("config").code == 78
    assert run("config", "--for", "webhook").code == 0


def test_config_as_json(run: Run) -> None:
    """Settings with value, origin and help; problems; warnings."""
    found = json.loads(run("config", "--json").out)

    by_name = {setting["variable"]: setting for setting in found["settings"]}
    assert by_name["WORKER_MAX_CHUNKS"]["value"] == "4"
    assert by_name["WORKER_SOURCE_HOSTS"]["origin"] == "environment"
    assert found["problems"] == []


def test_states_of_the_option_are_those_of_the_model(run: Run) -> None:
    """`--state` offers every state."""
    offered = run("queue", "list", "--help").out

    assert all(state.value in offered for state in ChunkState)
