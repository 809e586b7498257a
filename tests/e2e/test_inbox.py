"""No public endpoint: `consume` alone, on a Storage Queue that Event Grid delivers to."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient

from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.e2e.events import documents_in, fresh_chunk, sample, samples_of
from tests.e2e.world import World, check_home, receipt_in
from worker import names

ONE_CHUNK = "one-chunk.cloud-event.json"
MIXED = "byos-mixed.event-grid.json"
IN_SAMPLES = b"https://contosorecordings.blob.core.windows.net/calls"


@pytest.fixture
async def inbox(
    own_account: Azurite, unique_name: UniqueName
) -> AsyncIterator[QueueClient]:
    """A queue that Event Grid may deliver to, as it sees it."""
    async with QueueClient.from_connection_string(
        own_account.connection_string, unique_name("inbox")
    ) as client:
        await client.create_queue()
        yield client


@pytest.fixture
def reader(world: World, own_account: Azurite, inbox: QueueClient) -> World:
    """A world whose workers read that queue."""
    settings = {
        "WORKER_INBOX": own_account.queue(inbox.queue_name),
        "AZURE_STORAGE_CONNECTION_STRING": own_account.connection_string,
    }
    return replace(world, settings=settings)


async def left(inbox: QueueClient) -> int | None:
    """How many messages it holds, hidden ones too."""
    return (await inbox.get_queue_properties()).approximate_message_count


async def test_consume_brings_a_message_home(reader: World, inbox: QueueClient) -> None:
    """A message is received, its chunk fetched at once, and a signal ends both."""
    body, original = fresh_chunk(reader.acs, "inbox-1")
    await inbox.send_message(base64.b64encode(body).decode())

    async with reader.running("consume") as worker:
        await worker.wait_for("delivery.accepted", origin="inbox", chunks=1)
        await worker.wait_for("chunk.finished", outcome="deleted")
        assert await worker.stop() == 0

    await check_home(reader, {"inbox-1": original})
    assert await left(inbox) == 0


async def test_consume_until_empty_empties_the_inbox_first(
    reader: World, inbox: QueueClient
) -> None:
    """As a job it receives what there is, brings it home, and ends."""
    body = reader.acs.address(sample(ONE_CHUNK).read_bytes())
    await inbox.send_message(body.decode())
    await inbox.send_message(body.decode())

    ended = await reader.run("consume", "--until-empty")

    assert ended.code == 0
    await check_home(reader, samples_of(documents_in(body)))
    assert await left(inbox) == 0


async def test_worker_killed_with_messages_in_hand_loses_none(
    reader: World, inbox: QueueClient
) -> None:
    """What a killed worker had received comes back, and comes home once."""
    body, original = fresh_chunk(reader.acs, "inbox-2")
    await inbox.send_message(base64.b64encode(body).decode())
    # It may have leased the chunk as well: nobody else has it until that lapses.
    hasty = {**reader.settings, "WORKER_LEASE_SECONDS": "1"}
    async with replace(reader, settings=hasty).running("consume") as worker:
        await worker.wait_for("delivery.accepted")
        worker.kill()
    # Whether it came to the delete or not: the message as it would come back.
    await inbox.send_message(base64.b64encode(body).decode())

    ended = await reader.run("consume", "--until-empty")

    assert ended.code == 0
    await check_home(reader, {"inbox-2": original})


async def test_serve_reads_the_inbox_beside_the_webhook(
    reader: World, inbox: QueueClient
) -> None:
    """A worker that listens takes messages as well."""
    body, original = fresh_chunk(reader.acs, "inbox-3")

    async with reader.running("serve") as worker:
        await worker.url()
        await inbox.send_message(base64.b64encode(body).decode())
        await worker.wait_for("chunk.finished", outcome="deleted")
        assert await worker.stop() == 0

    await check_home(reader, {"inbox-3": original})


async def test_consume_indexes_what_acs_exported(
    reader: World, own_account: Azurite, inbox: QueueClient, unique_name: UniqueName
) -> None:
    """A message of a recording half exported, half rescued: each chunk by its own way."""
    name = unique_name("calls")
    url = own_account.container(name)
    body = reader.acs.address(sample(MIXED).read_bytes())
    body = body.replace(IN_SAMPLES, url.encode())
    (event,) = json.loads(body)
    exported, rescued = event["data"]["recordingStorageInfo"]["recordingChunks"]
    original = samples_of([exported["documentId"]])[exported["documentId"]]
    async with ContainerClient.from_connection_string(
        own_account.connection_string, name
    ) as container:
        await container.create_container()
        for part, data in (
            ("contentLocation", original.content),
            ("metadataLocation", original.metadata),
        ):
            blob = exported[part].removeprefix(f"{url}/")
            await container.upload_blob(blob, data)
    await inbox.send_message(base64.b64encode(json.dumps(event).encode()).decode())

    ended = await reader.run(
        "consume", "--until-empty", WORKER_BYOS="index", WORKER_BYOS_CONTAINERS=url
    )

    assert ended.code == 0
    assert reader.acs.deleted == {rescued["documentId"]}
    key = names.chunk_key(exported["documentId"], exported["contentLocation"])
    receipt = await receipt_in(reader.stores, key)
    assert receipt is not None
    assert receipt.content.name == exported["contentLocation"]
    assert receipt.content.sha256 == hashlib.sha256(original.content).hexdigest()
    manifests = await reader.stores.names(f"{receipt.recording_folder}manifest.")
    assert len(manifests) == 2
    assert await left(inbox) == 0
