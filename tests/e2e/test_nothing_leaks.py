"""Canaries through every path that prints: none of them may be seen, in any form."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

import aiohttp
import pytest
from aiohttp import web

from samples.acs import DEMO_CONNECTION_STRING, Fault
from tests import canaries
from tests.canaries import Canary
from tests.e2e import events, worker_process
from tests.e2e.stores import Stores
from tests.e2e.worker_process import COMMAND, Ended, WorkerProcess
from tests.e2e.world import WatchfulStandIn, World
from tests.topic import StandInTopic

EMBEDDED = pytest.mark.parametrize("stores", ["embedded"], indirect=True)
ROW_11 = pytest.mark.receiver_row(11)
BUGGY = (sys.executable, str(Path(__file__).with_name("buggy_worker.py")))
SIGNED = "0-eus-d1-signed"
HOME, ECHOED, LURED = "0-eus-d1-home", "0-eus-d1-echoed", "0-eus-d1-lured"
DOCUMENTS = (HOME, SIGNED, ECHOED, LURED)
GRID = {"aeg-event-type": "Notification", "aeg-subscription-name": "RECORDINGS"}
LogFormat = Literal["json", "console"]


class EchoingStandIn(WatchfulStandIn):
    """Throws back what it was sent, as proxies and debug pages do, about one document."""

    async def _handle(
        self, request: web.BaseRequest, answer: Any
    ) -> web.StreamResponse:
        if ECHOED not in request.path:
            return await super()._handle(request, answer)
        await self._see(request)
        told = request.headers.get("Authorization", "")
        return web.Response(
            status=403,
            reason=told,
            headers={"WWW-Authenticate": told, "Content-Encoding-Of": told},
            text=json.dumps({**request.headers, "url": str(request.rel_url)}),
        )


@pytest.fixture
async def world(stores: Stores, tmp_path: Path) -> AsyncIterator[World]:
    """Canaries wherever a worker's settings hold a secret."""
    endpoint = DEMO_CONNECTION_STRING.partition("accesskey=")[0]
    text = f"{endpoint}accesskey={canaries.ACCESS_KEY}"
    login = ":".join(
        quote(part, safe="") for part in (canaries.PROXY_USER, canaries.PROXY_PASSWORD)
    )
    settings = {
        "WORKER_WEBHOOK_KEYS": f"{canaries.WEBHOOK_KEY},{canaries.OTHER_KEY}",
        "WORKER_NOTIFY_KEY": canaries.NOTIFY_KEY,
        "HTTPS_PROXY": f"http://{login}@127.0.0.1:9",
        "AZURE_CLIENT_SECRET": canaries.CLIENT_SECRET,
        "IDENTITY_HEADER": canaries.IDENTITY_HEADER,
        "WORKER_LEASE_SECONDS": "1",
        "WORKER_DRAIN_SECONDS": "1",
    }
    async with (
        EchoingStandIn(stores, connection_string=text) as acs,
        StandInTopic(key=canaries.NOTIFY_KEY) as topic,
    ):
        settings["WORKER_NOTIFY"] = topic.endpoint
        yield World(folder=tmp_path, acs=acs, stores=stores, settings=settings)


@dataclass(slots=True, kw_only=True)
class Told:
    """All that came out: of processes and of the endpoint."""

    printed: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)

    def add(self, ended: Ended) -> Ended:
        self.printed += [ended.out, ended.err]
        return ended

    def check(self, *more: Canary) -> None:
        """The validation code is what a handshake answers; all else is in nothing."""
        among = (*canaries.ALL, *more)
        assert canaries.seen("\n".join(self.printed), among) == []
        answered = "\n".join(self.answered).replace(
            json.dumps({"validationResponse": canaries.VALIDATION_CODE}), ""
        )
        assert canaries.seen(answered, among) == []


@asynccontextmanager
async def listening(
    world: World,
    told: Told,
    *arguments: str,
    command: tuple[str, ...] = COMMAND,
    log_format: LogFormat = "json",
) -> AsyncIterator[tuple[WorkerProcess, str]]:
    """A worker that listens, and where; all that it prints is told."""
    async with world.running(
        *arguments,
        command=command,
        WORKER_LOG_FORMAT=log_format,
        WORKER_ADMIN_LISTEN="127.0.0.1:0",
    ) as worker:
        at = re.compile(r"worker\.started\b.*?listen[\"=: ]+(http://[^\s\"]+)")
        await worker.wait_until(lambda: at.search(worker.err) is not None)
        found = at.search(worker.err)
        assert found is not None
        yield worker, found[1]
        told.answered += await _admin_pages(worker.err)
        assert await worker.stop() == 0
    told.printed += [worker.err, worker.out]


