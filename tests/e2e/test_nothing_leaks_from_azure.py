"""Canaries through a worker whose queue, archive and inbox lie in Azure Storage."""

import base64
import json
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
from azure.storage.queue.aio import QueueClient

from tests import canaries
from tests.azurite import KEY, Azurite
from tests.canaries import Canary
from tests.e2e import events
from tests.e2e.events import Original
from tests.e2e.world import World

AZURE = pytest.mark.parametrize("stores", ["azure"], indirect=True)
DOCUMENT = "0-eus-d1-azure"


def a_recording(world: World) -> bytes:
    """Announce a chunk, naming someone who took part in event and metadata."""
    body, original = events.fresh_chunk(world.acs, DOCUMENT)
    metadata = json.loads(original.metadata)
    metadata["participants"] = [{"participantId": canaries.RAW_ID}]
    told = Original(content=original.content, metadata=json.dumps(metadata).encode())
    world.acs.put(DOCUMENT, content=told.content, metadata=told.metadata)
    (event,) = json.loads(body)
    event["data"]["nickname"] = canaries.NICKNAME
    return json.dumps(event).encode()


@pytest.mark.receiver_row(11)
@AZURE
async def test_worker_on_storage_tells_neither_key_nor_signature(
    world: World, own_account: Azurite
) -> None:
    """The key signs for queue and inbox, a signature in its URL opens the archive; a message
    that can't be read goes to the poison queue, and nothing of it into the log.
    """
    signature = own_account.signature()
    signed = replace(
        world,
        settings={
            "WORKER_ARCHIVE": f"{own_account.container('world', 'archive')}?{signature}",
            "WORKER_INBOX": own_account.queue("inbox"),
        },
    )
    nobody = f'[{{"id": "{canaries.NICKNAME} {canaries.VALIDATION_CODE}'
    async with QueueClient.from_connection_string(
        own_account.connection_string, "inbox"
    ) as inbox:
        await inbox.create_queue()
        await inbox.send_message(base64.b64encode(a_recording(signed)).decode())
        await inbox.send_message(nobody)
    printed = []
    async with signed.running("-v", "consume") as worker:
        await worker.wait_for("inbox.poisoned")
        await worker.wait_for("chunk.finished", outcome="deleted")
        assert await worker.stop() == 0
    printed += [worker.err, worker.out]
    for verb in (
        ["-v", "status"],
        ["config"],
        ["recordings", "show", DOCUMENT, "--json"],
    ):
        ended = await signed.run(*verb)
        assert ended.code in {0, 3}, ended.err
        printed += [ended.out, ended.err]

    among = (
        *canaries.ALL,
        Canary(name="storage key", text=KEY),
        Canary(name="storage signature", text=parse_qs(signature)["sig"][0]),
    )
    assert canaries.seen("\n".join(printed), among) == []
