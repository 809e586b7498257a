"""`replay URL` in this process: a container on Azurite, into a queue or to an endpoint."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.storage.blob.aio import ContainerClient

from tests import canaries
from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.e2e import events
from tests.grid import answer, serving
from tests.isolation import isolated_logs
from worker.__main__ import main
from worker.errors import QueueUnavailableError
from worker.queues.sqlite import SqliteQueue

KEY = canaries.OTHER_KEY
GOOD = "RECORDINGS/2026/3/1/9/good.json"
BAD = "RECORDINGS/2026/3/1/10/bad.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Someone beside an embedded queue, with the dead letters' account in the environment."""

    capsys: pytest.CaptureFixture[str]
    url: str
    folder: Path

    async def types(self, *arguments: str) -> Ended:
        """Run a command; it tells no secret."""
        code = await asyncio.to_thread(main, arguments)
        captured = self.capsys.readouterr()
        assert canaries.seen(captured.out + captured.err) == []
        return Ended(code=code, out=captured.out, err=captured.err)


@pytest.fixture
async def container(azurite: Azurite, unique_name: UniqueName) -> AsyncIterator[str]:
    name = unique_name("letters")
    client = ContainerClient.from_connection_string(azurite.connection_string, name)
    async with client:
        await client.create_container()
        body = events.sample(events.ONE_CHUNK).read_bytes()
        await client.upload_blob(GOOD, body)
        await client.upload_blob(BAD, b'"no event at all"')
        yield name


@pytest.fixture
def operator(
    azurite: Azurite,
    container: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Operator]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    monkeypatch.setenv("WORKER_SOURCE_HOSTS", "127.0.0.1:7700")
    monkeypatch.setenv("WORKER_WEBHOOK_KEYS", KEY)
    url = azurite.container(container)
    with isolated_logs():
        yield Operator(capsys=capsys, url=url, folder=tmp_path)


async def test_container_is_replayed_into_the_queue(operator: Operator) -> None:
    """Each blob told with what it held; then what it came to, and what needs attention."""
    first = await operator.types("replay", operator.url, "--all")
    again = await operator.types("replay", operator.url, "--all", "--json")

    assert (first.code, again.code) == (3, 3)
    lines = first.out.splitlines()
    assert lines[0].startswith(f"refused       {BAD}  17 B, 0 events, 0 chunks, 400, ")
    assert lines[1].startswith(f"replayed      {GOOD}  ")
    assert lines[1].endswith(", 1 event, 1 chunk")
    fields = dict(line.split("  ", 1) for line in lines[3:])
    told = {name: text.strip() for name, text in fields.items()}
    assert told == {
        "from": operator.url,
        "replayed": "1 to the queue",
        "chunks": "1",
        "left": "1",
        "next": "recording-worker status --watch",
    }
    rows = [json.loads(line) for line in again.out.splitlines()]
    assert [(row["blob"], row["outcome"]) for row in rows] == [
        (BAD, "refused"),
        (GOOD, "known"),
    ]
    events_logged = [json.loads(line) for line in first.err.splitlines()]
    (line,) = [e for e in events_logged if e["event"] == "letters.replayed"]
    assert (line["replayed"], line["known"], line["left"]) == (1, 0, 1)
    assert line["container"] == operator.url


async def test_dry_run_makes_nothing(operator: Operator) -> None:
    """Nothing is known where there is no archive, and none is made."""
    ended = await operator.types(
        "replay", f"{operator.url}/RECORDINGS/2026/3/1/9", "--dry-run"
    )

    assert (ended.code, ended.err) == (0, "")
    first, _, *rest = ended.out.splitlines()
    assert first.startswith(f"would-replay  {GOOD}  ")
    assert "to be replayed  1" in rest
    assert "not remembered  there is no archive here" in rest
    assert not (operator.folder / "data").exists()


async def test_container_is_replayed_to_an_endpoint(operator: Operator) -> None:
    """With the key of the settings; what is refused is told with what it means."""
    folder = f"{operator.url}/RECORDINGS/2026/3/1/9"
    async with serving(answer(status=200)) as server:
        url = server.url.partition("?")[0]
        sent = await operator.types("replay", folder, "--to", url)
    async with serving(answer(status=401)) as refusing:
        refused = await operator.types("replay", folder, "--to", refusing.url)

    assert (sent.code, refused.code) == (0, 3)
    assert f"replayed        1 to the {url}" in sent.out
    assert {seen.headers["x-functions-key"] for seen, _ in server.seen} == {KEY}
    assert "1 event, 401, Event Grid would never send" in refused.out
    assert not (operator.folder / "data").exists()


async def test_nothing_that_is_meant_is_told(operator: Operator) -> None:
    """And nothing is made of it."""
    ended = await operator.types("replay", f"{operator.url}/NOBODY", "--again")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "nothing to replay: no dead letter is meant\n"


async def test_queue_in_trouble_ends_it(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line; what was taken before is remembered, and told in the log."""

    async def put(*_: object) -> None:
        raise QueueUnavailableError("disk I/O error")

    monkeypatch.setattr(SqliteQueue, "put", put)

    ended = await operator.types("replay", operator.url, "--all")

    assert ended.code == 1
    assert "error: nothing can be queued: queue-unavailable\n" in ended.err
    (line,) = [
        json.loads(text)
        for text in ended.err.splitlines()
        if '"letters.replayed"' in text
    ]
    assert (line["replayed"], line["left"]) == (0, 1)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "say which: a prefix in the URL, --since, --until, or --all"),
        (["--all", "--since", "1h"], "--all goes with no prefix, --since or --until"),
        (["a.json"], "one container at a time"),
        (["--simulate"], "--simulate goes with files"),
        (["--plain-http"], "--header and --plain-http go with --to"),
    ],
)
async def test_what_can_not_be_meant_is_usage(
    operator: Operator, more: list[str], words: str
) -> None:
    """Before anything is asked."""
    ended = await operator.types("replay", operator.url, *more)

    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ftp.json", "--until", "1h"], "go with a container's URL"),
        (["a.json", "--json"], "--dry-run and --json go with --to, or a container"),
        (["https://a.blob.core.windows.net/c?x=1", "--all"], "the container's URL has"),
    ],
)
async def test_file_is_no_container(
    operator: Operator, arguments: list[str], words: str
) -> None:
    """Nor is every URL."""
    ended = await operator.types("replay", *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
