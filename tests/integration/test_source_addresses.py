"""WORKER_SOURCE_ADDRESSES as it is wired: from the settings to what the system's resolver says.

The stand-in is a server of ACS's name with a certificate that is trusted, on loopback.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trustme

from samples.acs import StandIn
from samples.acsmetadata import metadata_of
from tests import media
from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import HurriedClock
from worker import app, opening
from worker.attempt import NoObserver
from worker.model import Chunk, ChunkState, QueuedChunk
from worker.settings import Settings
from worker.settings_rules import Use

ACS_HOST = "us-storage.asm.skype.com"
CHUNK = a_chunk(host=f"https://{ACS_HOST}")


class Ended(NoObserver):
    """Knows that the first attempt is over, and what was said of it."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.once = asyncio.Event()

    def explain(self, chunk: Chunk, note: str) -> None:
        del chunk
        self.said.append(note)
        self.once.set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HurriedClock:
    clock = HurriedClock()
    monkeypatch.setattr(app, "SystemClock", lambda: clock)
    monkeypatch.setattr(opening, "SystemClock", lambda: clock)
    return clock


@pytest.fixture
async def acs(
    clock: HurriedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StandIn]:
    """The source of the chunk, to which the system's resolver leads."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(ACS_HOST).configure_cert(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with StandIn(ssl_context=context, now=clock.now) as acs:
        content = media.mp4(media=Random(0).randbytes(20_000))  # noqa: S311
        metadata = metadata_of(CHUNK.document_id, duration_ms=4000)
        acs.put(CHUNK.document_id, content=content, metadata=metadata)

        def getaddrinfo(*_: object, **__: object) -> list[Any]:
            there = ("127.0.0.1", acs.regional_port)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", there)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield acs


async def tried_once(folder: Path, **more: str) -> tuple[QueuedChunk, str]:
    """Work until the first attempt is over; what the queue and the attempt say of it."""
    settings = Settings.load(
        {
            "AZURE_COMMUNICATION_CONNECTION_STRING": StandIn().connection_string,
            "WORKER_ARCHIVE": f"file:{folder / 'archive'}",
            "WORKER_QUEUE": f"sqlite:{folder / 'queue.db'}",
            "WORKER_ARCHIVE_RESERVE_MIB": "0",
            "WORKER_UNSAFE_STORAGE": "allow",
            **more,
        },
        use=Use.CONSUME,
    )
    ended, stopping = Ended(), asyncio.Event()
    async with (
        asyncio.timeout(20),
        opening.open_queue(settings, create=True) as queue,
        opening.open_archive(settings) as archive,
        app.open_consumer(
            settings,
            queue=queue,
            archive=archive,
            nudge=asyncio.Event(),
            cut=asyncio.Event(),
            observer=ended,
        ) as consumer,
        asyncio.TaskGroup() as group,
    ):
        await queue.put(a_delivery(CHUNK))
        group.create_task(consumer.run(stopping))
        await ended.once.wait()
        stopping.set()
        (entry,) = await queue.announced(CHUNK.recording)
    return entry, ended.said[0]


async def test_private_address_of_a_source_is_waited_out(
    acs: StandIn, tmp_path: Path
) -> None:
    """Unless told otherwise nothing is dialled there; and it may heal, so the chunk lives."""
    entry, said = await tried_once(tmp_path)

    assert acs.requests == []
    assert said.startswith(f"source-address: {ACS_HOST} leads to 127.0.0.1")
    assert entry.state in {ChunkState.PENDING, ChunkState.LEASED}


async def test_private_endpoint_is_used_where_that_is_said_aloud(
    acs: StandIn, tmp_path: Path
) -> None:
    """The same chunk comes home with WORKER_SOURCE_ADDRESSES=any."""
    entry, _ = await tried_once(tmp_path, WORKER_SOURCE_ADDRESSES="any")

    assert acs.deleted == {CHUNK.document_id}
    assert entry.state is ChunkState.DELETED
