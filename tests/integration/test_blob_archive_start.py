"""The Blob archive at its start: what a human must mend is refused, with a command."""

import asyncio
import socket
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tests.azurite import ACCOUNT, KEY, Azurite, container_signature
from tests.blobs import blob_archive
from tests.conftest import UniqueName
from tests.fakes.clock import HurriedClock
from tests.storage_proxy import Fault, StorageProxy
from worker.errors import ArchiveForbiddenError, ConfigError

HOUR = timedelta(hours=1)


async def refused(
    account: Azurite, container: str, *, sas: str = "", create: bool = True
) -> ConfigError:
    """Try to start; why it is refused."""
    with pytest.raises(ConfigError) as caught:
        async with blob_archive(
            account, container, sas=sas, create=create, clock=HurriedClock()
        ):
            pytest.fail("it started")
    assert len(caught.value.problems) == 1
    assert "sig=" not in str(caught.value)
    return caught.value


def create_command(container: str) -> str:
    return (
        f"az storage container create --name {container} "
        f"--account-name {ACCOUNT} --auth-mode login"
    )


async def test_missing_container_is_named_with_its_command(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Whoever only looks makes nothing."""
    container = unique_name("missing")

    error = await refused(azurite, container, create=False)

    assert "no such container" in str(error)
    assert error.hint == create_command(container)


async def test_container_that_may_not_be_made_is_named_with_its_command(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """A signature of one container can't make it: that it is missing is what to mend."""
    container = unique_name("missing")

    error = await refused(azurite, container, sas=container_signature(container))

    assert "no such container" in str(error)
    assert error.hint == create_command(container)


async def test_container_made_meanwhile_is_as_good(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Of several workers that start at once each finds or makes it."""
    container = unique_name("raced")

    async def start() -> None:
        async with blob_archive(azurite, container) as archive:
            await archive.ready()

    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(start())

    assert {entry["event"] for entry in logs} == {"archive.created"}


@pytest.mark.parametrize(
    ("lasting", "key"),
    [(-HOUR, KEY), (HOUR, "A" * 86 + "==")],
    ids=["expired", "of another key"],
)
async def test_signature_that_is_no_good_is_refused(
    azurite: Azurite, unique_name: UniqueName, lasting: timedelta, key: str
) -> None:
    """Expired or not valid: the command makes a new one."""
    container = unique_name("signed")

    sas = container_signature(container, lasting=lasting, key=key)
    error = await refused(azurite, container, sas=sas)

    assert "signature is expired or not valid" in str(error)
    assert error.hint is not None
    assert error.hint.startswith(
        f"az storage container generate-sas --name {container} "
        f"--account-name {ACCOUNT} "
    )


async def test_signature_is_enough(azurite: Azurite, unique_name: UniqueName) -> None:
    """Read, write and list on one container are all that a worker needs."""
    container = unique_name("signed")
    async with blob_archive(azurite, container):
        pass

    async with blob_archive(
        azurite, container, sas=container_signature(container)
    ) as archive:
        await archive.create("a/b", b"data")
        assert await archive.read("a/b") == b"data"
        assert [name async for name in archive.list("")] == ["a/b"]


async def test_signature_without_a_permission_is_told_so(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """What it lacks shows with the first write, as an error of the whole archive."""
    container = unique_name("signed")
    async with blob_archive(azurite, container):
        pass
    sas = container_signature(container, permission="r")

    async with blob_archive(azurite, container, sas=sas) as archive:
        with pytest.raises(ArchiveForbiddenError, match="PermissionMismatch") as caught:
            await archive.create("a/b", b"data")

    assert "generate-sas" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("fault", "says", "hint"),
    [
        (
            Fault.status(
                403,
                "AuthenticationFailed",
                detail="Request date header too old: 'Sun, 01 Mar 2026 12:00:00 GMT'",
            ),
            "clock is wrong",
            "date -u",
        ),
        (
            Fault.status(
                403,
                "AuthenticationFailed",
                detail="The Date header in the request is incorrect.",
            ),
            "clock is wrong",
            "date -u",
        ),
        (
            Fault.status(
                403,
                "AuthenticationFailed",
                detail="Signature not valid in the specified time frame: Start [x]",
            ),
            "signature is expired or not valid",
            "az storage container generate-sas",
        ),
        (
            Fault.status(
                403,
                "AuthenticationFailed",
                detail="The MAC signature found in the HTTP request is not the same",
            ),
            "credential is expired or not valid",
            "recording-worker config",
        ),
        (
            Fault.status(401, "InvalidAuthenticationInfo"),
            "credential is expired or not valid",
            "recording-worker config",
        ),
        (
            Fault.status(403, "AuthorizationPermissionMismatch"),
            "may not do that",
            "az role assignment create --role 'Storage Blob Data Contributor'",
        ),
        (
            Fault.status(403, "AuthorizationFailure"),
            "or not from here",
            "az role assignment create",
        ),
        (Fault.status(403, "AccountIsDisabled"), "account is disabled", "recording-"),
    ],
    ids=["old", "date", "expired", "key", "token", "role", "network", "disabled"],
)
async def test_refusal_is_one_line_and_a_command(
    azurite: Azurite, unique_name: UniqueName, fault: Fault, says: str, hint: str
) -> None:
    """What the service means, and what to type."""
    async with StorageProxy(azurite.blob_url) as proxy:
        proxy.plan(fault, times=99)
        account = Azurite(blob_url=proxy.url, queue_url=azurite.queue_url)

        error = await refused(account, unique_name("refused"))

    assert says in str(error)
    assert error.hint is not None
    assert error.hint.startswith(hint)


async def test_account_that_no_host_has_is_refused(
    azurite: Azurite, unique_name: UniqueName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped account is a name that can't be resolved."""

    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    account = Azurite(
        blob_url="http://nowhere:10000/devstoreaccount1", queue_url=azurite.queue_url
    )

    error = await refused(account, unique_name("nowhere"))

    assert "no host 'nowhere:10000/devstoreaccount1'" in str(error)
    assert error.hint == f"az storage account show --name {ACCOUNT}"


async def test_service_that_is_down_does_not_keep_a_worker_from_starting(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Deliveries can be taken meanwhile; chunks wait until it is back."""
    container = unique_name("down")
    async with blob_archive(azurite, container):
        pass
    async with StorageProxy(azurite.blob_url) as proxy:
        proxy.plan(Fault.status(503, "ServerBusy"), times=4)
        account = Azurite(blob_url=proxy.url, queue_url=azurite.queue_url)
        with capture_logs() as logs:
            async with blob_archive(
                account, container, clock=HurriedClock()
            ) as archive:
                await archive.ready()

    said = [entry for entry in logs if entry["event"] == "archive.unavailable"]
    assert len(said) == 1
    assert "is busy" in said[0]["error"]
