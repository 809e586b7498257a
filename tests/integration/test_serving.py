"""The verbs that work until they are stopped, and `replay`, in this process."""

import asyncio
import gc
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from handlers.inbox import Inbox
from samples import events_dir
from samples.acs import Fault, StandIn
from tests import azurite
from tests.factories import a_chunk, a_delivery
from tests.fakes.queue import MemoryQueue
from tests.heard import Heard
from tests.isolation import isolated_logs
from worker import at_risk, consumer, opening, receiving, replaying, serving
from worker.__main__ import main
from worker.attempt import NoObserver
from worker.clock import SystemClock
from worker.consumer import Consumer
from worker.errors import QueueUnavailableError
from worker.model import ChunkState, QueueCounts
from worker.posting import Posted
from worker.queues.sqlite import SqliteQueue
from worker.replaying import ReplayFileError
from worker.settings import Settings
from worker.settings_rules import Use

ONE_CHUNK = events_dir() / "one-chunk.event-grid.json"
DOCUMENT = "0-eus-d12-556bc3106390a534e4f454f95332c42f"
PATIENCE_SECONDS = 10
KEY = "a-key-for-the-webhook"


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Catch every log line of this process."""
    heard = Heard()
    merge: Any = structlog.contextvars.merge_contextvars
    with isolated_logs():
        structlog.configure(processors=[merge, heard])
        yield heard


@pytest.fixture
async def acs() -> AsyncIterator[StandIn]:
    """A source that has all samples."""
    async with StandIn() as acs:
        acs.serve_samples()
        yield acs


@pytest.fixture
def settings(tmp_path: Path, acs: StandIn) -> Callable[..., Settings]:
    """Settings to reach that source; more by name."""

    def load(**more: str) -> Settings:
        return Settings.load(
            {
                "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
                "WORKER_SOURCE_HOSTS": f"{acs.global_host},{acs.regional_host}",
                "WORKER_LISTEN": "127.0.0.1:0",
                "WORKER_ADMIN_LISTEN": "off",
                "WORKER_ARCHIVE": f"file:{tmp_path}/archive",
                "WORKER_ARCHIVE_RESERVE_MIB": "1",
                "WORKER_QUEUE": f"sqlite:{tmp_path}/queue.db",
                **more,
            },
            use=Use.SERVE,
        )

    return load


async def post(url: str, body: bytes) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as got:
        return got.status


async def probe(url: str) -> int:
    ready = url.replace("/api/events", "/readyz")
    async with aiohttp.ClientSession() as session, session.get(ready) as got:
        return got.status


def interrupt() -> None:
    """What an orchestrator sends; the worker under test catches it."""
    os.kill(os.getpid(), signal.SIGTERM)


@asynccontextmanager
async def serving_one_chunk(
    settings: Settings, acs: StandIn, heard: Heard
) -> AsyncIterator[str]:
    """`serve` in this process, with one chunk delivered to it; ended by the test."""
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(serving.run_serve(settings))
        url = str((await heard.wait_for("worker.started"))["listen"])
        assert await post(url, acs.address(ONE_CHUNK.read_bytes())) == 200
        yield url


async def test_collector_is_spared_what_stays_while_it_works(
    settings: Callable[..., Settings], acs: StandIn, heard: Heard
) -> None:
    """A walk over all that was made at the start would hold up every delivery."""
    before = gc.get_freeze_count()
    async with serving_one_chunk(settings(), acs, heard):
        assert gc.get_freeze_count() > before
        interrupt()

    assert gc.get_freeze_count() == before


async def test_signal_is_heeded_from_the_moment_that_all_is_open(
    settings: Callable[..., Settings],
    acs: StandIn,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would end the process on the spot while the collector walks."""
    heeded: list[bool] = []

    def collect() -> None:
        heeded.append(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)

    monkeypatch.setattr(gc, "collect", collect)
    async with serving_one_chunk(settings(), acs, heard):
        interrupt()

    assert heeded == [True]


