"""The endpoint and an authority, both on real servers: who bears a right token may post."""

import asyncio
import contextlib
import io
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web
from structlog.testing import capture_logs

from handlers.auth import AnyAuth, KeyAuth
from handlers.claims import Expected
from handlers.entra import TokenAuth
from handlers.health import Health
from handlers.jwks import MAX_SET_BYTES, Authority
from handlers.quarantine import Quarantine
from handlers.receiver import Receiver
from handlers.signing_keys import (
    COOL_DOWN_SECONDS,
    KEPT_SECONDS,
    LOAD_SECONDS,
    KeysUnavailableError,
    SigningKeys,
)
from handlers.webhook import TURNED_AWAY, webhook_app, webhook_runner
from tests.authority import (
    APPLICATION,
    EVENT_GRID,
    TENANT,
    URI,
    Claims,
    StandInAuthority,
    by_hand,
    claims_v1,
    claims_v2,
    rsa_key,
    signed,
    stand_in_authority,
)
from tests.factories import RETENTION
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import ManualClock
from tests.isolation import isolated_logs
from tests.unit.handlers.bodies import SmallQueue, a_body, a_grid_event
from worker.log import configure_logging

EVENTS = "/api/events"
GRID = {"aeg-event-type": "Notification", "aeg-delivery-count": "1"}
KEY = "a-key-beside-the-tokens"
WAIT_SECONDS = 10


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """A webhook that asks for tokens of an authority, its parts within reach."""

    client: aiohttp.ClientSession
    authority: StandInAuthority
    clock: ManualClock
    app: web.Application
    port: int
    queue: SmallQueue = field(default_factory=SmallQueue)

    async def post(
        self, token: str | None, *, is_grid: bool = True, key: str = ""
    ) -> int:
        """Deliver one event as Event Grid does, or as anybody does; return the status."""
        headers = dict(GRID) if is_grid else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.client.post(
            EVENTS,
            data=io.BytesIO(a_body(a_grid_event())),
            headers=headers,
            params={"code": key} if key else {},
        ) as answer:
            return answer.status

    def turned_away(self) -> dict[str, int]:
        counts = self.app[TURNED_AWAY]
        return dict(counts)


@asynccontextmanager
async def serving(
    authority: StandInAuthority, *, url: str = "", is_ahead: bool = True
) -> AsyncIterator[Endpoint]:
    """Start an endpoint; `is_ahead`: with the authority's keys loaded, or tried for."""
    clock, queue, archive = ManualClock(), SmallQueue(), MemoryArchive()
    expected = Expected(
        authority=url or authority.url,
        tenant=TENANT,
        audiences=frozenset({APPLICATION, URI}),
        callers=frozenset({EVENT_GRID}),
    )
    source = Authority(url=expected.authority, tenant=TENANT, version="0")
    keys = SigningKeys(source.load_keys, clock=clock)
    auth = AnyAuth([KeyAuth([KEY]), TokenAuth(expected, keys, clock=clock)])
    receiver = Receiver(queue, Quarantine(archive, clock), clock, retention=RETENTION)
    app = webhook_app(receiver, auth, Health(archive.ready, clock))
    runner = webhook_runner(app, grace_seconds=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with (
            keys.refreshed(),
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        ):
            if is_ahead:
                with contextlib.suppress(KeysUnavailableError):
                    await keys.find("nobody")
            yield Endpoint(
                client=client,
                authority=authority,
                clock=clock,
                app=app,
                port=port,
                queue=queue,
            )
    finally:
        await runner.cleanup()


@pytest.fixture
async def authority() -> AsyncIterator[StandInAuthority]:
    async with stand_in_authority() as authority:
        yield authority


@pytest.fixture
async def endpoint(authority: StandInAuthority) -> AsyncIterator[Endpoint]:
    """An endpoint without any trouble."""
    async with serving(authority) as running:
        yield running


@pytest.mark.receiver_row(6)
@pytest.mark.parametrize("audience", [APPLICATION, APPLICATION.upper(), URI])
async def test_bearer_of_a_token_may_post(endpoint: Endpoint, audience: str) -> None:
    """Of either version, for the application's id or its URI; keys are fetched once."""
    first = signed(claims_v1(aud=audience))
    second = signed(claims_v2(endpoint.authority.url, aud=audience))

    assert await endpoint.post(first) == 200
    assert await endpoint.post(second) == 200
    assert len(endpoint.queue.deliveries) == 2
    assert endpoint.authority.asked == [f"/{TENANT}/discovery/v2.0/keys"]


@pytest.mark.receiver_row(6)
async def test_key_and_token_are_alternatives(endpoint: Endpoint) -> None:
    """Either is enough, so that one can replace the other without a gap."""
    ours, forged = signed(claims_v1()), signed(claims_v1(), key=rsa_key(1))

    assert await endpoint.post(None, key=KEY) == 200
    assert await endpoint.post(forged, key=KEY) == 200
    assert await endpoint.post(ours, key="rotated") == 200
    assert await endpoint.post(forged, key="rotated") == 503


@pytest.mark.receiver_row(6)
@pytest.mark.receiver_row(10)
@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "api://another"},
        {"tid": APPLICATION},
        {"appid": APPLICATION},
        {"exp": 1},
        {"iss": f"https://login.microsoftonline.com/{TENANT}/v2.0"},
    ],
)
async def test_wrong_token_is_final_for_strangers_only(
    endpoint: Endpoint, claims: Claims
) -> None:
    """Event Grid's delivery comes again, and a person is told; a stranger is sent away."""
    token = signed(claims_v1(**claims))
    with capture_logs() as logs:
        assert await endpoint.post(token) == 503
        assert await endpoint.post(token, is_grid=False) == 401

    assert endpoint.turned_away() == {"bad-credential": 1, "unauthorized": 1}
    assert endpoint.queue.deliveries == []
    told = [(line["event"], line["log_level"]) for line in logs]
    assert told == [
        ("token.refused", "warning"),
        ("delivery.refused", "error"),
        ("token.refused", "warning"),
        ("delivery.rejected", "warning"),
    ]


