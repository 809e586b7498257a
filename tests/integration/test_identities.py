"""Who we are to Azure Storage: by key, by signature, by token; tried on Azurite."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    AccountSasPermissions,
    ResourceTypes,
    Services,
    generate_account_sas,
)
from azure.storage.blob.aio import BlobServiceClient

from samples import events_dir
from tests import azurite as emulator
from tests.azurite import ACCOUNT, KEY, Azurite
from tests.conftest import UniqueName
from tests.e2e import worker_process
from tests.identity import IdentityEndpoint
from worker import opening, storage_places
from worker.errors import ConfigError, WorkerError
from worker.settings import Settings
from worker.settings_rules import Use
from worker.storage_clients import (
    Identity,
    container_client,
    open_identity,
    queue_client,
)
from worker.storage_places import ConnectionString, Place, Service

WRONG_KEY = "aHVudGVyMg=="
HOUR = timedelta(hours=1)


def a_sas(*, ends_in: timedelta = HOUR) -> str:
    """For everything in the account."""
    return generate_account_sas(
        ACCOUNT,
        KEY,
        resource_types=ResourceTypes(service=True, container=True, object=True),
        permission=AccountSasPermissions(
            read=True, write=True, list=True, create=True, add=True, process=True
        ),
        services=Services(blob=True, queue=True),
        expiry=datetime.now(UTC) + ends_in,
    )


def place_of(azurite: Azurite, service: Service, name: str, sas: str = "") -> Place:
    urls = {Service.BLOB: azurite.container(name), Service.QUEUE: azurite.queue(name)}
    query = f"?{sas}" if sas else ""
    return storage_places.parse(urls[service] + query, service)


def told(text: str | None) -> ConnectionString | None:
    return storage_places.parse_connection_string(text) if text else None


def signed_connection_string(azurite: Azurite) -> str:
    return (
        f"BlobEndpoint={azurite.blob_url}/;QueueEndpoint={azurite.queue_url}/;"
        f"SharedAccessSignature={a_sas()}"
    )


async def make(place: Place, identity: Identity) -> bool:
    """Make the container or the queue; whether it is there then."""
    if place.service is Service.BLOB:
        async with container_client(place, identity) as container:
            await container.create_container()
            return await container.exists()
    async with queue_client(place, identity, suffix="-poison") as queue:
        await queue.create_queue()
        return (await queue.get_queue_properties()).name == f"{place.name}-poison"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def azurite_tls(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Azurite]:
    """One that takes tokens, which needs TLS."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    with emulator.running(
        *("--oauth", "basic", "--cert", str(cert), "--key", str(key))
    ) as started:
        yield started


@pytest.mark.parametrize("service", Service)
@pytest.mark.parametrize(
    "kind", ["key", "signature in the URL", "signature in the connection string"]
)
async def test_account_lets_us_in(
    azurite: Azurite, unique_name: UniqueName, service: Service, kind: str
) -> None:
    """By whichever of the three, with archive and queue alike."""
    is_in_url = kind == "signature in the URL"
    place = place_of(azurite, service, unique_name("let"), a_sas() if is_in_url else "")
    text = {
        "key": azurite.connection_string,
        "signature in the URL": None,
        "signature in the connection string": signed_connection_string(azurite),
    }[kind]

    async with open_identity(told(text)) as identity:
        assert await make(place, identity)


@pytest.mark.parametrize("service", Service)
async def test_signature_in_the_url_goes_first(
    azurite: Azurite, unique_name: UniqueName, service: Service
) -> None:
    """The wrong key of the connection string would be refused, and is not used."""
    wrong = azurite.connection_string.replace(KEY, WRONG_KEY)
    name = unique_name("first")

    async with open_identity(told(wrong)) as identity:
        with pytest.raises(HttpResponseError, match="authenticate"):
            await make(place_of(azurite, service, name), identity)
        assert await make(place_of(azurite, service, name, a_sas()), identity)