async def _admin_pages(printed: str) -> list[str]:
    """What the admin listener shows whoever asks."""
    found = re.search(r"admin\.listening\b.*?listen[\"=: ]+(http://[^\s\"]+)", printed)
    assert found is not None
    pages = []
    async with aiohttp.ClientSession() as session:
        for path in ("/metrics", "/health", "/livez", "/"):
            async with session.get(found[1] + path) as answer:
                pages.append(await answer.text())
    assert "recording_worker_deliveries_total" in pages[0]
    return pages


def a_recording(acs: WatchfulStandIn, document: str) -> bytes:
    """Announce a chunk that names everybody who took part, wherever an event has room."""
    body, original = events.fresh_chunk(acs, document)
    person = {
        "identifier": {"rawId": canaries.RAW_ID},
        "phoneNumber": {"value": canaries.PHONE, "rawId": f"4:{canaries.PHONE}"},
        "displayName": canaries.DISPLAY_NAME,
    }
    metadata = json.loads(original.metadata)
    metadata["participants"] = [{"participantId": canaries.RAW_ID}, person]
    metadata[canaries.NICKNAME] = canaries.DISPLAY_NAME
    acs.put(
        document,
        content=original.content,
        metadata=json.dumps(metadata, ensure_ascii=False).encode(),
    )
    (event,) = json.loads(body)
    event["data"]["participants"] = [person]
    event["data"]["nickname"] = canaries.NICKNAME
    event["data"]["sessionEndReason"] = canaries.DISPLAY_NAME
    (chunk,) = event["data"]["recordingStorageInfo"]["recordingChunks"]
    if document != HOME:
        # Of a form that nobody knows: it is archived, and never deleted.
        chunk["contentLocation"] += f"?sig={canaries.LOCATION_TOKEN}"
    chunk["endReason"] = canaries.NICKNAME
    return json.dumps([event]).encode()


def a_validation(code: object = canaries.VALIDATION_CODE) -> bytes:
    """The handshake of Event Grid's own schema."""
    url = (
        "https://rp-westeurope.eventgrid.azure.net:553/eventsubscriptions/calls/validate"
        f"?id=1&t=2&apiVersion=3&token={canaries.VALIDATION_PATH}"
    )
    event = {
        "id": "1",
        "topic": "/subscriptions/1",
        "subject": "",
        "data": {"validationCode": code, "validationUrl": url},
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2026-03-01T11:59:00Z",
        "metadataVersion": "1",
        "dataVersion": "2",
    }
    return json.dumps([event]).encode()


def malformed(document: str) -> dict[str, bytes]:
    """Deliveries that can't be read, each full of what may not be quoted."""
    everything = " ".join(canary.text for canary in canaries.ALL)
    base = {
        "id": document,
        "topic": "",
        "subject": "/recording/call/c",
        "eventType": "Microsoft.Communication.RecordingFileStatusUpdated",
        "eventTime": everything,
    }
    entry = {"documentId": [everything], "contentLocation": everything}
    shapes: dict[str, Any] = {
        "text": everything,
        "no chunks": {"recordingStorageInfo": everything},
        "not a chunk": {"recordingStorageInfo": {"recordingChunks": [everything]}},
        "odd chunk": {"recordingStorageInfo": {"recordingChunks": [entry]}},
        "odd place": {
            "recordingStorageInfo": {
                "recordingChunks": [{**entry, "documentId": 1, "index": everything}]
            }
        },
    }
    return {
        "not JSON": f'[{{"x": "{everything}'.encode(),
        "not UTF-8": everything.encode() + b"\xff",
        "no event": json.dumps([everything]).encode(),
        "no type": json.dumps({"eventType": [everything], everything: 1}).encode(),
        "a code": a_validation([canaries.VALIDATION_CODE]),
        **{
            name: json.dumps([base | {"data": data}]).encode()
            for name, data in shapes.items()
        },
    }


async def post(
    told: Told,
    url: str,
    body: bytes,
    headers: dict[str, str] | None = None,
    *,
    code: str = "",
) -> int:
    """Deliver; what is answered is told, its head too."""
    asked = f"{url}?code={quote(code, safe='')}" if code else url
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            asked, data=body, headers=headers, allow_redirects=False
        ) as answer,
    ):
        told.answered.append(f"{answer.reason} {answer.headers} {await answer.text()}")
        return answer.status


