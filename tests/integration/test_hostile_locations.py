"""No payload makes the worker dial a place of its choice: in each test a trap waits there."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.storage.blob.aio import ContainerClient

from samples.faults import Fault
from tests import hostile
from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.hostile import World, event
from tests.storage_proxy import StorageProxy
from tests.trap import Trap, trap
from tests.unit.handlers.bodies import a_body, a_cloud_event, a_grid_event, a_validation
from worker import opening, receiving
from worker.settings import Settings
from worker.settings_rules import Use

DOCUMENT = "0-eus-d1-first"
PARTS = ("contentLocation", "metadataLocation", "deleteLocation")
DRESSED = (
    "http://{trap}/{path}",
    "https://{trap}/{path}",
    "http://{acs}@{trap}/{path}",
    "http://{acs}%40{trap}/{path}",
    "http://{acs}\\@{trap}/{path}",
    "http://{acs}#@{trap}/{path}",
    "http://{acs}?@{trap}/{path}",
    "http://{trap}#@{acs}/{path}",
    "http://{trap}\\@{acs}/{path}",
    "http://{trap}?@{acs}/{path}",
    "http://{trap}/@{acs}/{path}",
    "http://user:word@{trap}/{path}",
    "http://127.1:{port}/{path}",
    "http://2130706433:{port}/{path}",
    "http://0x7f000001:{port}/{path}",
    "http://0177.0.0.1:{port}/{path}",
    "http://127.0.0.1.:{port}/{path}",
    "http://127.0.0.2:{port}/{path}",
    "http://localhost:{port}/{path}",
    "http://localhost.:{port}/{path}",
    "http://0:{port}/{path}",
    "http://0.0.0.0:{port}/{path}",
    "http://[::1]:{port}/{path}",
    "http://[::]:{port}/{path}",
    "http://[::ffff:127.0.0.1]:{port}/{path}",
    "http://①②⑦.⓪.⓪.①:{port}/{path}",
    "http://127。0。0。1:{port}/{path}",
    "//{trap}/{path}",
    "\\\\{trap}\\{path}",
    "http:{trap}/{path}",
    "http:///{trap}/{path}",
    "http:/\\{trap}/{path}",
    " http://{trap}/{path}",
    "http://{trap}/{path} ",
    "ht\ttp://{trap}/{path}",
    "HTTP://{trap}/{path}",
    "ftp://{trap}/{path}",
    "file://{trap}/{path}",
    "gopher://{trap}/{path}",
    "ws://{trap}/{path}",
    "http://{acs}:{port}/{path}",
    "http://{acs}/{path}\r\nHost: {trap}",
)
BLOBS = (
    *("/a", "//{trap}/x", "/http://{trap}/x", "/a?restype=container&comp=list"),
    *("/a%3Fcomp=list", "/a%23x", "/%2F%2F{trap}%2Fx", "/@{trap}/x", "/%252e%252e/x"),
    *("/a%0d%0aHost:%20{trap}", "/..%2f..%2fx", "/x/../../private/x", "/%5c%5c{trap}"),
)


@pytest.fixture
async def there() -> AsyncIterator[Trap]:
    async with trap() as there:
        yield there


@pytest.fixture
async def world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    async with hostile.lied_to(tmp_path, monkeypatch) as world:
        world.have(DOCUMENT)
        yield world


def dressed(pattern: str, there: Trap, world: World, view: str) -> str:
    """A location that leads, for some reader at least, into the trap."""
    return pattern.format(
        trap=there.host,
        port=there.port,
        acs=world.acs.global_host,
        path=f"v1/objects/{DOCUMENT}{view}",
    )


async def receive_all(world: World, events: list[dict[str, Any]]) -> None:
    """One delivery for each: some are quarantined whole, which is an answer as well."""
    for told in events:
        await world.receive(json.dumps([told]).encode())


@pytest.mark.parametrize("part", PARTS)
async def test_location_off_the_list_gets_no_byte(
    world: World, there: Trap, part: str
) -> None:
    """However it is dressed, and whatever it is the location of."""
    events = [
        event(
            world.chunk(DOCUMENT)
            | {part: dressed(pattern, there, world, "/content/video")},
            recording=f"recording-{number}",
        )
        for number, pattern in enumerate(DRESSED)
    ]

    await receive_all(world, events)
    await world.work_off(minutes=30 * 60)

    assert {seen.host for seen in world.acs.requests} <= {
        world.acs.global_host,
        world.acs.regional_host,
    }
    assert world.acs.deleted == set()
    assert there.caught == []


async def test_redirect_off_the_list_gets_no_byte(world: World, there: Trap) -> None:
    """Even an allowed host can't send the worker, and its signature, anywhere else."""
    patterns = [
        pattern for pattern in DRESSED if pattern.isascii() and pattern.isprintable()
    ]
    for pattern in patterns:
        target = dressed(pattern, there, world, "/content/video")
        world.acs.plan(DOCUMENT, "content", [Fault.redirect_to(target)])
        world.acs.plan(DOCUMENT, "delete", [Fault.redirect_to(target)])
        name = f"recording-{len(world.acs.requests)}"
        await world.deliver(event(world.chunk(DOCUMENT), recording=name))
        await world.work_off(minutes=1)

    states = {entry.reason for entry in await world.entries(DOCUMENT)}
    assert states == {"host-not-allowed"}
    assert there.caught == []


