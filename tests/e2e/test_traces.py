"""A chunk's trace, written by real processes and sent to a collector by OTLP."""

import base64
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from azure.storage.queue.aio import QueueClient

from tests import canaries
from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.e2e import events, worker_process
from tests.e2e.world import World
from tests.trace_collector import TraceCollector, collecting_traces
from worker.model import ChunkKey
from worker.telemetry import spans

DOCUMENT = "0-eus-d1-traced"
TRACE, ROOT = spans.trace_id(ChunkKey(DOCUMENT)), spans.root_id(ChunkKey(DOCUMENT))
STEPS = {"download", "archive", "verify", "receipt", "manifest", "delete"}
IMPORTING = (sys.executable, str(Path(__file__).with_name("importing_worker.py")))
NEVER = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
"""Spans are sent at the end alone."""
EMBEDDED = pytest.mark.parametrize("stores", ["embedded"], indirect=True)


@pytest.fixture
async def collector() -> AsyncIterator[TraceCollector]:
    async with collecting_traces() as collector:
        yield collector


@pytest.fixture
def seen(world: World, collector: TraceCollector) -> World:
    """A world whose workers send their traces there, and soon."""
    settings = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "WORKER_ADMIN_LISTEN": "off",
        "WORKER_LEASE_SECONDS": "1",
    }
    return replace(world, settings=world.settings | settings)


async def test_trace_of_a_chunk_leads_from_its_delivery_to_its_delete(
    seen: World, collector: TraceCollector
) -> None:
    """The webhook's process begins it, the consumer's goes on; nothing was carried over."""
    body, _ = events.fresh_chunk(seen.acs, DOCUMENT)

    async with (
        seen.running("webhook", WORKER_INSTANCE="door") as webhook,
        seen.running("consume", WORKER_INSTANCE="mover") as consumer,
    ):
        assert await events.post(await webhook.url(), body) == 200
        line = await consumer.wait_for("chunk.finished", outcome="deleted")
        codes = [await worker.stop() for worker in (webhook, consumer)]

    found = collector.of(TRACE)
    by_name = {span.name: span for span in found}
    assert codes == [0, 0]
    assert by_name.keys() == {"chunk announced", "lease", "attempt"} | STEPS
    root, attempt = by_name["chunk announced"], by_name["attempt"]
    assert (root.span_id, root.parent_id, root.instance) == (ROOT, "", "door")
    assert {by_name[name].parent_id for name in ("lease", "attempt")} == {ROOT}
    assert {by_name[name].parent_id for name in STEPS} == {attempt.span_id}
    assert {span.instance for span in found if span is not root} == {"mover"}
    (delivery,) = [span for span in collector.spans if span.name == "delivery"]
    assert root.links == ((delivery.trace_id, delivery.span_id),)
    assert line["trace_id"] == TRACE


async def test_worker_that_takes_over_writes_into_the_same_trace(
    seen: World, collector: TraceCollector
) -> None:
    """The first is killed while it downloads: that it had the chunk is known all the same."""
    body, _ = events.fresh_chunk(seen.acs, DOCUMENT)
    seen.acs.sends_contents.clear()

    async with seen.running("webhook", WORKER_INSTANCE="door") as webhook:
        assert await events.post(await webhook.url(), body) == 200
        async with seen.running("consume", WORKER_INSTANCE="one") as one:
            await seen.acs.wait_for_read(DOCUMENT)
            await collector.wait_until(
                lambda: "one" in {span.instance for span in collector.of(TRACE)}
            )
            one.kill()
            await one.ended()
        seen.acs.sends_contents.set()
        async with seen.running("consume", WORKER_INSTANCE="two") as two:
            await two.wait_for("chunk.finished", outcome="deleted")
            assert await two.stop() == 0
        assert await webhook.stop() == 0

    found = collector.of(TRACE)
    assert "lease" in {span.name for span in found if span.instance == "one"}
    assert {span.name for span in found if span.instance == "two"} >= STEPS
    assert {span.parent_id for span in found if span.name == "lease"} == {ROOT}
    assert [span.span_id for span in found if span.name == "chunk announced"] == [ROOT]


@pytest.mark.parametrize("stores", ["azure"], indirect=True)
async def test_trace_of_a_chunk_from_the_inbox_begins_there(
    seen: World,
    collector: TraceCollector,
    own_account: Azurite,
    unique_name: UniqueName,
) -> None:
    """The same for whoever has no endpoint; a second delivery adds to it."""
    body, _ = events.fresh_chunk(seen.acs, DOCUMENT)
    async with QueueClient.from_connection_string(
        own_account.connection_string, unique_name("inbox")
    ) as inbox:
        await inbox.create_queue()
        where = own_account.queue(inbox.queue_name)
        for _ in range(2):
            await inbox.send_message(base64.b64encode(body).decode())
            ended = await seen.run("consume", "--until-empty", WORKER_INBOX=where)
            assert ended.code == 0

    names = [span.name for span in collector.of(TRACE)]
    assert names.count("chunk announced") == 1
    assert names.count("chunk announced again") == 1
    assert names.count("delete") == 1


@EMBEDDED
async def test_what_was_settled_and_comes_again_adds_to_its_trace(
    seen: World, collector: TraceCollector
) -> None:
    """Event Grid may deliver an event again when all is done."""
    body, _ = events.fresh_chunk(seen.acs, DOCUMENT)

    async with seen.running("serve") as worker:
        url = await worker.url()
        for count in (1, 2):
            assert await events.post(url, body) == 200
            await worker.wait_until(
                lambda: len(worker.said("chunk.finished")) == count  # noqa: B023 - awaited here
            )
        assert await worker.stop() == 0

    names = [span.name for span in collector.of(TRACE)]
    assert names.count("chunk announced") == 1
    assert names.count("chunk announced again") == 1
    assert names.count("attempt") == 2


