"""`python -m samples.event_grid`: saved events to an endpoint, and a line for all of it."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from samples import events_dir
from samples.grid import command
from samples.grid.messages import SchemaMismatchError
from tests.fakes.clock import ManualClock
from tests.grid import Answering, Endpoint, serving

DEMO = sorted(map(str, events_dir().glob("demo/*.event-grid.json")))
PLAIN = str(events_dir() / "one-chunk.event-grid.json")
CLOUD = str(events_dir() / "one-chunk.cloud-event.json")
PLAIN_TEXT = Path(PLAIN).read_text(encoding="utf-8")
NOT_JSON = events_dir() / "malformed/bad-json.json"


def an_endpoint(*statuses: int) -> Answering:
    """A good handshake, then these statuses, the last one for ever."""
    left = list(statuses)

    async def answer(request: web.BaseRequest, body: bytes) -> web.Response:
        if request.headers["aeg-event-type"] == "SubscriptionValidation":
            (event,) = json.loads(body)
            code = event["data"]["validationCode"]
            return web.json_response({"validationResponse": code})
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0])

    return answer


async def consenting(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    """Both handshakes, and every delivery."""
    if request.method == "OPTIONS":
        return web.Response(headers={"WebHook-Allowed-Origin": "*"})
    return await an_endpoint(200)(request, body)


async def deliver(endpoint: Endpoint, *arguments: str) -> tuple[bool, list[str]]:
    """Run the command; returns whether all arrived, and what was said."""
    options = command.options_from([endpoint.url, *arguments])
    lines: list[str] = []
    clock = ManualClock(auto=True)
    return await command.deliver(options, say=lines.append, clock=clock), lines


async def test_saved_events_are_delivered() -> None:
    """The handshake first; Event Grid's own events are left to it."""
    async with serving(an_endpoint(200)) as endpoint:
        arrived, lines = await deliver(endpoint, *DEMO)

    types = [json.loads(body)[0]["eventType"] for _, body in endpoint.seen]
    assert arrived
    assert types.count("Microsoft.EventGrid.SubscriptionValidationEvent") == 1
    assert lines[0] == "handshake  passed"
    assert "attempt 1, 1 event: answered 200: Event Grid would count" in lines[1]


async def test_failed_delivery_is_tried_again() -> None:
    """Retries and the time that an endpoint is left alone are told."""
    async with serving(an_endpoint(503, 200)) as endpoint:
        arrived, lines = await deliver(endpoint, PLAIN, PLAIN)

    assert arrived
    assert "attempt 1, 1 event: answered 503" in lines[1]
    assert "   0.0 s  1 event: the endpoint is left alone for 10 s" in lines[2]
    assert "  10.0 s  attempt 1, 1 event: answered 200" in lines[3]
    assert "attempt 2, 1 event: answered 200" in lines[4]


async def test_doubtful_handshake_is_noted() -> None:
    """What passes today, and has not always, is said."""

    async def repeat(_request: web.BaseRequest, body: bytes) -> web.Response:
        (event,) = json.loads(body)
        said = {"validationResponse": event["data"].get("validationCode")}
        return web.Response(text=json.dumps(said), content_type="text/plain")

    async with serving(repeat) as endpoint:
        arrived, lines = await deliver(endpoint, PLAIN)

    assert arrived
    assert lines[0].startswith("handshake  note: the answer's Content-Type")


async def test_what_cannot_be_delivered_lies_in_the_folder(tmp_path: Path) -> None:
    """With a folder for dead letters, a final answer leaves a file there."""
    async with serving(an_endpoint(400)) as endpoint:
        arrived, lines = await deliver(
            endpoint, PLAIN, "--dead-letters", str(tmp_path), "--name", "mine"
        )

    assert not arrived
    assert "dead-lettered as MINE/" in lines[-1]


