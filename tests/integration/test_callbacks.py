"""`POST /api/callbacks` as the settings make it, called by a stand-in that signs as ACS does."""

import asyncio
import gzip
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import jwt
import pytest
from azure.communication.callautomation import CommunicationUserIdentifier
from azure.communication.callautomation.aio import CallAutomationClient
from azure.core.credentials import AzureKeyCredential
from structlog.testing import capture_logs
from yarl import URL

from handlers.jwks import CallAutomation, KeySetError
from handlers.webhook import CALLBACKS
from samples.control.service import KEY, RESOURCE_ID, ControlStandIn
from tests.authority import StandInAuthority, rsa_key, stand_in_authority
from worker import opening, receiving
from worker.errors import ConfigError
from worker.receiving import Endpoint
from worker.sdk_options import options_for
from worker.settings import Settings
from worker.settings_rules import Use

SERVER_CALL = "aHR0cHM6Ly9jb252LmV4YW1wbGUvY29udi8x"
GRID = {"aeg-event-type": "Notification"}
ALICE, BOB = "8:acs:alice", "8:acs:bob"
EVENT = b'{"type": "Microsoft.Communication.CallConnected", "specversion": "1.0"}'
Open = Callable[..., AbstractAsyncContextManager[Endpoint]]


@pytest.fixture
async def acs() -> AsyncIterator[ControlStandIn]:
    async with ControlStandIn() as acs:
        yield acs


def settings(tmp_path: Path, **more: str) -> Settings:
    return Settings.load(
        {
            "WORKER_SOURCE_HOSTS": "127.0.0.1:9",
            "WORKER_LISTEN": "127.0.0.1:0",
            "WORKER_ARCHIVE": f"file:{tmp_path}/archive",
            "WORKER_ARCHIVE_RESERVE_MIB": "1",
            "WORKER_QUEUE": f"sqlite:{tmp_path}/queue.db",
            **more,
        },
        use=Use.WEBHOOK,
    )


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Open the endpoint for callbacks of the stand-in's resource, signed by `issuer`."""

    @asynccontextmanager
    async def open_webhook(
        issuer: str, *, resources: str = RESOURCE_ID, own_key: str = ""
    ) -> AsyncIterator[Endpoint]:
        more = {"WORKER_CALLBACKS_RESOURCES": resources.upper()} if resources else {}
        more |= {"WORKER_CALLBACKS_ISSUER": issuer} if resources else {}
        chosen = settings(tmp_path, **more)
        async with (
            opening.open_archive(chosen) as archive,
            opening.open_queue(chosen, create=True, archive=archive) as queue,
            receiving.open_webhook(
                chosen,
                queue=queue,
                archive=archive,
                nudge=asyncio.Event(),
                own_key=own_key,
            ) as endpoint,
        ):
            yield endpoint

    return open_webhook


def callbacks_of(endpoint: Endpoint) -> str:
    return endpoint.url.replace("/api/events", "/api/callbacks")


async def post(
    endpoint: Endpoint,
    token: str,
    *,
    body: bytes = EVENT,
    headers: dict[str, str] | None = None,
) -> int:
    sent = {"Authorization": f"Bearer {token}"} | (headers or {})
    async with (
        aiohttp.ClientSession() as session,
        session.post(callbacks_of(endpoint), data=body, headers=sent) as answer,
    ):
        return answer.status


async def test_recording_and_transfer_are_heard_of(
    opened: Open, acs: ControlStandIn
) -> None:
    """From start to stop, and both ends of a transfer; the log names nobody."""
    acs.calls.add("c1", ALICE)
    acs.calls.add("c2", ALICE)
    acs.calls.declining.add(BOB)
    credential = AzureKeyCredential(KEY)
    with capture_logs() as lines:
        async with (
            opened(acs.url) as endpoint,
            CallAutomationClient(acs.url, credential, **options_for(acs.url)) as client,
        ):
            url = callbacks_of(endpoint)
            started = await client.start_recording(
                server_call_id=SERVER_CALL, recording_state_callback_url=url
            )
            await acs.callbacks.wait_for(1)
            await client.stop_recording(started.recording_id or "")
            await acs.callbacks.wait_for(2)
            for number, (call, target) in enumerate(
                {"c1": "8:acs:c", "c2": BOB}.items()
            ):
                await client.get_call_connection(call).transfer_call_to_participant(
                    CommunicationUserIdentifier(target), operation_callback_url=url
                )
                await acs.callbacks.wait_for(3 + number)
            counts: Counter[str] = endpoint._app[CALLBACKS]

    heard = [line for line in lines if line["event"] == "callback.received"]
    assert [sent.status for sent in acs.callbacks.sent] == [200] * 4
    assert [(line["type"], line["state"]) for line in heard] == [
        ("RecordingStateChanged", "active"),
        ("RecordingStateChanged", "inactive"),
        ("CallTransferAccepted", "Transferred"),
        ("CallTransferFailed", "Failed"),
    ]
    assert heard[0]["recording_id"] == started.recording_id
    assert (heard[3]["call_connection_id"], heard[3]["code"]) == ("c2", 603)
    assert counts == {
        "RecordingStateChanged": 2,
        "CallTransferAccepted": 1,
        "CallTransferFailed": 1,
    }
    for said in (ALICE, BOB, SERVER_CALL):
        assert said not in str(lines)


