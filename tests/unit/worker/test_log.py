"""Logs: one pipeline, in JSON off a terminal, without secrets."""

import ast
import errno
import io
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import worker.log
from tests.isolation import isolated_logs
from worker.log import REDACTED, Redaction, configure_logging

ROOT = Path(worker.log.__file__).parents[1]
EVENT = re.compile(r"'[a-z_]+\.[a-z_]+'")


class Broken(io.StringIO):
    """A disk that is full, or a pipe that nobody reads."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.is_broken = True

    def write(self, text: str) -> int:
        if self.is_broken:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _isolation() -> Iterator[None]:
    with isolated_logs():
        yield


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_is_json_off_a_terminal() -> None:
    """A log collector gets one document per line: time, level, event, fields."""
    stream = io.StringIO()
    configure_logging(stream=stream)

    structlog.get_logger("x").info("chunk.finished", size_bytes=5, path=Path("a"))

    (line,) = lines(stream)
    assert list(line)[:3] == ["ts", "level", "event"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["ts"])
    assert (line["level"], line["event"]) == ("info", "chunk.finished")
    assert (line["size_bytes"], line["path"]) == (5, "a")


def test_context_is_on_every_line() -> None:
    """What is bound for an attempt need not be repeated."""
    stream = io.StringIO()
    configure_logging(stream=stream)

    with structlog.contextvars.bound_contextvars(chunk="c1"):
        structlog.get_logger("x").info("lease.lost")

    assert lines(stream)[0]["chunk"] == "c1"


def test_line_is_for_people_on_a_terminal() -> None:
    """Whoever watches gets text; who asks for json gets json."""
    people, machine = Terminal(), Terminal()
    configure_logging(stream=people)
    structlog.get_logger("x").info("lease.lost", chunk="c1")
    configure_logging(stream=machine, line_format="json")
    structlog.get_logger("x").info("lease.lost", chunk="c1")

    assert "lease.lost" in people.getvalue()
    assert not people.getvalue().startswith("{")
    assert lines(machine)[0]["chunk"] == "c1"


def test_console_format_can_be_asked_for() -> None:
    """`console` is text even in a file, without colours."""
    stream = io.StringIO()
    configure_logging(stream=stream, line_format="console")

    structlog.get_logger("x").info("lease.lost")

    assert "lease.lost" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_level_filters_ours_and_theirs() -> None:
    """Below the level nothing is written, by whomever."""
    stream = io.StringIO()
    configure_logging(stream=stream, level="warning")

    structlog.get_logger("x").info("lease.lost")
    logging.getLogger("asyncio").info("no")
    structlog.get_logger("x").warning("lease.lost")
    logging.getLogger("asyncio").warning("yes")

    assert [line["event"] for line in lines(stream)] == ["lease.lost", "yes"]


def test_libraries_go_through_the_same_pipeline() -> None:
    """Their lines look like ours, name their logger, and are redacted."""
    stream = io.StringIO()
    configure_logging(stream=stream, secrets=["hunter2"])

    logging.getLogger("asyncio").error("slow %s sig=abc", "hunter2")

    (line,) = lines(stream)
    assert line["logger"] == "asyncio"
    assert line["level"] == "error"
    assert line["event"] == f"slow {REDACTED} sig={REDACTED}"


def test_warnings_of_python_are_logged() -> None:
    """A library's deprecation is a line, not stray text."""
    stream = io.StringIO()
    configure_logging(stream=stream)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", stacklevel=1)
        logging.captureWarnings(capture=False)

    assert "old" in lines(stream)[0]["event"]


def test_chatty_libraries_are_quiet() -> None:
    """azure logs every request at info, and access logs hold query strings; whoever asks
    for a token says why there is none.
    """
    stream = io.StringIO()
    configure_logging(stream=stream, level="debug")

    logging.getLogger("azure.core").info("request")
    logging.getLogger("aiohttp.access").warning("GET /?code=1")
    logging.getLogger("azure.core").warning("retry")
    logging.getLogger("azure.identity.aio").warning("no token, in twenty lines")

    assert [line["event"] for line in lines(stream)] == ["retry"]


