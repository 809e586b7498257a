"""`replay --to` and `doctor` in this process, at servers on loopback that answer as told."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from tests import canaries
from tests.e2e import events
from tests.grid import Answering, answer, serving
from tests.isolation import isolated_logs
from tests.unread import nobody_reads
from worker.__main__ import main
from worker.cli import piping

KEY = canaries.OTHER_KEY
DEMO = str(events.sample("demo"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Operator:
    """Someone at a machine where nothing is set but the key."""

    capsys: pytest.CaptureFixture[str]

    async def types(self, *arguments: str) -> Ended:
        """Run a command beside the servers of this test; it tells no secret."""
        code = await asyncio.to_thread(main, arguments)
        captured = self.capsys.readouterr()
        assert canaries.seen(captured.out + captured.err) == []
        return Ended(code=code, out=captured.out, err=captured.err)


@pytest.fixture
def operator(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Operator]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKER_WEBHOOK_KEYS", KEY)
    with isolated_logs():
        yield Operator(capsys)
    assert list(tmp_path.iterdir()) == []


def bare(url: str) -> str:
    return url.partition("?")[0]


async def test_replay_says_what_was_answered_to_each(operator: Operator) -> None:
    """The key of the settings goes along; 0 if all of it was taken."""
    async with serving(answer(status=200)) as server:
        ended = await operator.types("replay", DEMO, "--to", bare(server.url))

    assert ended.code == 0
    assert ended.out.count("200  0") == 5
    assert "delivered  5" in ended.out
    assert {seen.headers["x-functions-key"] for seen, _ in server.seen} == {KEY}
    (line,) = map(json.loads, ended.err.splitlines())
    assert (line["event"], line["delivered"], line["not_sent"]) == (
        "replay.posted",
        5,
        0,
    )


async def test_replay_that_is_refused_needs_attention(operator: Operator) -> None:
    """3, with what Event Grid would do."""
    async with serving(answer(status=401)) as server:
        ended = await operator.types("replay", DEMO, "--to", server.url)

    assert ended.code == 3
    assert "Event Grid would never send the events again" in ended.out
    assert "refused   5" in ended.out


async def test_reader_that_left_hides_no_refusal(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line finds nobody: the rest is not sent, and the log says what was."""

    def type_it(url: str) -> None:
        with piping.readers_may_leave():
            main(["replay", DEMO, "--to", url])

    async with serving(answer(status=401)) as server:
        with nobody_reads(buffering=1) as nobody:
            monkeypatch.setattr(sys, "stdout", nobody)
            with pytest.raises(SystemExit) as ended:
                await asyncio.to_thread(type_it, server.url)

    assert ended.value.code == 3
    (line,) = map(json.loads, operator.capsys.readouterr().err.splitlines())
    assert (line["event"], line["refused"], line["not_sent"]) == ("replay.posted", 1, 4)


async def test_replay_tells_a_machine(operator: Operator) -> None:
    """A document for each request, rehearsed or sent, and no table."""
    async with serving(answer(status=401)) as server:
        dry = await operator.types(
            "replay", DEMO, "--to", server.url, "--dry-run", "--json"
        )
        wet = await operator.types("replay", DEMO, "--to", server.url, "--json")

    assert (dry.code, wet.code) == (0, 3)
    planned = [json.loads(line) for line in dry.out.splitlines()]
    sent = [json.loads(line) for line in wet.out.splitlines()]
    assert {row["outcome"] for row in planned} == {"would-post"}
    assert {(row["outcome"], row["status"]) for row in sent} == {("refused", 401)}
    assert [row["file"] for row in planned] == [row["file"] for row in sent]
    assert [row["events"] for row in sent] == [1, 1, 1, 4, 1]


async def test_files_are_read_one_at_a_time(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of an outage may hold more than fits into memory."""
    read: list[str] = []
    read_bytes = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path.name)
        return read_bytes(path)

    async with serving(answer(status=200)) as server:
        seen_before: list[int] = []

        def counted(path: Path) -> bytes:
            seen_before.append(len(server.seen))
            return noted(path)

        monkeypatch.setattr(Path, "read_bytes", counted)
        await operator.types("replay", DEMO, "--to", server.url)

    assert len(read) == len(events.DEMO)
    assert seen_before[-1] >= 4


async def test_replay_is_rehearsed(operator: Operator) -> None:
    """Nothing is sent."""
    async with serving(answer(status=200)) as server:
        ended = await operator.types("replay", DEMO, "--to", server.url, "--dry-run")

    assert (ended.code, server.seen) == (0, [])
    assert "would post  04-mp3.event-grid.json  1 event in Event Grid" in ended.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("replay", DEMO, "--to", "http://127.0.0.1:1/"), 1),
        (("replay", DEMO, "--to", "http://127.0.0.1:1/", "--simulate"), 2),
        (("replay", DEMO, "--dry-run"), 2),
        (("doctor", "--endpoint", "http://127.0.0.1:1/"), 1),
        (("doctor", "--endpoint", "http://a.example/"), 1),
    ],
)
async def test_what_can_not_be_done_is_said(
    operator: Operator, arguments: tuple[str, ...], code: int
) -> None:
    """By its code, and one hint."""
    ended = await operator.types(*arguments)

    assert ended.code == code
    assert (ended.out + ended.err).count("hint: ") == 1


def a_receiver() -> Answering:
    """Takes everything, and answers one schema's handshake only."""

    async def receive(request: web.BaseRequest, body: bytes) -> web.Response:
        if request.method == "OPTIONS":
            return web.Response(status=405)
        is_grid = request.headers.get("aeg-event-type")
        if is_grid == "SubscriptionValidation":
            (event,) = json.loads(body)
            code = event["data"]["validationCode"]
            return web.json_response({"validationResponse": code})
        if request.headers.get("x-functions-key") == KEY:
            return web.Response()
        return web.Response(status=503 if is_grid else 401)

    return receive


async def test_doctor_tells_people_and_machines(operator: Operator) -> None:
    """A line for each check, its hint below; or one document. 3 if it needs attention."""
    async with serving(a_receiver()) as server:
        url = bare(server.url)
        people = await operator.types("doctor", "--endpoint", url)
        machine = await operator.types(
            *("doctor", "--endpoint", url, "--json", "--schema", "eventgrid"),
            *("--topic", "/subscriptions/1"),
        )

    assert (people.code, machine.code) == (3, 0)
    lines = people.out.splitlines()
    assert lines[0] == url
    failed = next(n for n, line in enumerate(lines) if line.startswith("not ok"))
    assert "handshake, CloudEvents" in lines[failed]
    assert lines[failed + 1].startswith("         hint: let OPTIONS through")
    told = json.loads(machine.out)
    assert (told["of"], told["is_reachable"], told["needs_attention"]) == (
        url,
        True,
        False,
    )
    assert {"check", "grade", "seen", "means", "hint"} == told["findings"][0].keys()
    topics = {
        json.loads(body)[0]["topic"]
        for seen, body in server.seen
        if seen.headers.get("aeg-event-type") == "SubscriptionValidation"
    }
    assert "/subscriptions/1" in topics