async def consent(told: Told, url: str) -> int:
    headers = {
        "WebHook-Request-Origin": "eventgrid.azure.net",
        "WebHook-Request-Callback": f"https://e.azure.net/{canaries.CALLBACK_PATH}",
    }
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.options(f"{url}?code={quote(canaries.WEBHOOK_KEY, safe='')}") as answer,
    ):
        told.answered.append(f"{answer.headers} {await answer.text()}")
        return answer.status


async def send_raw(url: str, head: str) -> str:
    """Send bytes that are no HTTP, or hardly; returns the answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(head.encode())
    answer = (await reader.read()).decode(errors="replace")
    writer.close()
    await writer.wait_closed()
    return answer


_KEY = quote(canaries.WEBHOOK_KEY, safe="")
_SECRETS = (
    f"x-functions-key: {canaries.OTHER_KEY}\r\nAuthorization: Bearer {canaries.TOKEN}\r\n"
    "Connection: close"
)
HARDLY_HTTP = {
    "no version": f"POST /api/events?code={_KEY}\r\n{_SECRETS}\r\n\r\n",
    "odd version": f"POST /api/events?code={_KEY} HTTP/9.9\r\n{_SECRETS}\r\n\r\n",
    "odd method": f"PO ST /api/events?code={_KEY} HTTP/1.1\r\n{_SECRETS}\r\n\r\n",
    "key as a method": f"{canaries.OTHER_KEY} {canaries.ROTATED_KEY}\r\n\r\n",
    "odd header": "POST /api/events HTTP/1.1\r\nHost: a\r\n"
    f"x-functions-key\x01{canaries.OTHER_KEY}: {canaries.NICKNAME}\r\n{_SECRETS}\r\n\r\n",
    "no colon": f"POST /api/events HTTP/1.1\r\nHost: a\r\n{canaries.TOKEN}\r\n\r\n",
    "odd length": "POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: "
    f"{canaries.OTHER_KEY}\r\n{_SECRETS}\r\n\r\n",
    "odd chunk": "POST /api/events HTTP/1.1\r\nHost: a\r\n"
    f"Transfer-Encoding: chunked\r\nx-functions-key: {canaries.OTHER_KEY}\r\n\r\n"
    f"{canaries.PHONE}\r\n{canaries.NICKNAME}\r\n",
    "long line": f"POST /api/events?code={_KEY * 3000} HTTP/1.1\r\n{_SECRETS}\r\n\r\n",
    "elsewhere": f"GET /{_KEY}?code={_KEY} HTTP/1.1\r\nHost: a\r\n{_SECRETS}\r\n\r\n",
    "another method": f"PUT /api/events?code={_KEY} HTTP/1.1\r\nHost: a\r\n{_SECRETS}\r\n\r\n",
    "after the end": f"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n{_SECRETS}",
}


@ROW_11
@EMBEDDED
@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_worker_at_work_tells_no_secret(
    world: World, log_format: LogFormat
) -> None:
    """Handshakes, deliveries, strangers, rubbish, a source that throws back what it is sent:
    nothing of it is in a log, in an answer, or in what the commands show.
    """
    told = Told()
    world.acs.plan(HOME, "content", [Fault.status(503), Fault.cut_after(100)])
    lure = f"https://elsewhere.example/x?sig={canaries.REDIRECT_TOKEN}"
    world.acs.plan(LURED, "content", [Fault.redirect_to(lure).always()])
    bodies = {name: a_recording(world.acs, name) for name in DOCUMENTS}

    async with listening(world, told, "-v", "serve", log_format=log_format) as (
        worker,
        url,
    ):
        assert await consent(told, url) == 200
        assert await post(told, url, a_validation(), code=canaries.WEBHOOK_KEY) == 200
        await check_who_may_post(told, url, bodies[HOME])
        for name, body in bodies.items():
            header = {"x-functions-key": canaries.OTHER_KEY, **GRID}
            assert await post(told, url, body, header) == 200, name
        for name, body in malformed(ECHOED).items():
            assert await post(told, url, body, GRID, code=canaries.WEBHOOK_KEY) in {
                200,
                400,
            }, name
        for head in HARDLY_HTTP.values():
            answer = await send_raw(url, head)
            assert answer.startswith("HTTP/"), head
            told.answered.append(answer)
        told.printed.append(title_of(worker))
        await worker.wait_until(lambda: has_ended(worker, HOME, "deleted"))
        await worker.wait_until(lambda: has_ended(worker, SIGNED, "archived"))
        await worker.wait_until(lambda: has_ended(worker, LURED, "dead"))
        await worker.wait_until(lambda: has_ended(worker, ECHOED, "rescheduled"))

    for ended in await look_everywhere(world, HOME, as_json=log_format == "json"):
        told.add(ended)
    told.check()
    log = told.printed[1]
    assert "source-forbidden" in log
    assert "not an allowed source host" in log


async def check_who_may_post(told: Told, url: str, body: bytes) -> None:
    """Good keys, a rotated one, strangers; as a query, a header, a token."""
    bearer = {"Authorization": f"Bearer {canaries.TOKEN}"}
    assert await post(told, url, body, GRID, code=canaries.WEBHOOK_KEY) == 200
    assert await post(told, url, body, GRID, code=canaries.ROTATED_KEY) == 503
    assert await post(told, url, body, code=canaries.ROTATED_KEY) == 401
    assert await post(told, url, body, {**GRID, **bearer}) == 503
    assert await post(told, url, body, bearer) == 401


def title_of(worker: WorkerProcess) -> str:
    """What everybody on this machine can see of a process, where there is such a thing."""
    path = Path(f"/proc/{worker.pid}/cmdline")
    return path.read_text() if path.exists() else ""


def has_ended(worker: WorkerProcess, document: str, outcome: str) -> bool:
    """Whether a line of either format says so."""
    lines = (line for line in worker.err.splitlines() if "chunk.finished" in line)
    return any(document in line and outcome in line for line in lines)


async def look_everywhere(world: World, document: str, *, as_json: bool) -> list[Ended]:
    """Every verb that only looks, for people or for machines."""
    verbs = (
        ["status"],
        ["config"],
        ["queue", "list"],
        ["queue", "show", "0-eus"],
        ["recordings", "list"],
        ["recordings", "show", document],
    )
    more = ["--json"] if as_json else []
    ended = [await world.run("-v", *verb, *more) for verb in verbs]
    assert {each.code for each in ended} <= {0, 3}
    assert all(each.out for each in ended)
    return ended


@ROW_11
@EMBEDDED
@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_bugs_that_quote_their_input_tell_nothing_of_it(
    world: World, log_format: LogFormat
) -> None:
    """A firewall's traceback, a task nobody waited for, a thread, a finalizer, a warning: all
    are told, by kind and place; a look into the queue says no more.
    """
    told = Told()
    body = a_recording(world.acs, LURED).replace(
        b'"nickname"', b'"lured-into-a-bug": 1, "nickname"'
    )
    good = a_recording(world.acs, SIGNED)
    async with listening(
        world, told, "-v", "webhook", command=BUGGY, log_format=log_format
    ) as (_, url):
        assert await post(told, url, body, GRID, code=canaries.WEBHOOK_KEY) == 503
        assert await post(told, url, good, GRID, code=canaries.WEBHOOK_KEY) == 200
    async with world.running(
        "-v", "consume", command=BUGGY, WORKER_LOG_FORMAT=log_format
    ) as consumer:
        await consumer.wait_until(lambda: has_ended(consumer, SIGNED, "rescheduled"))
        await consumer.stop()
    told.printed += [consumer.err, consumer.out]
    told.add(await world.run("queue", "show", SIGNED))
    told.add(await world.run("queue", "show", SIGNED, "--json"))

    told.check()
    webhook = told.printed[0]
    assert webhook.count("raise_quoting") >= 3
    assert "never retrieved" in webhook
    assert webhook.count("process.crashed") == 2
    assert "RuntimeWarning" in webhook
    assert "ValueError" in consumer.err


CONTAINER = "devstoreaccount1/calls"
SAS = f"sv=2026-02-06&se=2099-01-01T00%3A00%3A00Z&sp=rw&sig={quote(canaries.LOCATION_TOKEN)}"


@asynccontextmanager
async def refusing_everything() -> AsyncIterator[str]:
    """A storage account, a topic, an identity: each answer quotes its request whole."""

    async def refuse(request: web.BaseRequest) -> web.Response:
        told = json.dumps({**request.headers, "url": str(request.rel_url)})
        return web.Response(
            status=403,
            reason=f"no {request.rel_url}",
            headers={"x-ms-error-code": "AuthenticationFailed", "x-ms-request-id": "1"},
            content_type="application/xml",
            text="<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code>"
            f"<Message>no: {escape(told)}</Message><AuthenticationErrorDetail>The MAC "
            f"signature found in the HTTP request '{escape(told)}' is not the same as any."
            "</AuthenticationErrorDetail></Error>",
        )

    runner = web.ServerRunner(web.Server(refuse))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("kind", ["signature", "key", "identity"])
async def test_storage_that_refuses_and_quotes_us_is_told_without_that(
    tmp_path: Path, kind: str
) -> None:
    """By signature, by key, as a managed identity: one line, and with -v where it came from."""
    told = Told()
    key = canaries.ACCESS_KEY
    async with refusing_everything() as url:
        environment = {
            "WORKER_SOURCE_HOSTS": "127.0.0.1:1",
            "WORKER_ARCHIVE": f"{url}/{CONTAINER}?{SAS}",
            "IDENTITY_ENDPOINT": f"{url}/msi",
            "IDENTITY_HEADER": canaries.IDENTITY_HEADER,
        }
        if kind == "key":
            environment |= {
                "WORKER_ARCHIVE": f"{url}/{CONTAINER}",
                "AZURE_STORAGE_CONNECTION_STRING": "AccountName=devstoreaccount1;"
                f"AccountKey={key};BlobEndpoint={url}/devstoreaccount1",
            }
        if kind == "identity":
            environment["WORKER_ARCHIVE"] = f"https://127.0.0.1:1/{CONTAINER}"
        runs = (["-v", "recordings", "list"], ["recordings", "list"], ["config"])
        for arguments in runs:
            ended = await worker_process.run(
                *arguments, environment=environment, folder=tmp_path
            )
            told.add(ended)
            assert ended.code in {0, 1, 78}, ended.err

    told.check()
    assert "Traceback" in told.printed[1]
    assert "error: " in told.printed[3]


async def test_settings_that_are_wrong_are_told_without_their_values(
    tmp_path: Path,
) -> None:
    """Secrets misspelt, misplaced, cut in two: in the environment and in a file."""
    told = Told()
    file = tmp_path / "worker.env"
    file.write_text(
        f"WORKER_WEBHOOK_KEY={canaries.ROTATED_KEY}\n"
        f"export {canaries.NICKNAME}\n"
        f'WORKER_NOTIFY_KEY="{canaries.NOTIFY_KEY}\n'
        f"{canaries.CLIENT_SECRET}\n"
    )
    wrong = {
        "WORKER_WEBHOOK_KEYS": canaries.OTHER_KEY,
        "WORKER_NOTIFY_KEY": canaries.NOTIFY_KEY,
        "WORKER_LISTEN": f"https://a.b/?code={canaries.OTHER_KEY}",
        "WORKER_MAX_CHUNKS": canaries.OTHER_KEY,
        "WORKER_DELETE_SOURCE": canaries.NOTIFY_KEY,
        "WORKER_SOURCE_HOSTS": f"a.b,https://{canaries.OTHER_KEY}@a.b",
        "WORKER_NOTIFY": f"https://a.b/api/events?aeg-sas-key={canaries.NOTIFY_KEY}",
        "WORKER_ARCHIVE": f"https://a.b.c/Container?{SAS}",
        "WORKER_QUEUE": f"https://a.b.c/x?token={canaries.TOKEN}",
        "AZURE_COMMUNICATION_CONNECTION_STRING": f"accesskey={canaries.ACCESS_KEY}",
        "AZURE_STORAGE_CONNECTION_STRING": f"AccountKey={canaries.ACCESS_KEY}",
        "AZURE_COMMUNICATION_ENDPOINT": f"https://{canaries.ACCESS_KEY}@a.b",
        f"WORKER_{canaries.NICKNAME}": canaries.ROTATED_KEY,
    }
    of_file = ["--env-file", str(file)]
    for arguments in (
        ["serve"],
        [*of_file, "serve"],
        ["config"],
        [*of_file, "config", "--json"],
        ["-v", *of_file, "status"],
        ["--env-file", str(tmp_path), "config"],
    ):
        ended = await worker_process.run(*arguments, environment=wrong, folder=tmp_path)
        assert ended.code == 78, ended.err
        told.add(ended)

    named = f"WORKER_{canaries.NICKNAME}"
    told.printed = [text.replace(named, "") for text in told.printed]
    told.check()
