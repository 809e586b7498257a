"""`recordings erase` over a directory with SQLite, and over a container with a Storage Queue."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.archived import archive_recording, chunks_of
from tests.factories import a_chunk, a_delivery
from tests.integration.keeping import Place, place
from tests.worm import WormProxy
from worker import names
from worker.clock import SystemClock
from worker.model import ChunkState
from worker.opening import WholeQueue
from worker.ports import Archive

RECORDING = a_chunk().recording
ERASE = ("recordings", "erase", RECORDING, "--reason", "data-subject-request")
TOMBSTONES = sorted(names.erased_name(chunk.key) for chunk in chunks_of(2))
PROXIED = 30


@pytest.fixture(params=["directory", "azurite"])
def there(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    return place(request.param, request, tmp_path, monkeypatch)


async def announce(queue: WholeQueue) -> None:
    now = SystemClock().now()
    chunks = chunks_of(2)
    await queue.put(a_delivery(*chunks, body=b"event of call-1", received_at=now))


async def keep(archive: Archive, queue: WholeQueue) -> None:
    """A recording that is home, and settled."""
    await archive_recording(archive, [b"0", b"1"])
    await announce(queue)
    while leases := await queue.lease(2):
        for lease in leases:
            await queue.complete(lease, ChunkState.DELETED, note="")


def test_recording_is_erased_for_good(there: Place, tmp_path: Path) -> None:
    """First seen, then done; what is left of it names nobody, in the archive or the queue."""
    there.work(keep)
    before = there.names()

    would = there.run(*ERASE, "--dry-run")
    assert (would.code, would.err) == (0, "")
    assert there.names() == before
    assert names.receipt_name(chunks_of(2)[0].key) in would.out.splitlines()
    did = there.run(*ERASE, "--yes", "--json")

    assert did.code == 0, did.err
    assert "recording.erased" in did.err
    told = json.loads(did.out)
    assert (told["chunks"], told["queue_entries"], told["deliveries"]) == (2, 2, 1)
    assert there.names() == TOMBSTONES
    if there.kind == "directory":
        left = [path for path in tmp_path.rglob("*") if "call-1" in path.name]
        assert left == []
        assert b"call-1" not in (tmp_path / "data/queue.db").read_bytes()
    shown = there.run("recordings", "show", chunks_of(2)[0].document_id)
    assert "erased" in shown.out
    again = there.run(*ERASE)
    assert (again.code, "0 objects" in again.out) == (0, True)


def test_erasure_is_refused_with_a_line_and_a_hint(there: Place) -> None:
    """Under hold, and while it is at work."""
    there.work(keep)
    there.run("recordings", "hold", RECORDING, "--reason", "case 4711")
    before = there.names()

    held = there.run(*ERASE)
    there.run("recordings", "unhold", RECORDING, "--reason", "closed")
    nobody = there.run("recordings", "erase", "nobody", "--reason", "unlawful")
    why = there.run("recordings", "erase", RECORDING, "--reason", "Jane asked")

    assert (held.code, nobody.code, why.code) == (1, 1, 2)
    assert "under legal hold since" in held.err
    assert f"hint: recording-worker recordings show {RECORDING}" in held.err
    assert "the archive knows no 'nobody'" in nobody.err
    assert set(before) <= set(there.names())


def test_chunk_at_work_is_refused(there: Place) -> None:
    """The hint shows it."""

    async def work(archive: Archive, queue: WholeQueue) -> None:
        await archive_recording(archive, [b"0", None])
        await announce(queue)
        await queue.lease(1)

    there.work(work)

    ended = there.run(*ERASE)

    assert ended.code == 1
    assert "still at work: erase it when they are not" in ended.err
    assert "hint: recording-worker queue show 0-eus-d1-doc1-" in ended.err
    assert TOMBSTONES[0] not in there.names()


async def test_locks_and_versions_of_a_container_are_obeyed_and_erased(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy refuses with its date; when it is over, versions go with the blobs."""
    there = place("azurite", request, tmp_path, monkeypatch)
    azurite = request.getfixturevalue("azurite")
    async with WormProxy(azurite.blob_url) as proxy:
        connection = azurite.connection_string.replace(azurite.blob_url, proxy.url)
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        there.lead_to(proxy.url, monkeypatch)
        await asyncio.to_thread(there.work, keep)
        content = names.content_name(chunks_of(2)[0])
        until = SystemClock().now().replace(microsecond=0) + timedelta(days=PROXIED)
        proxy.locked[content] = until

        locked = await asyncio.to_thread(there.run, *ERASE)
        proxy.locked.clear()
        proxy.versions[content] = ["2026-01-01T00:00:00.0000000Z"]
        erased = await asyncio.to_thread(there.run, *ERASE)

        assert locked.code == 1
        assert f"keeps it until {until:%Y-%m-%d %H:%M:%SZ}" in locked.err
        assert erased.code == 0, erased.err
        assert proxy.versions[content] == []
        assert await asyncio.to_thread(there.names) == TOMBSTONES
