"""The commands over a Storage Queue and a container, wired as they are deployed."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tests.azurite import Azurite
from tests.blobs import blob_archive
from tests.conftest import UniqueName
from tests.contract.queues import a_storage_queue, identity_of, place_of
from tests.factories import a_chunk, a_delivery
from tests.isolation import isolated_logs
from worker.__main__ import main
from worker.clock import SystemClock
from worker.queues.storage.queue import POISON, URGENT, StorageQueue
from worker.storage_clients import queue_client

Use = Callable[[StorageQueue], Awaitable[object]]


@pytest.fixture
def name(
    azurite: Azurite, unique_name: UniqueName, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Of a container and a queue, which the settings name."""
    name = unique_name("commands")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    monkeypatch.setenv("WORKER_ARCHIVE", azurite.container(name))
    monkeypatch.setenv("WORKER_QUEUE", azurite.queue(name))
    monkeypatch.setenv("WORKER_SOURCE_HOSTS", "127.0.0.1:7700")
    return name


def put_one(azurite: Azurite, name: str) -> None:
    async def put() -> None:
        now = SystemClock().now()
        chunk = a_chunk(received_at=now, expires_at=now + timedelta(hours=24))
        async with (
            blob_archive(azurite, name) as archive,
            a_storage_queue(
                azurite, name, archive=archive, clock=SystemClock()
            ) as queue,
        ):
            await queue.put(a_delivery(chunk, received_at=now))

    with capture_logs():
        asyncio.run(put())


def lose(azurite: Azurite, name: str) -> None:
    async def delete() -> None:
        for suffix in ("", URGENT, POISON):
            place, identity = place_of(azurite, name), identity_of(azurite)
            async with queue_client(place, identity, suffix=suffix) as client:
                await client.delete_queue()

    asyncio.run(delete())


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with isolated_logs():
        code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_commands_read_the_ledger(
    azurite: Azurite, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`status`, `queue list` and `queue show` know what was announced."""
    put_one(azurite, name)

    status = json.loads(run(capsys, "status", "--json")[1])
    listed = json.loads(run(capsys, "queue", "list", "--json")[1])
    shown = json.loads(run(capsys, "queue", "show", "0-eus-d1", "--json")[1])

    assert (status["pending"], status["at_risk"]) == (1, 0)
    assert (listed["document_id"], listed["state"]) == ("0-eus-d1-doc1", "pending")
    assert shown["entry"]["row"] == listed["row"]


def test_reading_a_queue_that_is_not_there_creates_nothing(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor an archive: one line, and the command that would."""
    for _ in range(2):
        code, out, err = run(capsys, "status")

        assert (code, out) == (78, "")
        hint = f"hint: az storage container create --name {name} "
        assert hint in err


def test_lost_queue_is_rebuilt_by_a_command(
    azurite: Azurite, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """First counted, then done; a queue that is gone is told with the command that makes it."""
    put_one(azurite, name)
    lose(azurite, name)

    code, _, err = run(capsys, "queue", "rebuild", "--dry-run")
    assert code == 78
    assert f"az storage queue create --name {name} " in err
    rebuilt = run(capsys, "queue", "rebuild", "--json")

    assert rebuilt[0] == 0
    told = {"chunks": 0, "deliveries": 1, "dry_run": False, "unreadable": 0}
    assert json.loads(rebuilt[1]) == told
    assert "queue.rebuilt" in rebuilt[2]
    assert "1" in run(capsys, "queue", "rebuild", "--dry-run")[1]
