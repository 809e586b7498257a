"""A consumer in this process that tells a topic what it does, wired as in production."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from samples.acs import StandIn
from tests.factories import a_chunk, a_delivery, an_announcement
from tests.topic import KEY, StandInTopic
from worker import opening, serving
from worker.clock import SystemClock
from worker.model import Chunk
from worker.notices import ARCHIVED, AT_RISK
from worker.settings import Settings
from worker.settings_rules import Use

DOCUMENT = "0-eus-d12-556bc3106390a534e4f454f95332c42f"
NOBODY = "127.0.0.1:9"
PATIENCE_SECONDS = 20


@pytest.fixture
async def topic() -> AsyncIterator[StandInTopic]:
    async with StandInTopic() as topic:
        yield topic


@pytest.fixture
async def acs() -> AsyncIterator[StandIn]:
    async with StandIn() as acs:
        acs.serve_samples()
        yield acs


@pytest.fixture
def settings(tmp_path: Path, acs: StandIn, topic: StandInTopic) -> Settings:
    hosts = f"{acs.global_host},{acs.regional_host},{NOBODY}"
    return Settings.load(
        {
            "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
            "WORKER_SOURCE_HOSTS": hosts,
            "WORKER_ARCHIVE": f"file:{tmp_path}/archive",
            "WORKER_ARCHIVE_RESERVE_MIB": "1",
            "WORKER_QUEUE": f"sqlite:{tmp_path}/queue.db",
            "WORKER_NOTIFY": topic.endpoint,
            "WORKER_NOTIFY_KEY": KEY,
        },
        use=Use.CONSUME,
    )


async def put(settings: Settings, *chunks: Chunk) -> None:
    async with opening.open_queue(settings, create=True) as queue:
        await queue.put(a_delivery(*chunks, received_at=SystemClock().now()))


async def test_recording_is_told_before_a_job_ends(
    settings: Settings, acs: StandIn, topic: StandInTopic, tmp_path: Path
) -> None:
    """`consume --until-empty` says what it brought home, and where it is."""
    here = f"http://{acs.global_host}"
    expires_at = SystemClock().now() + timedelta(hours=20)
    await put(settings, a_chunk(host=here, document_id=DOCUMENT, expires_at=expires_at))

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await serving.run_consume(settings, until_empty=True) == serving.DONE

    (event,) = topic.events
    assert event["type"] == ARCHIVED
    assert event["source"] == (tmp_path / "archive").as_uri()
    assert event["data"]["chunks"][0]["documentId"] == DOCUMENT
    manifest = event["data"]["manifest"]
    assert (tmp_path / "archive" / manifest).is_file()


async def test_chunk_at_risk_is_told_while_there_is_time(
    settings: Settings, topic: StandInTopic
) -> None:
    """A source that doesn't answer, and five hours left: somebody can still do something."""
    now = SystemClock().now()
    chunk = a_chunk(
        host=f"http://{NOBODY}",
        announcement=an_announcement(recording_id="late"),
        received_at=now,
        expires_at=now + timedelta(hours=5),
    )
    await put(settings, chunk)

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        consuming = group.create_task(serving.run_consume(settings, until_empty=False))
        await topic.wait_for(events=1)
        consuming.cancel()

    (event,) = topic.events
    assert event["type"] == AT_RISK
    assert event["data"]["recordingId"] == "late"
    assert event["data"]["chunks"][0]["documentId"] == chunk.document_id
    assert event["data"]["expiresAt"] == chunk.expires_at.isoformat()