async def test_rotated_key_of_the_authority_costs_nothing(endpoint: Endpoint) -> None:
    """A new key is found when the first token under it arrives; a gone one is refused."""
    endpoint.authority.numbers = [1]
    endpoint.clock.advance(COOL_DOWN_SECONDS)

    assert await endpoint.post(signed(claims_v1(), key=rsa_key(1), kid="key-1")) == 200
    assert await endpoint.post(signed(claims_v1())) == 503
    assert len(endpoint.authority.asked) == 2


async def test_a_thousand_invented_keys_cost_one_request(endpoint: Endpoint) -> None:
    """Strangers can't make us wear out the authority."""
    endpoint.clock.advance(COOL_DOWN_SECONDS)
    forged = [
        by_hand({"alg": "RS256", "kid": f"invented-{n}"}, claims_v1())
        for n in range(1000)
    ]

    statuses = set()
    for start in range(0, len(forged), 50):
        batch = forged[start : start + 50]
        posted = (endpoint.post(token, is_grid=False) for token in batch)
        statuses |= set(await asyncio.gather(*posted))

    assert statuses == {401}
    assert len(endpoint.authority.asked) == 2
    assert await endpoint.post(signed(claims_v1())) == 200


async def test_deliveries_pass_while_the_authority_is_down(endpoint: Endpoint) -> None:
    """With the keys at hand, for a day; then nobody can tell, and nothing is final."""
    endpoint.authority.status = 500
    token = signed(claims_v1(exp=None) | {"exp": 2**40})
    endpoint.clock.advance(KEPT_SECONDS)

    assert await endpoint.post(token) == 200
    endpoint.clock.advance(1)
    assert await endpoint.post(token) == 503
    assert await endpoint.post(token, is_grid=False) == 503
    assert endpoint.turned_away() == {"cannot-authenticate": 2}


BROKEN: dict[str, Callable[[StandInAuthority], None]] = {
    "answered 500": lambda it: setattr(it, "status", 500),
    "answered 302": lambda it: setattr(it, "status", 302),
    "answered 204": lambda it: setattr(it, "status", 204),
    "sent no key": lambda it: setattr(it, "body", b"<html>"),
    "sent no key that": lambda it: setattr(it, "body", b'{"keys": []}'),
    "sent more than": lambda it: setattr(it, "body", b" " * (MAX_SET_BYTES + 1)),
}


@pytest.mark.receiver_row(6)
@pytest.mark.parametrize("why", BROKEN)
async def test_without_keys_every_bearer_must_come_again(
    authority: StandInAuthority, why: str
) -> None:
    """Whatever the authority answers instead of keys; who bears nothing is a stranger still."""
    BROKEN[why](authority)
    with capture_logs() as logs:
        async with serving(authority) as endpoint:
            assert await endpoint.post(signed(claims_v1())) == 503
            assert await endpoint.post(signed(claims_v1()), is_grid=False) == 503
            assert await endpoint.post(None, is_grid=False) == 401
            assert await endpoint.post(None, key=KEY) == 200

    trouble, *refused = [line for line in logs if line["log_level"] == "error"]
    assert trouble["event"] == "authority.unavailable"
    assert why in trouble["error"]
    assert [line["reason"] for line in refused] == ["cannot-authenticate"] * 2
    assert len(authority.asked) == 1, "no redirect is followed, nobody is asked twice"


async def test_authority_that_is_back_is_asked_again(
    authority: StandInAuthority,
) -> None:
    """Within half a minute, and without a delivery: the first one passes."""
    authority.status = 503
    async with serving(authority) as endpoint:
        assert await endpoint.post(signed(claims_v1())) == 503
        authority.status = 200
        endpoint.clock.advance(COOL_DOWN_SECONDS)
        await authority.wait_for_requests(2)

        assert await endpoint.post(signed(claims_v1())) == 200


async def test_authority_that_cannot_be_reached_is_named(
    authority: StandInAuthority,
) -> None:
    """A closed port is an outage like any other."""
    gone = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = gone.sockets[0].getsockname()
    gone.close()
    await gone.wait_closed()
    with capture_logs() as logs:
        async with serving(authority, url=f"http://{host}:{port}") as endpoint:
            assert await endpoint.post(signed(claims_v1())) == 503

    assert logs[0]["event"] == "authority.unavailable"
    assert logs[0]["error"].startswith(f"127.0.0.1:{port}: ClientConnectorError")