async def test_stranger_is_refused(opened: Open, acs: ControlStandIn) -> None:
    """No token, another's signature, another resource, another issuer, too late, or unsaid."""
    now = int(time.time())
    good = {"iss": acs.url, "aud": RESOURCE_ID, "exp": now + 300}
    foreign = jwt.encode(good, rsa_key(1), "RS256", headers={"kid": "stand-in-1"})
    key = acs.callbacks._key  # what only the service has
    bad = [
        good | {"aud": "00000000-aaaa-4bbb-8ccc-000000000002"},
        good | {"iss": "https://login.microsoftonline.com"},
        good | {"exp": now - 301},
        good | {"nbf": now + 400},
        good | {"aud": [RESOURCE_ID]},
        *({name: good[name] for name in good.keys() - {left}} for left in good),
    ]
    tokens = ["", "none", foreign]
    tokens += [
        jwt.encode(said, key, "RS256", headers={"kid": "stand-in-1"}) for said in bad
    ]
    async with opened(acs.url) as endpoint:
        statuses = [await post(endpoint, token) for token in tokens]
        from_event_grid = await post(endpoint, "", headers=GRID)
        ours = await post(endpoint, acs.callbacks.token())

    assert statuses == [401] * len(tokens)
    assert (from_event_grid, ours) == (503, 200)


async def test_what_is_no_callback_is_thrown_away(
    opened: Open, acs: ControlStandIn
) -> None:
    """400: it won't heal, and no recording hangs on it."""
    async with opened(acs.url) as endpoint:
        status = await post(endpoint, acs.callbacks.token(), body=b"<html>")

    assert status == 400


async def test_callback_is_held_to_what_deliveries_are_held_to(
    opened: Open, acs: ControlStandIn
) -> None:
    """Phases and limits alike: 503 while it drains, and for what is too large."""
    packed = gzip.compress(b" " * (9 << 20))
    async with opened(acs.url) as endpoint:
        token = acs.callbacks.token()
        large = await post(
            endpoint, token, body=packed, headers={"Content-Encoding": "gzip"}
        )
        endpoint.health.drain()
        late = await post(endpoint, token)

    assert (large, late) == (503, 503)


async def test_issuer_that_is_away_is_our_trouble(
    opened: Open, acs: ControlStandIn
) -> None:
    """503, for as long as its keys can't be had."""
    token = acs.callbacks.token()
    async with stand_in_authority() as authority:
        authority.status = 500
        async with opened(authority.url) as endpoint:
            assert await post(endpoint, token) == 503


async def test_without_the_setting_there_is_no_such_path(
    opened: Open, acs: ControlStandIn
) -> None:
    """404, as for any path that is none; nor in a process that posts to itself."""
    async with opened("", resources="") as endpoint:
        assert await post(endpoint, acs.callbacks.token()) == 404
    async with opened(acs.url, own_key="own") as endpoint:
        assert await post(endpoint, acs.callbacks.token()) == 404


@pytest.fixture
async def authority() -> AsyncIterator[StandInAuthority]:
    async with stand_in_authority() as authority:
        yield authority


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"{}",
        b'{"jwks_uri": 7}',
        b'{"jwks_uri": "https://elsewhere.example/keys"}',
        b'{"jwks_uri": "/calling/keys"}',
    ],
)
async def test_keys_that_lie_elsewhere_are_not_asked_for(
    authority: StandInAuthority, said: bytes
) -> None:
    """Nor is anyone that the issuer doesn't name."""
    authority.body = said
    issuer = CallAutomation(url=authority.url, version="0")

    with pytest.raises(KeySetError, match="does not say where its keys are"):
        await issuer.load_keys()

    assert authority.asked == ["/calling/.well-known/acsopenidconfiguration"]


async def test_issuer_without_keys_is_none(authority: StandInAuthority) -> None:
    """What it answers there is no set."""
    authority.body = b'{"jwks_uri": "%s/keys"}' % authority.url.encode()
    issuer = CallAutomation(url=authority.url, version="0")

    with pytest.raises(KeySetError, match="sent no key that signs tokens"):
        await issuer.load_keys()


async def test_keys_of_the_issuer_are_had(acs: ControlStandIn) -> None:
    """By its OpenID configuration."""
    keys = await CallAutomation(url=acs.url, version="0").load_keys()

    assert set(keys) == {"stand-in-1"}
    assert URL(acs.url).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"WORKER_CALLBACKS_RESOURCES": "calls"}, "entry 1 is not a GUID"),
        (
            {"WORKER_CALLBACKS_ISSUER": "https://other.example"},
            "does nothing without WORKER_CALLBACKS_RESOURCES",
        ),
        (
            {
                "WORKER_CALLBACKS_RESOURCES": RESOURCE_ID,
                "WORKER_CALLBACKS_ISSUER": "http://other.example",
            },
            "must be https://HOST",
        ),
    ],
)
def test_settings_of_callbacks_are_checked(
    tmp_path: Path, said: dict[str, str], problem: str
) -> None:
    """At the start, in one line."""
    with pytest.raises(ConfigError, match=problem):
        settings(tmp_path, **said)
