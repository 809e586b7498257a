"""What `/metrics`, `/health` and OTLP's collector are told of real work, over real HTTP."""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from samples import events_dir
from samples.acs import Fault, StandIn
from tests import canaries
from tests.collector import Collector, collecting
from tests.factories import a_chunk, a_deferred, a_delivery
from tests.heard import PATIENCE_SECONDS, Heard
from tests.isolation import isolated_logs
from worker import at_risk, opening, serving
from worker.__main__ import main
from worker.abilities import Deferring
from worker.clock import SystemClock
from worker.errors import QueueUnavailableError
from worker.opening import WholeQueue
from worker.ops.pausing import set_paused
from worker.queues.sqlite import SqliteQueue
from worker.settings import Settings
from worker.settings_rules import Use
from worker.telemetry import instruments, setup
from worker.telemetry.instruments import ALL

ROOT = Path(__file__).resolve().parents[2]
ONE_CHUNK = events_dir() / "one-chunk.event-grid.json"
MP3 = events_dir() / "demo/04-mp3.event-grid.json"
DELETED = events_dir() / "subscription-deleted.event-grid.json"
DOCUMENT = "0-eus-d12-556bc3106390a534e4f454f95332c42f"
KEY = canaries.WEBHOOK_KEY
AGAIN_SECONDS = 0.02
SENDS = "Otel"
"""How the threads are called by which the SDK sends."""
Samples = dict[str, dict[tuple[str, ...], float]]
Load = Callable[..., Settings]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Catch every log line of this process."""
    heard = Heard()
    with isolated_logs():
        structlog.configure(processors=[structlog.contextvars.merge_contextvars, heard])
        yield heard


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_risk, "LOOK_SECONDS", 0.01)


@pytest.fixture
async def acs() -> AsyncIterator[StandIn]:
    """A source that has all samples."""
    async with StandIn() as acs:
        acs.serve_samples()
        yield acs


@pytest.fixture
def environment(tmp_path: Path, acs: StandIn) -> dict[str, str]:
    """What leads to that source, and to an admin listener."""
    return {
        "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
        "WORKER_SOURCE_HOSTS": f"{acs.global_host},{acs.regional_host}",
        "WORKER_LISTEN": "127.0.0.1:0",
        "WORKER_ADMIN_LISTEN": "127.0.0.1:0",
        "WORKER_WEBHOOK_KEYS": KEY,
        "WORKER_ARCHIVE": f"file:{tmp_path}/archive",
        "WORKER_ARCHIVE_RESERVE_MIB": "1",
        "WORKER_QUEUE": f"sqlite:{tmp_path}/queue.db",
    }


@pytest.fixture
def load(environment: dict[str, str]) -> Load:
    """The settings; more by name."""
    return lambda **more: Settings.load(environment | more, use=Use.SERVE)


class Admin:
    """The admin listener of a worker at work, and its webhook."""

    def __init__(self, webhook: str, url: str) -> None:
        self.webhook = webhook
        self.url = url

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path) as got,
        ):
            return got.status, await got.text()

    async def post(self, body: bytes, **headers: str) -> int:
        headers.setdefault("x-functions-key", KEY)
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.webhook, data=body, headers=headers) as got,
        ):
            return got.status

    async def health(self) -> Any:
        return json.loads((await self.get("/health"))[1])

    async def samples(self) -> Samples:
        """All that `/metrics` shows, by name and by the values of the labels."""
        status, text = await self.get("/metrics")
        assert status == 200
        found: Samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values = tuple(sample.labels.values())
                found.setdefault(sample.name, {})[values] = sample.value
        return found

    async def wait_until(self, path: str, status: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if (await self.get(path))[0] == status:
                    return
                await asyncio.sleep(AGAIN_SECONDS)

    async def wait_for(self, name: str, *labels: str, least: float = 1) -> Samples:
        """Scrape until a sample says so much, or more."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                samples = await self.samples()
                if samples.get(name, {}).get(labels, 0) >= least:
                    return samples
                await asyncio.sleep(AGAIN_SECONDS)


@asynccontextmanager
async def serving_with(settings: Settings, heard: Heard) -> AsyncIterator[Admin]:
    """`serve` in this process; ended as an orchestrator ends it."""
    async with asyncio.timeout(25), asyncio.TaskGroup() as group:
        group.create_task(serving.run_serve(settings))
        webhook = str((await heard.wait_for("worker.started"))["listen"])
        at = heard.of("admin.listening") or [{"listen": ""}]
        yield Admin(webhook, str(at[-1]["listen"]))
        os.kill(os.getpid(), signal.SIGTERM)


