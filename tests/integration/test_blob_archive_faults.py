"""The Blob archive when the service throttles, fails or is cut off: nothing is lost or doubled."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import AzureError
from azure.storage.blob.aio import ContainerClient
from structlog.testing import capture_logs

from tests import azurite as emulator
from tests.azurite import Azurite
from tests.blobs import Proxied, blob_archive, proxied_archive
from tests.conftest import UniqueName
from tests.fakes.clock import HurriedClock, ManualClock
from tests.storage_proxy import Fault, Seen
from worker import retry, sdk_options
from worker.archives import blob_store
from worker.archives.blob import BlobArchive
from worker.archives.blob_errors import error_from_azure
from worker.archives.blob_options import BlobOptions
from worker.errors import (
    AlreadyExistsError,
    ArchiveConflictError,
    ArchiveForbiddenError,
    ArchiveFullError,
    ArchiveUnavailableError,
    WorkerError,
)
from worker.ports import BlockWriter
from worker.storage_places import Service, parse

BLOCK_BYTES = 1024
NAME = "recordings/2026/03/01/call-1/6721b9a7677e69ca/0000-0-eus-d1-doc1.mp4"
RECEIPT = "receipts/aa/doc.json"
DATA = hashlib.shake_128(b"sample").digest(2 * BLOCK_BYTES + 7)
OPERATIONS = ["staged", "stage", "commit", "put", "head", "get", "list", "tier"]
FAULTS = [
    Fault.status(500, "InternalError"),
    Fault.status(500, "OperationTimedOut"),
    Fault.status(503, "ServerBusy"),
    Fault.status(503, "ServerBusy", retry_after=3),
    Fault.status(429, "TooManyRequests", retry_after=3),
    Fault.status(408, "RequestTimeout"),
    Fault.reset(),
    Fault.lost_answer(),
]


@pytest.fixture
async def behind(azurite: Azurite, unique_name: UniqueName) -> AsyncIterator[Proxied]:
    async with proxied_archive(
        azurite, unique_name("fault"), options=BlobOptions(tier="archive")
    ) as opened:
        yield opened


async def write(writer: BlockWriter, offset: int) -> None:
    """One block, as a transfer writes it: again, if it has to."""

    async def once() -> None:
        await writer.write(offset, DATA[offset : offset + BLOCK_BYTES])

    await retry.DOWNLOAD.retrying(clock=HurriedClock())(once)


async def live(archive: BlobArchive) -> None:
    """All that happens to a chunk's objects in their life."""
    async with archive.writer(NAME) as writer:
        await writer.held("origin")
        for offset in range(0, len(DATA), BLOCK_BYTES):
            await write(writer, offset)
        stored = await writer.commit(size=len(DATA))
    await archive.create(RECEIPT, b"{}")

    assert await archive.stat(NAME) == stored
    assert await archive.read(NAME) == DATA
    assert await archive.read_range(RECEIPT, 0, 2) == b"{}"
    back = await archive.read_back(NAME, block_bytes=BLOCK_BYTES)
    assert back.sha256 == hashlib.sha256(DATA).hexdigest()
    assert [name async for name in archive.list("")] == [RECEIPT, NAME]
    await archive.seal(NAME)


async def contents(container: ContainerClient) -> dict[str, int | None]:
    return {blob.name: blob.size async for blob in container.list_blobs()}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_fault_once_on_every_operation(
    behind: Proxied, operation: str, fault: Fault
) -> None:
    """Whatever fails once, wherever: each object is right in the end, and there once."""
    behind.proxy.plan(fault, on=operation)

    await live(behind.archive)

    assert await contents(behind.container) == {NAME: len(DATA), RECEIPT: 2}
    stored = await behind.archive.stat(NAME)
    assert stored is not None
    assert stored.protection["tier"] == "archive"


@pytest.mark.parametrize("operation", ["stage", "put"])
async def test_body_that_is_reset_midway_is_sent_again(
    behind: Proxied, operation: str
) -> None:
    """A connection that breaks within a block costs that block's way, and no more."""
    after = 100 if operation == "stage" else 1
    behind.proxy.plan(Fault.reset(after_bytes=after), on=operation)

    await live(behind.archive)

    assert await contents(behind.container) == {NAME: len(DATA), RECEIPT: 2}


@pytest.mark.parametrize("operation", ["get", "list", "staged"])
async def test_answer_that_is_cut_is_not_taken_for_whole(
    behind: Proxied, operation: str
) -> None:
    """A body that ends early is asked for again."""
    behind.proxy.plan(Fault.cut(after_bytes=1), on=operation)

    await live(behind.archive)


