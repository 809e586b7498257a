"""A worker that is killed within a long chunk, and what its successor still has to fetch."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from samples.acs import SeenRequest, StandIn
from samples.acsmetadata import metadata_of
from samples.content import MIB, SyntheticContent
from tests.azurite import Azurite
from tests.blobs import blob_archive
from tests.conftest import UniqueName
from tests.e2e import events, worker_process
from worker import names
from worker.archives.read_back import Digests
from worker.model import ChunkKey
from worker.stored import Receipt, blocks_sha256, decode

DOCUMENT = "0-eus-d1-801b3f3fc462fe8a01e6810cbff729b8"
CHUNK_BYTES = 256 * MIB
BLOCK_BYTES = 8 * MIB
RANGES = 8
KILLED_AT = 0.8
LOOK_AGAIN_S = 0.02
PATIENCE_S = 50


@pytest.fixture
async def acs() -> AsyncIterator[StandIn]:
    async with StandIn() as acs:
        yield acs


def settings(acs: StandIn, azurite: Azurite, container: str) -> dict[str, str]:
    return {
        "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
        "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
        "WORKER_ARCHIVE": azurite.container(container),
        "WORKER_QUEUE": "sqlite:queue.db",
        "WORKER_LISTEN": "127.0.0.1:0",
        "WORKER_ADMIN_LISTEN": "off",
        "WORKER_SOURCE_HOSTS": f"{acs.global_host},{acs.regional_host}",
        "WORKER_BLOCK_MIB": str(BLOCK_BYTES // MIB),
        "WORKER_MAX_RANGES": str(RANGES),
        "WORKER_LEASE_SECONDS": "1",
        # The bytes were checked block by block on their way; to read them back takes as
        # long again, and says nothing of what was fetched.
        "WORKER_VERIFY": "checksum",
        "WORKER_DELETE_SOURCE": "never",
        "WORKER_UNSAFE_STORAGE": "allow",
    }


def offer(acs: StandIn, content: SyntheticContent) -> bytes:
    """Have the chunk; the delivery that announces it."""
    started_at = datetime.now(UTC) - timedelta(hours=1)
    metadata = json.loads(metadata_of(DOCUMENT, duration_ms=content.duration_ms))
    metadata["chunkStartTime"] = started_at.isoformat()
    acs.put(DOCUMENT, content=content, metadata=json.dumps(metadata).encode())
    return events.announcement(acs, DOCUMENT, started_at=started_at)


def contents_sent(requests: list[SeenRequest]) -> int:
    """Bytes of the content that these requests brought."""
    return sum(seen.bytes_sent for seen in requests if seen.path.endswith("/video"))


def digest_of_blocks(content: SyntheticContent) -> str:
    digests = Digests(BLOCK_BYTES)
    for offset in range(0, content.size, MIB):
        piece = memoryview(content.read(offset, MIB))
        digests.add_whole(piece)
        digests.add_blocks(piece)
    return blocks_sha256(digests.result(size_bytes=content.size).blocks)


async def receipt_in(azurite: Azurite, container: str) -> Receipt:
    async with blob_archive(azurite, container, create=False) as archive:
        data = await archive.read(names.receipt_name(ChunkKey(DOCUMENT)))
    assert data is not None
    return decode(Receipt, data)


@pytest.mark.timeout(120)
async def test_successor_of_a_killed_worker_fetches_what_is_missing(
    acs: StandIn, azurite: Azurite, unique_name: UniqueName, tmp_path: Path
) -> None:
    """Killed at 80 % of 256 MiB: a quarter is fetched, and what was in flight at most."""
    content = SyntheticContent(CHUNK_BYTES, mp4=True)
    body = offer(acs, content)
    container = unique_name("resume")
    environment = settings(acs, azurite, container)

    async with worker_process.running(
        "serve", environment=environment, folder=tmp_path
    ) as worker:
        assert await events.post(await worker.url(), body) == 200
        async with asyncio.timeout(PATIENCE_S):
            while contents_sent(acs.requests) < KILLED_AT * CHUNK_BYTES:  # noqa: ASYNC110 - elsewhere
                await asyncio.sleep(LOOK_AGAIN_S)
        worker.kill()
        await worker.ended()
    before = len(acs.requests)
    async with worker_process.running(
        "consume", "--until-empty", environment=environment, folder=tmp_path
    ) as successor:
        finished = await successor.wait_for("chunk.finished")

    fetched = contents_sent(acs.requests[before:])
    assert finished["outcome"] == "archived"
    assert fetched <= CHUNK_BYTES // 4 + RANGES * BLOCK_BYTES
    receipt = await receipt_in(azurite, container)
    assert receipt.content.size_bytes == CHUNK_BYTES
    assert receipt.content.blocks_sha256 == digest_of_blocks(content)
    # No worker has seen all the bytes, and the receipt doesn't claim it.
    assert (receipt.content.verified, receipt.content.sha256) == ("checksum", None)