async def test_metrics_move_with_a_delivery_and_its_chunk(
    load: Load, acs: StandIn, heard: Heard
) -> None:
    """From the event to the delete, each step leaves its number."""
    async with serving_with(load(), heard) as admin:
        before = await admin.samples()
        body = acs.address(ONE_CHUNK.read_bytes())
        assert [await admin.post(body), await admin.post(body)] == [200, 200]
        assert await admin.post(body, **{"x-functions-key": "no"}) == 401
        grid = {"x-functions-key": "no", "aeg-event-type": "Notification"}
        assert await admin.post(body, **grid) == 503
        after = await admin.wait_for("recording_worker_queue_chunks", "deleted")

    accepted = ("webhook", "accepted", "none")
    deliveries = after["recording_worker_deliveries_total"]
    assert before["recording_worker_deliveries_total"][accepted] == 0
    assert deliveries[accepted] == 2
    assert deliveries["webhook", "rejected", "unauthorized"] == 1
    assert deliveries["webhook", "refused", "bad-credential"] == 1
    events = after["recording_worker_events_total"]
    assert (events["chunk",], events["duplicate",]) == (1, 1)
    assert after["recording_worker_chunks_total"]["deleted", "none"] == 1
    moved = after["recording_worker_bytes_total"]
    assert moved["downloaded",] == moved["archived",] > 0
    assert after["recording_worker_leases"][()] == 0
    assert after["recording_worker_delivery_duration_seconds_count"]["accepted",] == 2
    steps = after["recording_worker_chunk_duration_seconds_count"]
    assert {step for (step,) in steps} == {"total", "download", "verify", "delete"}
    assert after["recording_worker_chunk_margin_seconds_count"][()] == 1


OWN_SCENARIO = {
    instruments.CALLBACKS: ("tests/unit/handlers/test_callbacks.py", "of(CALLBACKS"),
    instruments.LEASES_LOST: ("tests/unit/worker/test_measures.py", "of(LEASES_LOST"),
    instruments.VERIFICATIONS: (
        "tests/integration/test_metrics.py",
        'numbers()["recording_worker.verifications"]',
    ),
    instruments.CHECKS: (
        "tests/integration/test_metrics.py",
        'numbers["recording_worker.checks"]',
    ),
}
"""Where those are fed that this run leaves alone, and what asserts it there."""


async def leave_deferred(queue: WholeQueue, *, at: datetime) -> None:
    """A delivery that another worker is sorting."""
    assert isinstance(queue, Deferring)
    await queue.defer(a_deferred(b"[]", received_at=at))
    await queue.take_deferred(most=1, most_bytes=1, hide_seconds=60)


async def test_every_metric_is_fed_by_some_work(
    load: Load, acs: StandIn, heard: Heard
) -> None:
    """A name that nobody feeds is an alert that never fires."""
    acs.plan(DOCUMENT, "content", [Fault.status(503), Fault.hang().always()])
    now = SystemClock().now()
    foreign = a_chunk(host="https://evil.example", document_id="0-x-foreign")
    missing = a_chunk(
        host=f"http://{acs.global_host}",
        document_id="0-x-missing",
        expires_at=now + timedelta(hours=1),
    )
    settings = load(WORKER_DRAIN_SECONDS="0")
    async with opening.open_queue(settings, create=True) as queue:
        await queue.put(a_delivery(foreign, missing, received_at=now))
        await leave_deferred(queue, at=now)

    async with serving_with(settings, heard) as admin:
        assert await admin.post(DELETED.read_bytes()) == 200
        assert await admin.post(acs.address(ONE_CHUNK.read_bytes())) == 200
        assert await admin.post(acs.address(MP3.read_bytes())) == 200
        seen = [
            await admin.wait_for("recording_worker_leases"),
            await admin.wait_for("recording_worker_chunk_margin_seconds_count"),
            await admin.wait_for("recording_worker_queue_at_risk"),
            await admin.wait_for(
                "recording_worker_queue_oldest_age_seconds", least=0.001
            ),
        ]
        async with opening.open_archive(settings) as archive:
            await set_paused(
                archive, paused=True, reason="x", by="me", at=now, dry_run=False
            )
        seen.append(await admin.wait_for("recording_worker_paused", "operator"))

    fed = {
        name
        for samples in seen
        for name, values in samples.items()
        if any(values.values())
    }
    unfed = {each for each in ALL if not fed.intersection(each.prometheus)}
    assert unfed == OWN_SCENARIO.keys()