@pytest.mark.parametrize("line_format", ["json", "console"])
def test_traceback_shows_no_locals_and_no_secret(line_format: str) -> None:
    """Locals hold keys and signed URLs; the text of an exception is redacted."""
    stream = Terminal()
    configure_logging(stream=stream, line_format=line_format, secrets=["hunter2"])
    local = "a-local-value"

    try:
        raise ValueError(f"GET https://h/p?sig=abc hunter2 {len(local)}")  # noqa: TRY301 - to have a traceback
    except ValueError:
        structlog.get_logger("x").error("bug", exc_info=True)

    written = stream.getvalue()
    assert "ValueError" in written
    assert "test_log.py" in written
    assert "a-local-value" not in written
    assert "sig=abc" not in written
    assert "hunter2" not in written


@pytest.mark.parametrize(
    "text",
    [
        "GET https://a.b/c?x=SECRET&y=1 failed",
        "https://user:SECRET@a.b/c",
        "/api/events?code=SECRET",
        "endpoint=https://a.b/;accesskey=SECRET==",
        "DefaultEndpointsProtocol=https;AccountKey=SECRET==;",
        "SharedAccessSignature=SECRET",
        "sig=SECRET",
        "Signature=SECRET",
        "Authorization: Bearer SECRET",
        "Authorization: Basic SECRET",
        "Authorization: HMAC-SHA256 SignedHeaders=date;host&Signature=SECRET=",
        "{'Authorization': 'Bearer SECRET.SECRET'}",
        '{"authorization": "SECRET SECRET"}',
        "{'x-functions-key': 'SECRET'}",
        "x-functions-key: SECRET",
        "bearer SECRET",
        "HMAC-SHA256 SECRET",
        "client_secret=SECRET",
        "password: SECRET",
        "no token: eyJhbGciOiJub25lIn0.SECRET.SECRET",
        "no token: eyJ0eXAiOiJSECRET",
        "of 8:acs:5f2d8e0a-6c1b_SECRET left",
        "['8:orgid:SECRET', 1]",
        "of 8:gcch-acs:5f2d8e0a-6c1b_SECRET left",
        "bot 28:orgid:SECRET left",
    ],
)
@pytest.mark.parametrize("in_json", [False, True])
def test_credentials_are_redacted_in_any_notation(text: str, in_json: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """URLs, headers, connection strings, as text and inside JSON."""
    line = json.dumps({"error": text}) if in_json else text

    redacted = Redaction().redacted(line)

    assert "SECRET" not in redacted
    assert REDACTED in redacted


@pytest.mark.parametrize(
    "text",
    [
        "status_code=404 after 3 tries",
        "what? no",
        "recordings/2026/03/01/call/rec/0000-doc.mp4",
        '{"code": 404, "secret": null, "signature": true}',
        "mail@example.com",
        "https://a.b/c",
        "designed signal",
        "recording eyJQbGF0Zm9ybUVuZHBvaW50SWQiOiIxZDdlNGM1Mi05YjNhLTRlODg",
        "2026-03-01T18:28:04.123+00:00 and 1+1",
    ],
)
def test_harmless_text_is_left_alone(text: str) -> None:
    """Redaction that blanks out facts would blind the operator."""
    assert Redaction().redacted(text) == text


def test_configured_secrets_are_redacted_in_every_form() -> None:
    """As they are, escaped in JSON, and quoted in a URL; the longest first."""
    secret = 'a+b/c"d='
    redact = Redaction([secret, "a+b/", "abc"]).redacted

    assert redact(f"x {secret} y") == f"x {REDACTED} y"
    assert redact(json.dumps(secret)) == f'"{REDACTED}"'
    assert redact("a%2Bb%2Fc%22d%3D") == REDACTED
    assert redact("abc") == "abc"


@given(
    st.dictionaries(
        st.text(),
        st.text() | st.integers() | st.none() | st.booleans() | st.floats(0, 1),
    )
)
def test_redacted_line_is_still_json(fields: dict[str, Any]) -> None:
    """Whatever is redacted, a collector can parse the line."""
    named = {**fields, "code": fields, "sig": list(fields.values()), "Signature": 5}
    line = json.dumps({"event": "x?a=b ", "authorization": fields, **named})

    json.loads(Redaction(["secret"]).redacted(line))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
def test_log_that_can_not_be_written_costs_only_the_line(number: int) -> None:
    """A full disk or a closed pipe ends no worker and fails no delivery."""
    broken = Broken(number)
    configure_logging(stream=broken)

    structlog.get_logger("x").info("lease.lost", chunk="c1")
    broken.is_broken = False
    structlog.get_logger("x").info("lease.lost", chunk="c2")

    assert [line["chunk"] for line in lines(broken)] == ["c2"]


def test_log_whose_stream_is_closed_costs_only_the_line() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    stream.close()

    structlog.get_logger("x").info("lease.lost", chunk="c1")


def test_every_event_in_the_code_is_in_the_table() -> None:
    """Event names and fields are an interface: worker/log.py's docstring lists them all."""
    table = ast.get_docstring(ast.parse((ROOT / "worker/log.py").read_text())) or ""
    rows = re.findall(r"^([a-z_]+\.[a-z_]+) \| [a-z, ]+ \|(.*)$", table, re.MULTILINE)
    listed: dict[str, set[str]] = {}
    for event, fields in rows:
        listed.setdefault(event, set()).update(fields.replace(",", " ").split())

    used: dict[str, set[str]] = {}
    for event, spelled_out in logged_events():
        used.setdefault(event, set()).update(spelled_out)

    assert set(used) == set(listed)
    unlisted = {event: used[event] - listed[event] for event in used}
    assert {event: fields for event, fields in unlisted.items() if fields} == {}


def logged_events() -> Iterator[tuple[str, set[str]]]:
    """Every event that is logged, with the fields that the call spells out.

    A log method may go by another name: `write = log.error if … else log.warning`.
    """
    for folder in ("worker", "handlers"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and is_logging(node.func):
                    for argument in node.args:
                        if EVENT.fullmatch(ast.unparse(argument)):
                            yield ast.literal_eval(argument), fields_of(node)


def is_logging(called: ast.expr) -> bool:
    if isinstance(called, ast.Attribute):
        return isinstance(called.value, ast.Name) and called.value.id == "log"
    return isinstance(called, ast.Name) and called.id == "write"


def fields_of(call: ast.Call) -> set[str]:
    return {each.arg for each in call.keywords if each.arg} - {"exc_info"}


def test_asyncio_shows_no_exception_within_a_line() -> None:
    """The repr of a failed task holds the text of what it raised."""
    stream = io.StringIO()
    configure_logging(stream=stream, level="debug")

    asyncio_log = logging.getLogger("asyncio")
    asyncio_log.error("Task exception was never retrieved\nfuture: <Task 'hunter2'>")
    asyncio_log.debug(
        "<Task finished name='a' exception=ValueError('hunter2')> was slow"
    )

    first, second = lines(stream)
    assert first["event"] == "Task exception was never retrieved"
    assert second["event"] == "<Task finished name='a' exception=..."


def test_warning_shows_no_value() -> None:
    """Where and of which kind, and its words up to what it quotes."""
    stream = io.StringIO()
    configure_logging(stream=stream)

    logging.getLogger("py.warnings").warning(
        "/a/long/path/of/a/library/that/warns/module.py:5: UserWarning: odd 'hunter2'\n  x"
    )

    (line,) = lines(stream)
    assert line["event"].endswith("library/that/warns/module.py:5: UserWarning: odd …")


def test_console_obeys_no_code_of_an_event() -> None:
    """A terminal would: to hide a line, or to write another."""
    stream = Terminal()
    configure_logging(stream=stream, line_format="console")

    structlog.get_logger("x").info("lease.lost", topic="\x1b[2Ja\x9bb", chunks=1)

    written = stream.getvalue()
    assert "\x1b[2J" not in written
    assert "\x9b" not in written
    assert "[2Ja" in written


def test_redaction_in_use_knows_the_secrets() -> None:
    """Whoever prints past the logs asks for it; before they are set up it knows shapes."""
    assert worker.log.redaction().redacted("hunter2 sig=a") == f"hunter2 sig={REDACTED}"

    configure_logging(stream=io.StringIO(), secrets=["hunter2"])

    assert worker.log.redaction().redacted("hunter2") == REDACTED