@EMBEDDED
@pytest.mark.parametrize(
    "settings",
    [
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
    ],
    ids=lambda settings: " ".join(settings.values()),
)
async def test_traces_that_nobody_wants_are_not_sent(
    seen: World, collector: TraceCollector, settings: dict[str, str]
) -> None:
    """And no line names a trace that cannot be found."""
    body, _ = events.fresh_chunk(seen.acs, DOCUMENT)
    unseen = replace(seen, settings=seen.settings | settings)

    async with unseen.running("serve") as worker:
        assert await events.post(await worker.url(), body) == 200
        line = await worker.wait_for("chunk.finished", outcome="deleted")
        assert await worker.stop() == 0

    assert collector.tried == 0
    assert "trace_id" not in line


@EMBEDDED
async def test_collector_that_fails_harms_nothing_and_is_told_once(
    seen: World, collector: TraceCollector
) -> None:
    """The chunk comes home, and the log has one line however often it was tried."""
    collector.status = 400
    bodies = [events.fresh_chunk(seen.acs, f"{DOCUMENT}-{n}")[0] for n in range(3)]

    async with seen.running("serve") as worker:
        url = await worker.url()
        for count, body in enumerate(bodies, start=1):
            assert await events.post(url, body) == 200
            await worker.wait_until(
                lambda: len(worker.said("chunk.finished")) == count  # noqa: B023 - awaited here
            )
            await collector.wait_until(lambda: collector.tried >= count)  # noqa: B023 - the same
        assert await worker.stop() == 0

    assert len(worker.said("telemetry.unavailable", signal="traces")) == 1
    levels = {line["level"] for line in worker.lines}
    assert levels == {"info", "warning"}


@EMBEDDED
async def test_no_secret_and_no_participant_is_in_a_trace(
    seen: World, collector: TraceCollector
) -> None:
    """Neither of what an event says, nor of where things lie, nor of what goes wrong."""
    body, _ = events.fresh_chunk(seen.acs, DOCUMENT)
    (event,) = json.loads(body)
    event["data"]["participants"] = [{"rawId": canaries.RAW_ID}]
    event["data"]["sessionEndReason"] = canaries.DISPLAY_NAME
    (chunk,) = event["data"]["recordingStorageInfo"]["recordingChunks"]
    chunk["metadataLocation"] += f"?sig={canaries.LOCATION_TOKEN}"
    chunk["endReason"] = canaries.NICKNAME

    async with seen.running(
        "serve", WORKER_WEBHOOK_KEYS=canaries.WEBHOOK_KEY
    ) as worker:
        key = {"x-functions-key": canaries.WEBHOOK_KEY}
        posted = json.dumps([event]).encode()
        assert await events.post(await worker.url(), posted, **key) == 200
        await worker.wait_for("chunk.finished")
        assert await worker.stop() == 0

    told = "\n".join(collector.sent)
    assert DOCUMENT in told
    assert canaries.seen(told, canaries.ALL) == []
    assert seen.acs.regional_host not in told
    assert "http" not in told


@EMBEDDED
async def test_job_sends_its_trace_before_it_ends(
    seen: World, collector: TraceCollector
) -> None:
    """It lives for seconds: nothing may wait for the next turn of a sender."""
    body, _ = events.fresh_chunk(seen.acs, DOCUMENT)
    late = replace(seen, settings=seen.settings | NEVER)

    async with late.running("webhook") as webhook:
        assert await events.post(await webhook.url(), body) == 200
        assert await webhook.stop() == 0
    ended = await late.run("consume", "--until-empty")

    assert ended.code == 0
    names = {span.name for span in collector.of(TRACE)}
    assert names == {"chunk announced", "lease", "attempt"} | STEPS


@EMBEDDED
async def test_replay_sends_its_traces_before_it_ends(
    seen: World, collector: TraceCollector
) -> None:
    """It is receiver and consumer in one."""
    body, _ = events.fresh_chunk(seen.acs, DOCUMENT)
    saved = seen.folder / "saved.json"
    saved.write_bytes(body)

    ended = await seen.run("replay", str(saved), **NEVER)

    assert ended.code == 0
    names = {span.name for span in collector.of(TRACE)}
    assert names == {"chunk announced", "lease", "attempt"} | STEPS


async def test_simulation_is_traced_and_counted_nowhere(
    tmp_path: Path, collector: TraceCollector
) -> None:
    """What never was must not ring anybody, nor stand among what was."""
    environment = NEVER | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "APPLICATIONINSIGHTS_CONNECTION_STRING": "none",
    }
    sample = str(events.sample("one-chunk.event-grid.json"))

    ended = await worker_process.run(
        "replay", sample, "--simulate", environment=environment, folder=tmp_path
    )

    assert ended.code == 0
    assert {"delivery", "chunk announced", "delete"} <= {
        s.name for s in collector.spans
    }
    assert "telemetry.unavailable" not in ended.err


@EMBEDDED
@pytest.mark.parametrize("wanted", [False, True])
async def test_opentelemetry_is_imported_for_those_alone_who_want_it(
    world: World, collector: TraceCollector, *, wanted: bool
) -> None:
    """It costs time at each start, and memory for good."""
    settings = {"WORKER_ADMIN_LISTEN": "off"}
    if wanted:
        settings["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"{collector.url}/v1/traces"

    async with world.running("webhook", command=IMPORTING, **settings) as webhook:
        await webhook.url()
        assert await webhook.stop() == 0
    async with world.running(
        "consume", "--until-empty", command=IMPORTING, **settings
    ) as consumer:
        assert await consumer.ended() == 0

    imported = [bool(process.out.strip()) for process in (webhook, consumer)]
    assert imported == [wanted, wanted]