async def test_blob_that_an_event_names_is_asked_for_in_its_container_alone(
    azurite: Azurite,
    unique_name: UniqueName,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With WORKER_BYOS=index an event chooses the name of a blob, and never where."""
    container = unique_name("exports")
    async with (
        ContainerClient.from_connection_string(
            azurite.connection_string, container
        ) as client,
        StorageProxy(azurite.blob_url) as proxy,
        trap() as there,
    ):
        await client.create_container()
        account = Azurite(blob_url=proxy.url, queue_url=azurite.queue_url)
        url = account.container(container)
        async with hostile.lied_to(
            tmp_path,
            monkeypatch,
            WORKER_BYOS="index",
            WORKER_BYOS_CONTAINERS=url,
            AZURE_STORAGE_CONNECTION_STRING=account.connection_string,
        ) as world:
            world.have(DOCUMENT)
            events = [
                event(
                    world.chunk(
                        DOCUMENT, contentLocation=url + name.format(trap=there.host)
                    ),
                    recording=f"recording-{number}",
                    storageType="AzureBlob",
                )
                for number, name in enumerate(BLOBS)
            ]
            await receive_all(world, events)
            await world.work_off(minutes=1)
            outside = [
                seen.path
                for seen in proxy.seen
                if not seen.path.startswith(f"{container}/")
            ]

    assert len(proxy.seen) > len(BLOBS)
    assert outside == []
    assert {name for seen in proxy.seen for name in seen.query} == set()


@pytest.mark.parametrize("kind", ["event grid", "cloud events"])
async def test_handshake_asks_nobody(tmp_path: Path, there: Trap, kind: str) -> None:
    """Neither the URL of a validation nor the callback of a consent is ever called."""
    url = f"http://{there.host}/validate?token=t"
    settings = Settings.load(
        {
            "WORKER_SOURCE_HOSTS": "127.0.0.1:9",
            "WORKER_LISTEN": "127.0.0.1:0",
            "WORKER_ARCHIVE": f"file:{tmp_path}/archive",
            "WORKER_ARCHIVE_RESERVE_MIB": "0",
            "WORKER_QUEUE": f"sqlite:{tmp_path}/queue.db",
        },
        use=Use.WEBHOOK,
    )
    headers = {
        "WebHook-Request-Origin": "eventgrid.azure.net",
        "WebHook-Request-Callback": url,
        "WebHook-Request-Rate": "100",
        "Referer": url,
        "Forwarded": f"host={there.host}",
        "X-Forwarded-Host": there.host,
        "Authorization": f"Bearer {token_that_points_to(url)}",
    }
    async with (
        opening.open_archive(settings) as archive,
        opening.open_queue(settings, create=True, archive=archive) as queue,
        receiving.open_webhook(
            settings, queue=queue, archive=archive, nudge=asyncio.Event()
        ) as endpoint,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        async with session.options(endpoint.url) as consent:
            assert consent.status == 200
            assert consent.headers["WebHook-Allowed-Origin"] == "eventgrid.azure.net"
        for body in validations(url) if kind == "event grid" else consents(url):
            async with session.post(endpoint.url, data=body) as answer:
                assert answer.status in {200, 400}

    assert there.caught == []


def validations(url: str) -> list[bytes]:
    """Validations that name the URL wherever they can, with and without a usable code."""
    data = {"validationCode": "c0de", "validationUrl": url}
    return [
        a_body(a_validation(code, topic=url, subject=url) | {"data": told})
        for code in ("c0de", None, url)
        for told in (data | {"validationCode": code}, {"validationUrl": url}, url)
    ]


def consents(url: str) -> list[bytes]:
    """CloudEvents, which have more places for a URL."""
    told = a_cloud_event() | {"source": url, "dataschema": url, "dataref": url}
    grid = a_grid_event() | {"topic": url, "callback": url, "validationUrl": url}
    return [json.dumps(told).encode(), a_body(told), a_body(grid)]


def token_that_points_to(url: str) -> str:
    """What a careless verifier would fetch its keys from."""
    header = {"alg": "RS256", "kid": "k", "jku": url, "x5u": url}
    claims = {"iss": url, "aud": url}
    parts = (json.dumps(part).encode() for part in (header, claims))
    encoded = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])