async def test_hanging_authority_holds_a_delivery_for_seconds(
    authority: StandInAuthority,
) -> None:
    """All that wait are answered together, and those after them at once."""
    authority.is_open.clear()
    async with serving(authority, is_ahead=False) as endpoint:
        waiting = [
            asyncio.ensure_future(endpoint.post(signed(claims_v1()))) for _ in range(20)
        ]
        await authority.wait_for_requests(1)
        endpoint.clock.advance(LOAD_SECONDS)

        assert await asyncio.gather(*waiting) == [503] * 20
        assert await endpoint.post(signed(claims_v1())) == 503
    assert len(authority.asked) == 1


async def test_hanging_refresh_holds_nobody(endpoint: Endpoint) -> None:
    """Whoever bears a known key does not wait for the next load."""
    endpoint.authority.is_open.clear()
    endpoint.clock.advance(KEPT_SECONDS)
    await endpoint.authority.wait_for_requests(2)

    assert await endpoint.post(signed(claims_v1(exp=2**40))) == 200


async def test_sender_that_gives_up_leaves_the_load_to_others(
    authority: StandInAuthority,
) -> None:
    """A delivery that is cut off cancels nothing that others wait for."""
    authority.is_open.clear()
    async with serving(authority, is_ahead=False) as endpoint:
        first = asyncio.ensure_future(endpoint.post(signed(claims_v1())))
        await authority.wait_for_requests(1)
        second = asyncio.ensure_future(endpoint.post(signed(claims_v1())))
        first.cancel()
        await asyncio.wait({first})
        authority.is_open.set()

        assert await second == 200
    assert len(authority.asked) == 1


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Authorization: Bearer garbage", 401),
        (f"Authorization: Bearer {'x' * 20_000}.y.z", 401),
        ("Authorization: Bearer garbage\r\naeg-event-type: Notification", 503),
    ],
)
async def test_token_is_judged_before_the_body_is_read(
    endpoint: Endpoint, header: str, status: int
) -> None:
    """Nobody has to send a body to learn that it isn't wanted."""
    head = (
        f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n{header}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    writer.write(head.encode())

    async with asyncio.timeout(WAIT_SECONDS):
        line = await reader.readline()
    writer.close()

    assert line.startswith(f"HTTP/1.1 {status} ".encode())


async def test_handshake_asks_for_no_token(endpoint: Endpoint) -> None:
    """OPTIONS lets nobody deliver, and Event Grid may send none with it."""
    origin = {"WebHook-Request-Origin": "eventgrid.azure.net"}
    async with endpoint.client.options(EVENTS, headers=origin) as answer:
        assert answer.status == 200


async def test_no_part_of_a_token_is_logged(authority: StandInAuthority) -> None:
    """Not even at debug, be it good, bad, or undecided."""
    good = signed(claims_v1(sub="participant"))
    texts = [
        good,
        signed(claims_v1(aud="api://x"), kid="secret-kid"),
        f"{good[:-9]}.x.y",
    ]
    stream = io.StringIO()
    with isolated_logs():
        configure_logging(level="debug", line_format="json", stream=stream)
        async with serving(authority) as endpoint:
            for token in texts:
                await endpoint.post(token)
            authority.status = 500
            endpoint.clock.advance(KEPT_SECONDS + 1)
            await endpoint.post(good)

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    events = {line["event"] for line in lines}
    assert {"delivery.accepted", "delivery.refused", "token.refused"} <= events
    for token in texts:
        for part in token.split("."):
            assert len(part) < 4 or part not in stream.getvalue()
    assert "participant" not in stream.getvalue()
    assert "secret-kid" not in stream.getvalue()


@pytest.fixture
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "no", "all"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


@pytest.mark.usefixtures("_no_proxies")
async def test_keys_are_fetched_through_the_proxy(
    authority: StandInAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY is asked for a tunnel; one that refuses is an outage."""
    asked: list[bytes] = []

    async def refuse(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 No\r\n\r\n")
        writer.close()

    proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
    host, port = proxy.sockets[0].getsockname()
    monkeypatch.setenv("HTTPS_PROXY", f"http://{host}:{port}")
    async with proxy:
        url = "https://login.microsoftonline.com"
        async with serving(authority, url=url) as endpoint:
            assert await endpoint.post(signed(claims_v2(url))) == 503

    assert asked[0].startswith(b"CONNECT login.microsoftonline.com:443 HTTP/1.1\r\n")


@pytest.mark.parametrize(("is_named", "status"), [(True, 200), (False, 503)])
async def test_authority_is_trusted_by_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_named: bool, status: int
) -> None:
    """SSL_CERT_FILE may name a private CA; what nobody vouches for gives no keys."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if is_named:
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    async with (
        stand_in_authority(ssl_context=context) as authority,
        serving(authority) as endpoint,
    ):
        assert await endpoint.post(signed(claims_v2(authority.url))) == status