async def test_endpoint_that_is_down_costs_a_subscription_nothing_but_time(
    tmp_path: Path,
) -> None:
    """It was created before: no handshake, every try in its time, and then the folder."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        down = Endpoint(url=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        arrived, lines = await deliver(
            down, PLAIN, "--no-handshake", "--dead-letters", str(tmp_path)
        )

    assert not arrived
    assert "attempt 1, 1 event: connection refused" in lines[0]
    assert sum("attempt" in line for line in lines) > 5
    assert "dead-lettered as" in lines[-1]


async def test_without_a_folder_it_is_dropped() -> None:
    """As without a dead-letter container."""
    async with serving(an_endpoint(400)) as endpoint:
        arrived, lines = await deliver(endpoint, PLAIN)

    assert not arrived
    assert "dropped, UndeliverableDueToHttpBadRequest" in lines[-1]


async def test_failed_handshake_delivers_nothing() -> None:
    """Event Grid would not create the subscription."""

    async def accept(_request: web.BaseRequest, _body: bytes) -> web.Response:
        return web.Response(status=202)

    async with serving(accept) as endpoint:
        arrived, lines = await deliver(endpoint, PLAIN)

    assert not arrived
    assert len(endpoint.seen) == 1
    assert lines[-1].startswith("handshake  failed: answered 202")


async def test_settings_and_credentials_are_those_given(tmp_path: Path) -> None:
    """ARM's properties, headers and a token."""
    settings = tmp_path / "settings.json"
    batches = {"properties": {"maxEventsPerBatch": 10}}
    settings.write_text(json.dumps({"destination": batches}))
    async with serving(an_endpoint(200)) as endpoint:
        arrived, _ = await deliver(
            endpoint,
            *(PLAIN, PLAIN, "--settings", str(settings), "--token", "t"),
            *("--header", "x-functions-key=k=1", "--reorder", "--duplicates", "1"),
        )

    (_, _), (first, body), *_ = endpoint.seen
    assert arrived
    assert len(json.loads(body)) == 2
    assert first.headers["x-functions-key"] == "k=1"
    assert first.headers["Authorization"] == "Bearer t"


async def test_cloud_events_need_a_subscription_for_them() -> None:
    """They are not converted; those of Event Grid's schema are."""
    files = (PLAIN, CLOUD)
    async with serving(consenting) as endpoint:
        with pytest.raises(SchemaMismatchError):
            await deliver(endpoint, *files)
        arrived, _ = await deliver(endpoint, *files, "--schema", "cloudevents")

    assert arrived


def test_header_without_a_value_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 2, as for anything that makes no sense."""
    with pytest.raises(SystemExit) as caught:
        command.options_from(["http://127.0.0.1:1/", PLAIN, "--header", "key"])

    assert caught.value.code == 2
    assert "x-functions-key=KEY" in capsys.readouterr().err


async def test_events_are_led_to_a_source_that_stands_in() -> None:
    """What ACS's hosts would serve is fetched from there; the rest of the event stays."""
    async with serving(an_endpoint(200)) as endpoint:
        arrived, _ = await deliver(endpoint, PLAIN, "--source", "http://127.0.0.1:9/")

    _, (_, body) = endpoint.seen
    there = PLAIN_TEXT.replace("https://storage.asm.skype.com/", "http://127.0.0.1:9/")
    assert arrived
    assert there != PLAIN_TEXT
    assert json.loads(body) == json.loads(there)


@pytest.mark.parametrize(
    "source", ["127.0.0.1:9", "http://h/p", "http://u@h", "ftp://h"]
)
def test_source_that_is_none_is_a_usage_error(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scheme and a host, as `samples.acs` says them."""
    with pytest.raises(SystemExit) as caught:
        command.options_from(["http://127.0.0.1:1/", PLAIN, "--source", source])

    assert caught.value.code == 2
    assert "http://127.0.0.1:9000" in capsys.readouterr().err


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_time_does_not_stand_still(
    speed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does it run backwards: no wait would come to its end."""
    with pytest.raises(SystemExit) as caught:
        command.options_from(["http://127.0.0.1:1/", PLAIN, "--speed", speed])

    assert caught.value.code == 2
    assert "--speed" in capsys.readouterr().err


async def _interrupted(*_: object, **__: object) -> bool:
    raise KeyboardInterrupt


async def _arrived(*_: object, **__: object) -> bool:
    return True


@pytest.mark.parametrize(("ending", "code"), [(_interrupted, 1), (_arrived, 0)])
def test_command_ends_without_a_traceback(
    ending: Any, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 if all arrived, 1 if somebody lost patience."""
    monkeypatch.setattr(command, "deliver", ending)
    monkeypatch.setattr("sys.argv", ["event_grid", "http://127.0.0.1:1/", PLAIN])

    with pytest.raises(SystemExit) as caught:
        command.main()

    assert caught.value.code == code


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([PLAIN], 1, "connection refused"),
        ([PLAIN, "--header", "aeg-x=1"], "error: delivery property 'aeg-x'", ""),
        (["no-such-file.json"], "error: [Errno 2]", ""),
        ([str(NOT_JSON)], f"error: no events in '{NOT_JSON}': ", ""),
        (
            [CLOUD],
            "error: a CloudEvent can't be delivered in Event Grid's schema\nhint",
            "",
        ),
        ([PLAIN, "--settings", PLAIN], "error: --settings is not", ""),
    ],
)
def test_command_exits_with_its_outcome(
    arguments: list[str],
    code: Any,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """0 if all arrived, 1 if not; a bad input is one line."""
    url = f"http://127.0.0.1:{_closed_port()}/"
    monkeypatch.setattr("sys.argv", ["event_grid", url, *arguments])

    with pytest.raises(SystemExit) as caught:
        command.main()

    assert str(caught.value.code).startswith(str(code))
    assert said in capsys.readouterr().out