@pytest.mark.parametrize("operation", ["stage", "commit", "put", "head", "get"])
async def test_silence_ends(
    azurite: Azurite,
    unique_name: UniqueName,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
) -> None:
    """A service that says nothing is asked again after a while."""
    monkeypatch.setattr(sdk_options, "READ_SECONDS", 0.3)
    monkeypatch.setattr(blob_store, "STAGE_SECONDS", 0.3)
    async with proxied_archive(azurite, unique_name("fault")) as behind:
        behind.proxy.plan(Fault.hang(), on=operation)

        await live(behind.archive)


@pytest.mark.parametrize("operation", ["commit", "put"])
async def test_commit_whose_answer_is_lost_has_happened(
    behind: Proxied, operation: str
) -> None:
    """The next try finds its own object, and does not take it for another's."""
    behind.proxy.plan(Fault.lost_answer(), on=operation)

    await live(behind.archive)

    assert behind.proxy.operations().count(operation) == 2


async def test_name_taken_between_two_tries_is_anothers(behind: Proxied) -> None:
    """The same bytes from another worker are its object: it is compared, not claimed."""
    behind.proxy.plan(Fault.status(503, "ServerBusy"), on="put")
    await behind.container.upload_blob(RECEIPT, b"{}", metadata={"write": "another"})

    with pytest.raises(AlreadyExistsError):
        await behind.archive.create(RECEIPT, b"{}")