async def test_serve_works_until_a_signal(
    settings: Callable[..., Settings],
    acs: StandIn,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A delivery wakes the consumer at once; a signal ends both halves."""
    monkeypatch.setattr(consumer, "POLL_SECONDS", 3600)
    async with serving_one_chunk(settings(), acs, heard) as url:
        finished = await heard.wait_for("chunk.finished")
        assert await probe(url) == 200
        interrupt()

    assert finished["outcome"] == "deleted"
    assert acs.deleted == {DOCUMENT}
    assert heard.lines[-1]["event"] == "worker.stopped"


async def test_second_signal_cuts_the_drain(
    settings: Callable[..., Settings], acs: StandIn, heard: Heard
) -> None:
    """The first lets the chunk in flight go on and refuses new work; the second ends it."""
    acs.plan(DOCUMENT, "content", [Fault.hang().always()])

    async with serving_one_chunk(settings(), acs, heard) as url:
        await acs.wait_for_requests(3)
        interrupt()
        await heard.wait_for("worker.draining")
        assert await probe(url) == 503
        interrupt()

    async with opening.open_queue(settings(), create=False) as queue:
        (entry,) = await queue.list()
    assert (entry.state, entry.attempts) == (ChunkState.PENDING, 0)


async def test_webhook_queues_and_no_more(
    settings: Callable[..., Settings], acs: StandIn, heard: Heard
) -> None:
    """Without a consumer the chunk stays pending and the source is left alone."""
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(serving.run_webhook(settings()))
        url = str((await heard.wait_for("worker.started"))["listen"])
        assert await post(url, acs.address(ONE_CHUNK.read_bytes())) == 200
        interrupt()

    async with opening.open_queue(settings(), create=False) as queue:
        (entry,) = await queue.list()
    assert entry.state is ChunkState.PENDING
    assert acs.requests == []


@pytest.mark.parametrize(("location", "code"), [(None, 0), ("https://evil.example", 3)])
async def test_consume_until_empty_says_whether_chunks_are_dead(
    settings: Callable[..., Settings],
    acs: StandIn,
    heard: Heard,
    location: str | None,
    code: int,
) -> None:
    """0 when all is home, 3 when a chunk needs a person."""
    here = f"http://{acs.global_host}"
    chunk = a_chunk(host=location or here, document_id=DOCUMENT)
    async with opening.open_queue(settings(), create=True) as queue:
        await queue.put(a_delivery(chunk, received_at=SystemClock().now()))

    assert await serving.run_consume(settings(), until_empty=True) == code
    assert len(heard.of("chunk.finished")) == 1


async def test_consume_ends_with_zero_on_a_signal(
    settings: Callable[..., Settings], heard: Heard
) -> None:
    """Stopped from outside, dead chunks or not, it has done what it was asked to."""
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        consuming = group.create_task(
            serving.run_consume(settings(), until_empty=False)
        )
        await heard.wait_for("worker.started")
        interrupt()

    assert consuming.result() == serving.DONE


@pytest.mark.parametrize("until_empty", [False, True])
async def test_consume_is_stopped_in_order_while_its_queue_is_out(
    settings: Callable[..., Settings],
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    *,
    until_empty: bool,
) -> None:
    """It asks nothing more of it: the end would be a failure, and told as one."""

    async def out(*_: object, **__: object) -> None:
        raise QueueUnavailableError("no answer")

    for verb in ("lease", "counts"):
        monkeypatch.setattr(SqliteQueue, verb, out)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        consuming = group.create_task(
            serving.run_consume(settings(), until_empty=until_empty)
        )
        await heard.wait_for("queue.unavailable")
        interrupt()

    assert consuming.result() == serving.DONE
    assert len(heard.of("worker.stopped")) == 1


@pytest.mark.parametrize("run", [serving.run_serve, serving.run_webhook])
@pytest.mark.receiver_row(8)
async def test_endpoint_answers_before_and_after_its_storage_is_open(
    settings: Callable[..., Settings],
    acs: StandIn,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Settings], Coroutine[None, None, None]],
) -> None:
    """503 while the queue takes its time to open or to close, and no refused connection."""
    body = acs.address(ONE_CHUNK.read_bytes())
    may_open, is_closing, may_close = asyncio.Event(), asyncio.Event(), asyncio.Event()
    open_queue = opening.open_queue

    @asynccontextmanager
    async def open_slowly(*some: Any, **more: Any) -> AsyncIterator[Any]:
        await may_open.wait()
        async with open_queue(*some, **more) as queue:
            yield queue
        is_closing.set()
        await may_close.wait()

    monkeypatch.setattr(opening, "open_queue", open_slowly)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(run(settings()))
        url = str((await heard.wait_for("worker.listening"))["listen"])
        before = await post(url, body), await probe(url)
        may_open.set()
        await heard.wait_for("worker.started")
        during = await post(url, body), await probe(url)
        interrupt()
        await is_closing.wait()
        after = await post(url, body), await probe(url)
        may_close.set()

    assert [before, during, after] == [(503, 503), (200, 200), (503, 503)]


async def test_part_that_dies_ends_the_process(
    settings: Callable[..., Settings], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that crashes must not leave an endpoint that queues for nobody."""

    async def die(_consumer: Consumer, _stopping: asyncio.Event) -> None:
        raise RuntimeError("the loop is broken")

    monkeypatch.setattr(Consumer, "run", die)
    with pytest.raises(ExceptionGroup) as raised:
        await serving.run_serve(settings())

    assert raised.group_contains(RuntimeError, match="the loop is broken")
    with pytest.raises(aiohttp.ClientConnectorError):
        await probe(str(heard.of("worker.started")[0]["listen"]))


async def test_consume_says_that_its_inbox_could_not_be_emptied(
    settings: Callable[..., Settings], heard: Heard
) -> None:
    """A job that could not read its inbox needs attention, and does the rest all the same."""
    nobody = "http://127.0.0.1:9"
    account = azurite.connection_string(
        f"{nobody}/{azurite.ACCOUNT}", f"{nobody}/{azurite.ACCOUNT}"
    )

    code = await serving.run_consume(
        settings(
            WORKER_INBOX=f"{nobody}/{azurite.ACCOUNT}/inbox",
            AZURE_STORAGE_CONNECTION_STRING=account,
        ),
        until_empty=True,
    )

    assert code == serving.NEEDS_ATTENTION
    assert len(heard.of("inbox.unavailable")) == 1


class LongInbox(Inbox):
    """Asks how the process is before its first turn, and after it."""

    def __init__(self, admin: Callable[[], str]) -> None:
        self.seen: list[Any] = []
        self._admin = admin

    async def empty(
        self, _: asyncio.Event, *, turned: Callable[[], None] | None = None
    ) -> bool:
        assert turned is not None
        async with aiohttp.ClientSession() as session:
            while not self.seen or self.seen[-1]["status"] == "starting":
                async with session.get(self._admin() + "/health") as got:
                    self.seen.append(await got.json())
            turned()
            async with session.get(self._admin() + "/health") as got:
                self.seen.append(await got.json())
        return True


async def test_job_that_empties_a_long_inbox_lives_and_sees_its_queue(
    settings: Callable[..., Settings], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of it are no start that hangs, and chunks at risk are told of meanwhile."""
    inbox = LongInbox(lambda: str(heard.of("admin.listening")[0]["listen"]))

    @asynccontextmanager
    async def opened(*_: object, **__: object) -> AsyncIterator[Inbox]:
        yield inbox

    monkeypatch.setattr(receiving, "open_inbox", opened)
    code = await serving.run_consume(
        settings(WORKER_ADMIN_LISTEN="127.0.0.1:0"), until_empty=True
    )

    *_, before, after = inbox.seen
    assert code == serving.DONE
    assert (before["status"], before["consumer"]["turned_at"]) == ("ok", None)
    assert after["consumer"]["turned_at"] is not None


class RiskyQueue(MemoryQueue):
    """Fails the first count, and has a chunk at risk ever after."""

    counted = 0

    async def counts(self, **within: Any) -> QueueCounts:
        RiskyQueue.counted += 1
        if RiskyQueue.counted == 1:
            raise QueueUnavailableError("not now")
        return await super().counts(**within)


async def test_watch_is_loud_about_chunks_at_risk(
    settings: Callable[..., Settings], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how many and when the first is lost; trouble of the queue doesn't end it."""
    queue = RiskyQueue(clock=SystemClock())
    RiskyQueue.counted = 0

    @asynccontextmanager
    async def open_queue(
        _settings: Settings, *, create: bool, archive: object
    ) -> AsyncIterator[Any]:
        assert create
        assert archive
        yield queue

    await queue.put(a_delivery(a_chunk()))
    monkeypatch.setattr(opening, "open_queue", open_queue)
    monkeypatch.setattr(at_risk, "LOOK_SECONDS", 0.001)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(serving.run_webhook(settings()))
        told = await heard.wait_for("chunks.at_risk")
        interrupt()

    assert len(heard.of("queue.unavailable")) == 1
    assert told["chunks"] == 1
    assert told["oldest_deadline"] == a_chunk().expires_at.isoformat()


async def test_watch_is_silent_about_chunks_in_time(
    settings: Callable[..., Settings], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing at risk, nothing said, however often it looks."""
    looks = asyncio.Event()

    class CalmQueue(MemoryQueue):
        async def counts(self, **within: Any) -> QueueCounts:
            looks.set()
            return await super().counts(**within)

    @asynccontextmanager
    async def open_queue(
        _settings: Settings, *, create: bool, archive: object
    ) -> AsyncIterator[Any]:
        assert create
        assert archive
        yield CalmQueue(clock=SystemClock())

    monkeypatch.setattr(opening, "open_queue", open_queue)
    monkeypatch.setattr(at_risk, "LOOK_SECONDS", 0.001)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(serving.run_webhook(settings()))
        await looks.wait()
        interrupt()

    assert heard.of("chunks.at_risk") == []


class Watching(NoObserver):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.statuses: list[int | None] = []
        self.stages: list[str] = []

    def posted(self, posted: Posted) -> None:
        self.statuses.append(posted.status)

    def stage(self, _chunk: object, stage: str) -> None:
        self.stages.append(stage)


async def test_replay_works_until_nothing_is_left(
    settings: Callable[..., Settings], acs: StandIn
) -> None:
    """Each file goes through the webhook, key and all, and its chunks come home."""
    body = acs.address(ONE_CHUNK.read_bytes())
    watching = Watching()

    replayed = await replaying.replay(
        settings(WORKER_WEBHOOK_KEYS=KEY), [("one", body)], watcher=watching
    )

    assert watching.statuses == [200]
    assert watching.stages[0] == "queued"
    assert watching.stages[-1] == "deleted"
    assert replayed.lost == []
    assert not replayed.needs_attention


async def test_replay_bears_no_token(
    settings: Callable[..., Settings], acs: StandIn
) -> None:
    """Where deliveries must bear one, saved events come in by the process's own key."""
    chosen = settings(
        WORKER_WEBHOOK_ENTRA_TENANT="11111111-2222-3333-4444-555555555555",
        WORKER_WEBHOOK_ENTRA_AUDIENCES="api://recordings",
        WORKER_WEBHOOK_ENTRA_AUTHORITY="http://127.0.0.1:9",
    )
    body = acs.address(ONE_CHUNK.read_bytes())

    replayed = await replaying.replay(chosen, [("one", body)], watcher=Watching())

    assert [each.status for each in replayed.posted] == [200]
    assert not replayed.needs_attention


def a_dead_letter(shape: str) -> list[object]:
    """What lies in the dead-letter container, of an event that could not be delivered.

    https://learn.microsoft.com/azure/event-grid/manage-event-delivery
    https://learn.microsoft.com/azure/event-grid/dead-letter-event-subscriptions-namespace-topics
    """
    cloud = shape != "event-grid"
    name = "one-chunk.cloud-event.json" if cloud else ONE_CHUNK.name
    sample = json.loads((events_dir() / name).read_bytes())
    event = sample[0] if isinstance(sample, list) else sample
    why = {
        "deadLetterReason": "MaxDeliveryAttemptsExceeded",
        "deliveryAttempts": 30,
        "lastDeliveryOutcome": "TimedOut",
        "publishTime": "2026-02-03T10:01:00.1234567Z",
        "lastDeliveryAttemptTime": "2026-02-03T14:48:00.1234567Z",
    }
    if shape == "event-grid":
        return [event | why]
    lower = {name.lower(): value for name, value in why.items()}
    if shape == "cloud-event":
        return [event | lower]
    return [{"deadLetterProperties": lower, "event": event}]


@pytest.mark.receiver_row(12)
@pytest.mark.parametrize("shape", ["event-grid", "cloud-event", "namespace"])
async def test_replay_of_a_dead_letter_brings_its_chunk_home(
    settings: Callable[..., Settings], acs: StandIn, tmp_path: Path, shape: str
) -> None:
    """A blob of the container, in the folders that Event Grid puts it into."""
    blob = tmp_path / "dead/RECORDINGS/2026/2/3/9/0f3ae32a.json"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(acs.address(json.dumps(a_dead_letter(shape)).encode()))
    watching = Watching()

    replayed = await replaying.replay(
        settings(), replaying.read_bodies([tmp_path / "dead"]), watcher=watching
    )

    assert watching.statuses == [200]
    assert watching.stages[-1] == "deleted"
    assert not replayed.needs_attention


async def test_replay_needs_attention_when_refused_or_dead(
    settings: Callable[..., Settings],
) -> None:
    """A file that was answered 400, and a chunk that ended dead."""
    foreign = events_dir() / "hostile/foreign-host.event-grid.json"
    bodies = (b"{", foreign.read_bytes())

    replayed = [
        await replaying.replay(settings(), [("file", body)], watcher=Watching())
        for body in bodies
    ]

    assert [each.posted[0].status for each in replayed] == [400, 200]
    assert [len(each.lost) for each in replayed] == [0, 1]
    assert all(each.needs_attention for each in replayed)


def test_event_files_are_found_by_name(tmp_path: Path) -> None:
    """Folders stand for the .json files in and below them, in order, whatever their names."""
    (tmp_path / "b.json").mkdir()
    for name in ("b/2.json", "a/1.json", "a/notes.txt", "c.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)

    bodies = list(replaying.read_bodies([tmp_path / "c.json", tmp_path]))

    assert bodies == [
        ("c.json", b"c.json"),
        ("1.json", b"a/1.json"),
        ("2.json", b"b/2.json"),
        ("c.json", b"c.json"),
    ]


@pytest.mark.parametrize("name", ["missing.json", "empty", "huge.json"])
def test_what_cannot_be_replayed_is_named(tmp_path: Path, name: str) -> None:
    """A file that isn't there, a folder without any, a file that is no delivery."""
    (tmp_path / "empty").mkdir()
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(replaying.MAX_FILE_BYTES + 1)

    with pytest.raises(ReplayFileError, match=name):
        replaying.read_bodies([tmp_path / name])


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., int]]:
    """The command, in a folder of its own, at full speed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKER_ARCHIVE_RESERVE_MIB", "1")
    monkeypatch.setattr(replaying, "SHOW_BYTES_PER_S", 1 << 30)
    monkeypatch.setattr(replaying, "SHOW_LATENCY_S", 0)
    with isolated_logs():
        yield lambda *arguments: main(arguments)


@pytest.mark.receiver_row(12)
def test_replay_command_simulates_the_source(
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No settings are needed, and those that would lead elsewhere don't count."""
    monkeypatch.setenv("WORKER_SOURCE_HOSTS", "127.0.0.1:9")
    monkeypatch.setenv("WORKER_LISTEN", "0.0.0.0:80")
    monkeypatch.setenv("WORKER_INBOX", "https://acct.queue.core.windows.net/events")
    monkeypatch.setenv("WORKER_NOTIFY", "https://topic.example/api/events")
    monkeypatch.setenv("WORKER_ACS_ENDPOINT", "https://contoso.communication.azure.com")

    code = command("replay", str(ONE_CHUNK), "--simulate")

    out = capsys.readouterr().out
    assert code == 0
    assert "recording complete; source said 200" in out
    assert "archive  data/archive" in out


def test_replay_command_refuses_real_chunks_that_tokens_are_for(
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An endpoint says as well as a key that the queue may be a real source's."""
    monkeypatch.setenv("WORKER_QUEUE", "sqlite:real/queue.db")
    monkeypatch.setenv("WORKER_ACS_ENDPOINT", "https://contoso.communication.azure.com")

    assert command("replay", str(ONE_CHUNK), "--simulate") == 78
    assert "AZURE_COMMUNICATION_ENDPOINT" in capsys.readouterr().err


def test_replay_command_reports_what_is_dead(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3, and the reason in the closing table."""
    foreign = events_dir() / "hostile/foreign-host.event-grid.json"

    assert command("replay", str(foreign), "--simulate") == 3
    assert "host-not-allowed" in capsys.readouterr().out


def test_replay_command_without_simulate_needs_settings(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The real source needs a key and a place to keep its chunks."""
    assert command("replay", str(ONE_CHUNK)) == 78
    err = capsys.readouterr().err
    for name in ("AZURE_COMMUNICATION_CONNECTION_STRING", "WORKER_ARCHIVE"):
        assert f"error: {name}: " in err


def test_replay_command_uses_the_source_that_is_set(
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without --simulate the settings count; a closed port is tried, not the sample."""
    foreign = events_dir() / "hostile/foreign-host.event-grid.json"
    monkeypatch.setenv("WORKER_SOURCE_HOSTS", "127.0.0.1:9")
    monkeypatch.setenv(
        "AZURE_COMMUNICATION_CONNECTION_STRING",
        "endpoint=https://calls.communication.azure.com/;accesskey=aHVudGVyMg==",
    )

    assert command("replay", str(foreign)) == 3
    assert "host-not-allowed" in capsys.readouterr().out