def test_metrics_with_a_scenario_of_their_own_have_it() -> None:
    """A list of exceptions that leads nowhere is a hole."""
    for path, asserted in OWN_SCENARIO.values():
        lines = (ROOT / path).read_text().splitlines()
        assert [line for line in lines if "assert" in line and asserted in line], path


async def test_health_tells_how_the_consumer_is(
    load: Load, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 while the loop turns and the queue answers; 503 once it does not, and a scrape
    still shows when the queue was last seen.
    """
    async with serving_with(load(), heard) as admin:
        looked = "recording_worker_queue_looked_seconds"
        await admin.wait_until("/health", 200)
        well = await admin.health()

        async def fails(*_: object, **__: object) -> None:
            raise QueueUnavailableError("gone")

        monkeypatch.setattr(SqliteQueue, "counts", fails)
        await admin.wait_until("/health", 503)
        ill, last = await admin.health(), (await admin.samples())[looked]
        assert (await admin.samples())[looked] == last
        assert await admin.get("/livez") == (200, "alive\n")
        monkeypatch.undo()

    assert (well["status"], well["verb"]) == ("ok", "serve")
    assert well["consumer"]["alive"]
    assert well["consumer"]["turned_at"]
    assert well["queue"]["reachable"]
    assert ill["status"] == "queue-unreachable"
    assert ill["queue"]["problem"] == "queue-unavailable"


async def test_page_says_what_there_is(load: Load, heard: Heard) -> None:
    """Whoever opens the port in a browser learns what to ask for."""
    async with serving_with(load(), heard) as admin:
        assert await admin.get("/") == (200, "/metrics\n/health\n/livez\n")


async def test_taken_port_stops_no_work(load: Load, acs: StandIn, heard: Heard) -> None:
    """The second worker of a machine says so in one line, and brings its chunks home."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        async with serving_with(load(WORKER_ADMIN_LISTEN=at), heard) as admin:
            assert await admin.post(acs.address(ONE_CHUNK.read_bytes())) == 200
            finished = await heard.wait_for("chunk.finished")

    (line,) = heard.of("admin.unavailable")
    assert line["listen"] == at
    assert "WORKER_ADMIN_LISTEN" in line["hint"]
    assert finished["outcome"] == "deleted"


async def test_disabled_sdk_shows_no_metrics_but_health(
    load: Load, heard: Heard
) -> None:
    """OTEL_SDK_DISABLED is the ecosystem's switch, for all of it."""
    async with serving_with(load(OTEL_SDK_DISABLED="true"), heard) as admin:
        status, text = await admin.get("/metrics")
        await admin.wait_until("/health", 200)

    assert status == 404
    assert "OTEL_SDK_DISABLED" in text


async def test_collector_gets_what_is_left_when_a_worker_ends(
    load: Load, acs: StandIn, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the names, the numbers, and who sent them as OTEL_* say."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "recordings-of-mine")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
    async with collecting() as collector:
        settings = load(
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            WORKER_ADMIN_LISTEN="off",
            WORKER_INSTANCE="one",
        )
        async with serving_with(settings, heard) as admin:
            assert await admin.post(acs.address(ONE_CHUNK.read_bytes())) == 200
            await heard.wait_for("chunk.finished")

    numbers = collector.numbers()
    done = frozenset({("outcome", "deleted"), ("reason", "none")})
    assert numbers["recording_worker.chunks"][done] == 1
    assert numbers["recording_worker.chunk.margin"][frozenset()] == 1
    operator = frozenset({("scope", "operator")})
    assert numbers["recording_worker.paused"][operator] == 0
    assert collector.resource["service.name"] == "recordings-of-mine"
    assert collector.resource["service.instance.id"] == "one"
    assert collector.resource["deployment.environment.name"] == "test"
    assert collector.headers[-1]["api-key"] == "secret"
    assert heard.of("telemetry.unavailable") == []


async def test_metrics_go_out_while_a_worker_works(
    load: Load, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as OTEL_METRIC_EXPORT_INTERVAL says."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    async with collecting() as collector:
        settings = load(
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{collector.url}/v1/metrics"
        )
        async with serving_with(settings, heard):
            await collector.wait_for(3)


async def test_collector_that_is_down_is_told_once(
    load: Load,
    acs: StandIn,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And again when it takes metrics once more; the work goes on meanwhile."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    async with collecting(status=401) as collector:
        settings = load(
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{collector.url}/v1/metrics"
        )
        async with serving_with(settings, heard) as admin:
            await collector.wait_for(3)
            assert await admin.post(acs.address(ONE_CHUNK.read_bytes())) == 200
            finished = await heard.wait_for("chunk.finished")
            collector.status = 200
            await heard.wait_for("telemetry.resumed")

    (line,) = heard.of("telemetry.unavailable")
    assert {
        "signal": "metrics",
        "to": "otlp",
        "error": "status 401",
    }.items() <= line.items()
    assert finished["outcome"] == "deleted"


async def test_collector_that_hangs_holds_up_no_stop(
    load: Load, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be sent within a while is not sent."""
    monkeypatch.setattr(setup, "FLUSH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with serving_with(load(OTEL_EXPORTER_OTLP_ENDPOINT=url), heard):
            pass
        left = [each for each in threading.enumerate() if SENDS in each.name]

    # Now it fails, and what it says of that is not to be heard by the next test.
    for thread in left:
        await asyncio.to_thread(thread.join, 20)
    assert heard.of("worker.stopped")
    assert left


@pytest.mark.parametrize("exporter", ["none", "NONE"])
async def test_nothing_is_sent_where_the_exporter_is_none(
    load: Load, heard: Heard, exporter: str
) -> None:
    """`/metrics` shows them all the same."""
    async with collecting() as collector:
        settings = load(
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_METRICS_EXPORTER=exporter
        )
        async with serving_with(settings, heard) as admin:
            assert "recording_worker_leases" in await admin.samples()

    assert collector.requests == []


@pytest.fixture
async def sent_to(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Collector]:
    """A collector that commands of this process send to."""
    async with collecting() as collector:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        for name, text in environment.items():
            monkeypatch.setenv(name, text)
        with isolated_logs():
            yield collector


async def told_by(*arguments: str) -> int:
    """Run a command beside the collector, which has the loop."""
    return await asyncio.to_thread(main, arguments)


async def test_verification_is_told_before_it_ends(
    sent_to: Collector, load: Load, tmp_path: Path
) -> None:
    """A job that runs for a minute is scraped by nobody."""
    async with opening.open_archive(load()):
        pass

    assert await told_by("recordings", "verify", "--all", "--no-report") == 0

    intact, problems = (
        frozenset({("outcome", each)}) for each in ("intact", "problems")
    )
    assert sent_to.numbers()["recording_worker.verifications"][intact] == 1

    lost = tmp_path / "archive/receipts/00/lost.json"
    lost.parent.mkdir(parents=True)
    lost.write_text("{")

    assert await told_by("recordings", "verify", "--all", "--no-report") == 3
    assert sent_to.numbers()["recording_worker.verifications"][problems] == 1


async def test_check_is_told_with_what_it_saw(sent_to: Collector, load: Load) -> None:
    """The scheduled job sees the queue where no worker may be alive to."""
    async with opening.open_queue(load(), create=True) as queue:
        await queue.put(a_delivery(a_chunk()))

    await told_by("status", "--check")

    numbers = sent_to.numbers()
    assert sum(numbers["recording_worker.checks"].values()) == 1
    pending = frozenset({("state", "pending")})
    assert numbers["recording_worker.queue.chunks"][pending] == 1
    assert numbers["recording_worker.queue.looked"][frozenset()] > 0


async def test_application_insights_needs_its_extra(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, and the command that mends it."""
    monkeypatch.setitem(sys.modules, "azure.monitor.opentelemetry.exporter", None)
    more = {"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=x"}
    for name, text in (environment | more).items():
        monkeypatch.setenv(name, text)

    assert await told_by("consume", "--until-empty") == 78

    name = "APPLICATIONINSIGHTS_CONNECTION_STRING"
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"error: {name}: needs azure-monitor-opentelemetry",
        "hint: pip install 'recording-worker[azure-monitor]'",
    ]