async def test_what_the_service_asks_to_wait_is_waited(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Retry-After is kept to, by the clock that was given."""
    clock = ManualClock(auto=True)
    async with proxied_archive(azurite, unique_name("fault"), clock=clock) as behind:
        busy = Fault.status(503, "ServerBusy", retry_after=7)
        behind.proxy.plan(busy, on="put")
        await behind.archive.create(RECEIPT, b"{}")

    (slept,) = clock.sleeps
    assert 7 <= slept < 8


async def test_long_wait_is_left_to_the_queue(behind: Proxied) -> None:
    """A minute is not slept out with the lease in hand; the error says how long."""
    busy = Fault.status(429, "TooManyRequests", retry_after=60)
    behind.proxy.plan(busy, on="put", times=9)

    with pytest.raises(ArchiveUnavailableError) as caught:
        await behind.archive.create(RECEIPT, b"{}")

    assert caught.value.retry_after == 60
    assert behind.proxy.operations() == ["put"]


async def test_outage_is_given_up_after_a_while(behind: Proxied) -> None:
    """The queue takes over where a few tries don't help."""
    down = Fault.status(503, "ServerBusy")
    behind.proxy.plan(down, times=99)

    with pytest.raises(ArchiveUnavailableError, match="is busy"):
        await behind.archive.stat(NAME)

    assert len(behind.proxy.seen) == retry.ARCHIVE.attempts


MEANINGS = [
    (Fault.status(403, "AuthorizationPermissionMismatch"), ArchiveForbiddenError),
    (Fault.status(403, "AuthorizationFailure"), ArchiveForbiddenError),
    (Fault.status(403, "InsufficientAccountPermissions"), ArchiveForbiddenError),
    (Fault.status(403, "AccountIsDisabled"), ArchiveForbiddenError),
    (Fault.status(403, "AuthenticationFailed"), ArchiveForbiddenError),
    (Fault.status(401, "InvalidAuthenticationInfo"), ArchiveForbiddenError),
    (Fault.status(404, "ContainerNotFound"), ArchiveForbiddenError),
    (Fault.status(404, "ResourceNotFound"), ArchiveForbiddenError),
    (Fault.status(400, "InvalidHeaderValue"), ArchiveForbiddenError),
    (Fault.status(409, "ContainerBeingDeleted"), ArchiveUnavailableError),
    (Fault.status(409, "AccountBeingCreated"), ArchiveUnavailableError),
    (Fault.status(409, "SomethingNew"), ArchiveUnavailableError),
    (Fault.status(400, "Md5Mismatch"), ArchiveUnavailableError),
    (Fault.status(413, "RequestBodyTooLarge"), ArchiveFullError),
    (Fault.status(507, "InsufficientStorage"), ArchiveFullError),
    (Fault.status(409, "AccountQuotaExceeded"), ArchiveFullError),
    (Fault.status(400, "InvalidBlobOrBlock"), ArchiveConflictError),
    (Fault.status(409, "InvalidBlobType"), ArchiveConflictError),
    (Fault.status(409, "BlobAlreadyExists"), AlreadyExistsError),
    (Fault.status(409, "BlobImmutableDueToPolicy"), AlreadyExistsError),
    (Fault.status(403, "UnauthorizedBlobOverwrite"), AlreadyExistsError),
    (Fault.status(412, "ConditionNotMet"), AlreadyExistsError),
]


@pytest.mark.parametrize(("fault", "kind"), MEANINGS, ids=str)
async def test_what_the_service_says_means_the_same_everywhere(
    behind: Proxied, fault: Fault, kind: type[WorkerError]
) -> None:
    """One kind of ours for each code, in one line that shows no secret."""
    behind.proxy.plan(fault, times=99)

    with pytest.raises(kind) as caught:
        await behind.archive.create(RECEIPT, b"{}")

    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    if fault.error_code not in {"AuthenticationFailed", "InvalidAuthenticationInfo"}:
        assert fault.error_code in message


async def fill(writer: BlockWriter, *, blocks: int) -> None:
    for number in range(blocks):
        await writer.write(number * writer.block_bytes, bytes(writer.block_bytes))


async def test_full_account_is_told_apart_from_one_that_is_away(
    unique_name: UniqueName,
) -> None:
    """An Azurite that may hold 2 MiB takes no more, and what is there stays readable."""
    name, block_bytes = unique_name("full"), 1024 * 1024
    with emulator.running("--extentMemoryLimit", "2") as small:
        async with blob_archive(small, name, block_bytes=block_bytes) as archive:
            await archive.create(RECEIPT, b"{}")
            async with archive.writer(NAME) as writer:
                with pytest.raises(ArchiveFullError, match="account is full"):
                    await fill(writer, blocks=4)

            assert await archive.read(RECEIPT) == b"{}"
            assert await archive.stat(NAME) is None


@pytest.mark.parametrize(
    "code",
    ["BlobImmutableDueToPolicy", "BlobArchived", "UnauthorizedBlobOverwrite"],
)
async def test_name_found_taken_at_a_block_is_compared(
    behind: Proxied, code: str
) -> None:
    """What Put Block says of a blob that came meanwhile is what the commit would say."""
    behind.proxy.plan(Fault.status(409, code), on="stage")

    async with behind.archive.writer(NAME) as writer:
        for offset in range(0, len(DATA), BLOCK_BYTES):
            await write(writer, offset)
        with pytest.raises(AlreadyExistsError):
            await writer.commit(size=len(DATA))

    assert behind.proxy.operations() == ["head", "stage"]


async def test_blocks_that_vanished_are_looked_for_anew(behind: Proxied) -> None:
    """A commit that lacks blocks is retryable: the next attempt lists them again."""
    gone = Fault.status(400, "InvalidBlockList")
    behind.proxy.plan(gone, on="commit", times=99)

    with pytest.raises(ArchiveUnavailableError, match="blocks are gone"):
        await live(behind.archive)


async def test_commit_that_can_not_be_found_is_not_trusted(behind: Proxied) -> None:
    """A blob that is not there after its commit is tried for again."""
    missing = Fault.status(404, "BlobNotFound")
    behind.proxy.plan(missing, on="head", skip=1)

    with pytest.raises(ArchiveUnavailableError, match="not there yet"):
        await live(behind.archive)


async def test_key_that_is_none_is_told_so(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """A key that can't sign is the operator's to mend, not an outage."""
    place = parse(azurite.container(unique_name("key")), Service.BLOB)
    client = ContainerClient(
        place.account_url,
        place.name,
        credential=AzureNamedKeyCredential(place.account, "A"),
        retry_total=0,
    )
    async with client:
        with pytest.raises(AzureError) as caught:
            await client.create_container()

    error = error_from_azure(caught.value, place)
    assert isinstance(error, ArchiveForbiddenError)
    assert "no credential for 'devstoreaccount1'" in str(error)
    assert "\n" not in str(error)


async def test_block_that_arrives_changed_is_refused(
    behind: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service checks every block against its MD5 before it takes it."""
    sent = blob_store._Body.__aiter__

    async def flipped(body: blob_store._Body) -> AsyncIterator[memoryview]:
        async for piece in sent(body):
            yield memoryview(bytes([piece[0] ^ 1]) + bytes(piece[1:]))

    monkeypatch.setattr(blob_store._Body, "__aiter__", flipped)
    async with behind.archive.writer(NAME) as writer:
        with pytest.raises(ArchiveUnavailableError):
            await writer.write(0, DATA[:BLOCK_BYTES])


def changes_what_is_there(behind: Proxied) -> Callable[[Seen], bool]:
    """What an immutability policy of the container refuses."""

    def is_refused(seen: Seen) -> bool:
        makes = {"put", "commit"}
        made = {
            each.path
            for each in behind.proxy.seen
            if each.operation in makes and each.status == 201
        }
        changes = {*makes, "stage", "tier", "metadata", "tags", "delete"}
        return seen.path in made and seen.operation in changes

    return is_refused


async def test_nothing_of_a_life_is_refused_by_a_policy(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """In a container under an immutability policy all goes on as everywhere."""
    async with proxied_archive(azurite, unique_name("worm")) as behind:
        immutable = Fault.status(409, "BlobImmutableDueToPolicy")
        refused = changes_what_is_there(behind)
        behind.proxy.plan(immutable, matches=refused, times=99, optional=True)

        await live(behind.archive)
        async with behind.archive.writer(NAME) as again:
            for offset in range(0, len(DATA), BLOCK_BYTES):
                await write(again, offset)
            with pytest.raises(AlreadyExistsError):
                await again.commit(size=len(DATA))

        assert 409 not in [seen.status for seen in behind.proxy.seen]
        assert await contents(behind.container) == {NAME: len(DATA), RECEIPT: 2}


def bears_tags(seen: Seen) -> bool:
    return "x-ms-tags" in seen.headers


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(403, "AuthorizationPermissionMismatch"),
        Fault.status(409, "FeatureNotYetSupportedForHierarchicalNamespaceAccounts"),
        Fault.status(400, "BlobTagsNotSupportedForAccountType"),
    ],
    ids=str,
)
async def test_where_tags_are_not_permitted_there_are_none(
    behind: Proxied, fault: Fault
) -> None:
    """The first refusal is said once; from then on nobody asks again."""
    behind.proxy.plan(fault, matches=bears_tags, times=99)

    with capture_logs() as logs:
        await live(behind.archive)
        async with behind.archive.writer(f"{NAME[:-4]}.r2.mp4") as writer:
            await write(writer, 0)
            await writer.commit(size=BLOCK_BYTES)

    assert sum(map(bears_tags, behind.proxy.seen)) == 1
    assert [entry["event"] for entry in logs] == ["archive.tags_refused"]
    assert fault.error_code in logs[0]["error"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(403, "AuthenticationFailed"),
        Fault.status(400, "InvalidHeaderValue"),
    ],
    ids=str,
)
async def test_tags_are_tried_again_after_a_refusal_of_another_kind(
    behind: Proxied, fault: Fault
) -> None:
    """A clock or a key that was wrong for a moment says nothing of the next blob's tags."""
    behind.proxy.plan(fault, matches=bears_tags)

    with capture_logs() as logs:
        await live(behind.archive)
    async with behind.archive.writer(f"{NAME[:-4]}.r2.mp4") as writer:
        await write(writer, 0)
        await writer.commit(size=BLOCK_BYTES)

    assert sum(map(bears_tags, behind.proxy.seen)) == 2
    assert [entry["event"] for entry in logs] == ["archive.tags_refused"]


async def test_tags_are_not_blamed_for_another_refusal(behind: Proxied) -> None:
    """An identity that may not write at all is told so, and tags are tried again later."""
    refused = Fault.status(403, "AuthorizationPermissionMismatch")
    behind.proxy.plan(refused, on="commit", times=2)

    with pytest.raises(ArchiveForbiddenError), capture_logs() as logs:
        await live(behind.archive)
    async with behind.archive.writer(NAME) as writer:
        await write(writer, 0)
        await writer.commit(size=BLOCK_BYTES)

    assert logs == []
    tags = await behind.container.get_blob_client(NAME).get_blob_tags()
    assert tags["document"] == "0-eus-d1-doc1"


async def test_tags_that_are_off_are_not_sent(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """The setting spares the refusal."""
    options = BlobOptions(tags="off")
    async with proxied_archive(azurite, unique_name("tags"), options=options) as behind:
        await live(behind.archive)

        assert not any(map(bears_tags, behind.proxy.seen))


CALLS: dict[str, Callable[[BlobArchive], Awaitable[object]]] = {
    "create": lambda archive: archive.create("other", b"x"),
    "read": lambda archive: archive.read("not read yet"),
    "read back": lambda archive: archive.read_back(RECEIPT, block_bytes=1),
    "stat": lambda archive: archive.stat(RECEIPT),
    "ready": lambda archive: archive.ready(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_cancelled_call_ends_at_once(behind: Proxied, call: str) -> None:
    """A call that hangs does not hold up the end of the worker."""
    await behind.archive.create(RECEIPT, b"{}")
    behind.proxy.plan(Fault.hang(), times=9)
    already = len(behind.proxy.seen)

    task = asyncio.ensure_future(CALLS[call](behind.archive))
    async with asyncio.timeout(10):
        while len(behind.proxy.seen) == already:  # noqa: ASYNC110 - the proxy's list
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    assert task.cancelled()
