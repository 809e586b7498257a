"""The endpoint as its settings make it: who may post, about which topics, and from where."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from tests.authority import (
    APPLICATION,
    EVENT_GRID,
    TENANT,
    Claims,
    StandInAuthority,
    claims_v2,
    signed,
    stand_in_authority,
)
from tests.factories import TOPIC
from tests.isolation import isolated_logs
from tests.unit.handlers.bodies import (
    a_body,
    a_cloud_event,
    a_grid_event,
    a_validation,
)
from worker import opening, receiving
from worker.__main__ import main
from worker.receiving import Endpoint
from worker.settings import Settings
from worker.settings_rules import Use

GRID = {"aeg-event-type": "Notification"}
KEY = "a-key-for-the-webhook"
CONNECTION = "endpoint=https://calls.communication.azure.com/;accesskey=aHVudGVyMg=="
BEYOND = {"WORKER_LISTEN": "0.0.0.0:0", "WORKER_SOURCE_HOSTS": "127.0.0.1:9"}
Open = Callable[..., AbstractAsyncContextManager[Endpoint]]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Open the endpoint with more settings by name."""

    @asynccontextmanager
    async def open_webhook(
        *, own_key: str = "", **more: str
    ) -> AsyncIterator[Endpoint]:
        settings = Settings.load(
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
        async with (
            opening.open_archive(settings) as archive,
            opening.open_queue(settings, create=True, archive=archive) as queue,
            receiving.open_webhook(
                settings,
                queue=queue,
                archive=archive,
                nudge=asyncio.Event(),
                own_key=own_key,
            ) as endpoint,
        ):
            yield endpoint

    return open_webhook


@pytest.fixture
async def authority() -> AsyncIterator[StandInAuthority]:
    async with stand_in_authority() as authority:
        yield authority


def asking_for_tokens(authority: StandInAuthority) -> dict[str, str]:
    return {
        "WORKER_WEBHOOK_ENTRA_TENANT": TENANT.upper(),
        "WORKER_WEBHOOK_ENTRA_AUDIENCES": APPLICATION,
        "WORKER_WEBHOOK_ENTRA_AUTHORITY": f"{authority.url}/",
    }


def fresh(authority: StandInAuthority, **other: object) -> Claims:
    """Claims of a token that is good today."""
    now = int(time.time())
    return claims_v2(authority.url, iat=now, nbf=now, exp=now + 3600) | other


async def post(
    endpoint: Endpoint, body: bytes = b"", *, token: str = "", key: str = ""
) -> int:
    """Deliver as Event Grid does; return the status."""
    headers = GRID | ({"Authorization": f"Bearer {token}"} if token else {})
    headers |= {"x-functions-key": key} if key else {}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            endpoint.url, data=body or a_body(a_grid_event()), headers=headers
        ) as answer,
    ):
        return answer.status


async def is_ready(endpoint: Endpoint) -> bool:
    url = endpoint.url.replace("/api/events", "/readyz")
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status == 200


@pytest.mark.receiver_row(6)
async def test_tenant_lets_bearers_of_its_tokens_post(
    opened: Open, authority: StandInAuthority
) -> None:
    """And nobody else; the keys of the authority are loaded without waiting for a token."""
    async with opened(**asking_for_tokens(authority)) as endpoint:
        await authority.wait_for_requests(1)

        assert await post(endpoint, token=signed(fresh(authority))) == 200
        assert await post(endpoint, token=signed(fresh(authority, aud=TENANT))) == 503
        assert await post(endpoint, key="anything") == 503
        assert await post(endpoint) == 503

    assert authority.asked == [f"/{TENANT}/discovery/v2.0/keys"]


@pytest.mark.receiver_row(6)
async def test_callers_and_role_are_as_the_settings_say(
    opened: Open, authority: StandInAuthority
) -> None:
    """A managed identity that delivers is named in place of Event Grid's application."""
    identity = "22222222-2222-3333-4444-555555555555"
    more = {
        "WORKER_WEBHOOK_ENTRA_CALLERS": identity,
        "WORKER_WEBHOOK_ENTRA_ROLE": "Deliver",
    }
    ours = fresh(authority, azp=identity, roles=["Deliver"])
    async with opened(**asking_for_tokens(authority), **more) as endpoint:
        assert await post(endpoint, token=signed(ours)) == 200
        assert await post(endpoint, token=signed(ours | {"azp": EVENT_GRID})) == 503
        assert await post(endpoint, token=signed(ours | {"roles": []})) == 503