@asynccontextmanager
async def a_trap(*, status: int = 404) -> AsyncIterator[tuple[str, list[str]]]:
    """Another's server: its address, and the Authorization of whoever came."""
    arrived: list[str] = []

    async def trap(request: web.BaseRequest) -> web.StreamResponse:
        arrived.append(request.headers.get("Authorization", ""))
        return web.Response(status=status)

    runner = web.ServerRunner(web.Server(trap))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}", arrived
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("service", Service)
async def test_key_is_sent_to_its_own_account_alone(
    azurite: Azurite, service: Service, identity: IdentityEndpoint
) -> None:
    """Elsewhere the same account's name opens nothing: there we are the machine, if anyone.

    Over plain http not even that: nothing arrives.
    """
    async with a_trap() as (address, arrived):
        elsewhere = storage_places.parse(f"http://{address}/{ACCOUNT}/calls", service)
        async with open_identity(told(azurite.connection_string)) as ours:
            assert ours.for_place(elsewhere) is ours.token
            with pytest.raises(ValueError, match="only supported with HTTPS"):
                await make(elsewhere, ours)
        async with open_identity(told(signed_connection_string(azurite))) as ours:
            assert ours.for_place(elsewhere) is ours.token

    assert arrived == []
    assert identity.asked == []


@pytest.mark.parametrize("service", Service)
async def test_trouble_is_told_after_the_first_request(service: Service) -> None:
    """The SDK's own retries are off: they would wait half a minute below ours."""
    async with a_trap(status=503) as (address, arrived):
        url = f"http://{address}/{ACCOUNT}/calls?{a_sas()}"
        place = storage_places.parse(url, service)
        async with open_identity(None) as identity:
            with pytest.raises(HttpResponseError):
                await make(place, identity)

    assert len(arrived) == 1


async def open_stores(settings: Settings) -> None:
    async with (
        opening.open_archive(settings) as archive,
        opening.open_queue(settings, create=True, archive=archive),
    ):
        pass


def settings_of(azurite: Azurite, name: str, sas: str, **more: str) -> Settings:
    return Settings.load(
        {
            "WORKER_ARCHIVE": f"{azurite.container(name)}?{sas}",
            "WORKER_QUEUE": f"{azurite.queue(name)}?{sas}",
            "WORKER_SOURCE_HOSTS": "127.0.0.1:1",
            **more,
        },
        use=Use.READ,
    )


@pytest.mark.parametrize("expired", ["WORKER_ARCHIVE", "WORKER_QUEUE"])
async def test_expired_signature_is_one_line(
    azurite: Azurite, unique_name: UniqueName, expired: str
) -> None:
    """Whose it is, and that it is refused; the signature itself is in no message."""
    name = unique_name("expired")
    await open_stores(settings_of(azurite, name, a_sas()))
    old = a_sas(ends_in=-HOUR)
    url = azurite.container(name) if "ARCHIVE" in expired else azurite.queue(name)

    with pytest.raises(WorkerError) as caught:
        await open_stores(
            settings_of(azurite, name, a_sas(), **{expired: f"{url}?{old}"})
        )

    lines = str(caught.value).splitlines()
    assert len(lines) == 1
    assert "expired or not valid" in lines[0]
    assert "sig=" not in lines[0]
    assert "generate-sas" in str(caught.value.hint)


async def test_machine_without_an_identity_is_one_line(
    identity: IdentityEndpoint,
) -> None:
    """No credential anywhere: it is said at the start, with what would help."""
    identity.status = 400
    settings = Settings.load(
        {
            "WORKER_ARCHIVE": f"https://127.0.0.1:1/{ACCOUNT}/calls",
            "WORKER_SOURCE_HOSTS": "127.0.0.1:1",
        },
        use=Use.READ,
    )

    with pytest.raises(ConfigError) as caught:
        await open_stores(settings)

    (line,) = caught.value.problems
    assert ACCOUNT in line
    assert "\n" not in line
    assert caught.value.hint


async def test_chunk_comes_home_by_token(
    azurite_tls: Azurite,
    authority: trustme.CA,
    identity: IdentityEndpoint,
    unique_name: UniqueName,
    tmp_path: Path,
) -> None:
    """A process with a managed identity and no key keeps archive and queue in the account."""
    name = unique_name("token")
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)

    ended = await worker_process.run(
        *("replay", str(events_dir() / "one-chunk.event-grid.json"), "--simulate"),
        environment={
            "WORKER_ARCHIVE": azurite_tls.container(name),
            "WORKER_QUEUE": azurite_tls.queue(name),
            "SSL_CERT_FILE": str(ca),
            **identity.variables,
        },
        folder=tmp_path,
    )

    assert (ended.code, ended.errors) == (0, [])
    assert set(identity.asked) == {"https://storage.azure.com"}
    async with BlobServiceClient.from_connection_string(
        azurite_tls.connection_string, connection_verify=str(ca)
    ) as account:
        names = account.get_container_client(name).list_blob_names()
        found = [blob async for blob in names]
    assert any(blob.startswith("receipts/") for blob in found)
    assert not any(token in ended.err for token in identity.issued)