@pytest.mark.receiver_row(6)
async def test_key_suffices_beside_a_tenant(
    opened: Open, authority: StandInAuthority
) -> None:
    """While one replaces the other, both work."""
    more = asking_for_tokens(authority) | {"WORKER_WEBHOOK_KEYS": f"{KEY},other"}
    async with opened(**more) as endpoint:
        assert await post(endpoint, key=KEY) == 200
        assert await post(endpoint, token=signed(fresh(authority))) == 200


async def test_authority_that_is_down_stops_no_start(
    opened: Open, authority: StandInAuthority
) -> None:
    """Ready means that a delivery can be stored, and nothing else; bearers come again."""
    authority.status = 500
    with capture_logs() as logs:
        async with opened(**asking_for_tokens(authority)) as endpoint:
            await authority.wait_for_requests(1)

            assert await is_ready(endpoint)
            assert await post(endpoint, token=signed(fresh(authority))) == 503

    assert "authority.unavailable" in {line["event"] for line in logs}


async def test_process_that_posts_to_itself_needs_no_token(
    opened: Open, authority: StandInAuthority
) -> None:
    """A replay has a key of its own, and asks nobody for others."""
    more = asking_for_tokens(authority)
    async with opened(**more, own_key="for-this-run") as endpoint:
        assert await post(endpoint, key="for-this-run") == 200
        assert await post(endpoint, token=signed(fresh(authority))) == 503

    assert authority.asked == []


async def test_without_keys_and_tenant_loopback_is_open(opened: Open) -> None:
    """Whoever tries it on a laptop needs nothing; the settings allow it there only."""
    async with opened() as endpoint:
        assert await post(endpoint) == 200


@pytest.mark.receiver_row(4)
@pytest.mark.parametrize(
    "listed", [f"{TOPIC}calls", f"{TOPIC}CALLS", f"/other, {TOPIC.lower()}calls ,"]
)
async def test_topics_are_an_allow_list_in_any_case(opened: Open, listed: str) -> None:
    """Of either schema's deliveries and of handshakes; what is foreign is set aside."""
    theirs = f"{TOPIC}calls-of-others"
    with capture_logs() as logs:
        async with opened(WORKER_EVENT_TOPICS=listed) as endpoint:
            for body in (
                a_body(a_grid_event(topic=f"{TOPIC}Calls")),
                json.dumps(a_cloud_event(source=f"{TOPIC}cALLS")).encode(),
                a_body(a_grid_event(topic=theirs)),
                json.dumps(a_cloud_event(source=theirs)).encode(),
                a_body(a_validation(topic=f"{TOPIC}calls")),
                a_body(a_validation(topic=theirs)),
            ):
                assert await post(endpoint, body) == 200

    accepted = [line for line in logs if line["event"] == "delivery.accepted"]
    assert [line["chunks"] for line in accepted] == [1, 1, 0, 0, 0, 0]
    assert [line["quarantined"] for line in accepted] == [0, 0, 1, 1, 0, 0]
    told = [line["event"] for line in logs if line["event"].startswith("subscription.")]
    assert told == ["subscription.validated", "subscription.refused"]


@pytest.mark.parametrize("verb", ["serve", "webhook"])
def test_command_refuses_to_listen_beyond_loopback_unguarded(
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It does not even begin, and says what to set."""
    monkeypatch.chdir(tmp_path)
    environment = BEYOND | {"AZURE_COMMUNICATION_CONNECTION_STRING": CONNECTION}
    for name, text in environment.items():
        monkeypatch.setenv(name, text)

    with isolated_logs():
        assert main([verb]) == 78

    said = capsys.readouterr().err
    assert (
        "WORKER_WEBHOOK_KEYS: must be set to listen beyond loopback (0.0.0.0:0)" in said
    )
    assert not list(tmp_path.iterdir())
