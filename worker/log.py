"""Logs: structured, on stderr, without secrets.

One pipeline for ours and for the libraries' (azure, aiohttp, asyncio). What is logged is
chosen so that there is nothing to hide; tracebacks show neither local variables nor what an
exception quotes (worker/tracebacks.py). Redaction comes last, on the rendered line, for what
slipped through.

Event names are an interface: additions only.

event | level | fields
--- | --- | ---
config.loaded | info | use, archive, queue, source_hosts, delete_source
config.warning | warning | problem
worker.listening | info | listen
worker.started | info | listen
admin.listening | info | listen
admin.unavailable | warning | listen, error, hint
telemetry.unavailable | warning | signal, to, error
telemetry.resumed | info | signal, to, after_s
worker.draining | info | chunks
worker.stopped | info |
delivery.accepted | info | origin, outcome, events, chunks, duplicates, ignored, quarantined
delivery.accepted | what was left alone | exported
delivery.accepted | how late it is | delivery_count, oldest_event_s
delivery.accepted, delivery.rejected | of what was deferred | deferred_s
delivery.deferred | info | origin, delivery_count
delivery.accepted, delivery.rejected | where it is traced | trace_id
delivery.rejected | warning | origin, reason, error, delivery_count
delivery.rejected | after a flood | unsaid
delivery.refused | error | reason, delivery_count, unsaid
connections.closed | warning | reason, closed, open
connections.unswept | error | exception
callback.received | info, warning, error | type, state, recording_id, call_connection_id
callback.received | what the service said | correlation_id, code, sub_code
token.refused | warning | check, found, unsaid
authority.unavailable | error, warning | error, exception
authority.resumed | info | after_s
event.quarantined | error, warning | name, reason, event_id, events
inbox.unavailable | error | error, hint
inbox.resumed | info | after_s
inbox.poisoned | error | reason, deliveries
inbox.crashed | error | deliveries, exception
deferred.late | error | deliveries, since
deferred.unavailable | warning | error, hint
deferred.crashed | error | deliveries, exception
subscription.validated | info | topic
subscription.refused | warning | reason, topic
subscription.deleted | warning | topic
chunk.finished | info, warning, error | outcome, reason, attempt, retries, bytes, blob, flags
chunk.finished | its times | total_s and other steps, queued_s, until_expiry_s
chunk.finished | where it is traced, as all lines of an attempt | trace_id
chunk.postponed | warning | rows, reason
chunk.dead_lettered | error | rows, reason
chunks.at_risk | error | chunks, oldest_deadline
attempt.crashed | error | exception
process.crashed | error | exception
delete.withheld | error | reason, error, blob
hold.missing | error | recording, objects
recording.held | warning | recording, by, objects, unlike
recording.erased | warning | recording, by, reason, chunks, objects, bytes
recording.released | warning | recording, by, objects, unlike
manifest.failed | error | reason, error, exception
notice.failed | error | reason, error, exception
notice.refused | error | name, error
notify.sent | info | notices
notify.unavailable | error | reason, error
notify.resumed | info | after_s
notify.crashed | error | exception
retry.scheduled | warning | policy, attempt, wait_s, reason, error
lease.lost | warning | chunk
lease.reclaimed | warning | rows
queue.unavailable | error | error
queue.resumed | info | after_s
queue.rescued | warning | chunks, deliveries
queue.redriven | warning | by, chunks, left
queue.released | warning | by, chunks, left
status.checked | info | outcome, pending, dead, at_risk, paused
recordings.verified | warning, info | by, scope, report, chunks, problems
queue.pruned | warning | by, chunks, deliveries, before
queue.rebuilt | warning | worker, chunks, deliveries, unreadable
delivery.missing | error | name
replay.posted | warning | to, by, delivered, refused, not_sent
acs.asked | warning | what, subject, state, resource, by
letters.replayed | warning | container, to, by, replayed, known, left
message.poisoned | error | queue, error
archive.swept | info | files
archive.created | info | container
archive.unavailable | warning | error
archive.tags_refused | warning | error
consumer.paused | error | scope, reason
consumer.paused | by an operator | scope, reason, by, since
consumer.pause_unknown | debug | error
consumer.resumed | info | scope, after_s
work.paused | warning | by, reason
work.resumed | warning | by, reason
"""

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO
from urllib.parse import quote

import structlog
from structlog.processors import ExceptionRenderer
from structlog.typing import EventDict, Processor, WrappedLogger

from worker import tracebacks

REDACTED = "[redacted]"
_SHORTEST_SECRET = 4
"""A shorter one would blank out half of every line."""
_VALUE = r"[^\s\"'&;,\\<>)}\]]+"
_REST = r"[^\s\"'\\<>]*"
_IS = r"\\*+[\"']?+\s*+[=:]\s*+\\*+[\"']?+(?!(?<=\": )[^\"])"
"""What stands between a name and its value. Not a bare JSON value (`"code": 404`), which
redaction would break and which is no secret."""
_NAMES = (
    r"access_?key|account_?key|shared_?access_?(?:key|signature)|signature|secret"
    r"|x-functions-key|password|\bsig|\bcode"
)
_PATTERNS = (
    # URLs: the query, and a user before the host.
    (re.compile(rf"(?i)(\b\w+://[^\s\"'\\?]*)\?{_REST}"), rf"\1?{REDACTED}"),
    (re.compile(r"(?i)(\b\w+://)[^\s\"'\\/?@]+@"), rf"\1{REDACTED}@"),
    (re.compile(rf"\?[\w.~%+-]+={_REST}"), f"?{REDACTED}"),
    # Credentials in headers, and what is called a secret in any notation.
    (re.compile(rf"(?i)(authorization{_IS})[^\"'\\,}}]*"), rf"\1{REDACTED}"),
    (re.compile(rf"(?i)\b(bearer|hmac-sha256)\s+{_REST}"), rf"\1 {REDACTED}"),
    (re.compile(rf"(?i)({_NAMES})({_IS}){_VALUE}"), rf"\1\2{REDACTED}"),
    # A token of Entra, wherever it stands; cut off, it is told by how its header begins,
    # for a recordingId is base64 of JSON as well.
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), REDACTED),
    (re.compile(r"\beyJ(?:hbGci|0eXAi|raWQi|4NXQi|ub25j)[\w.-]*"), REDACTED),
    # Who took part: an identity of ACS or Teams, a phone number.
    # https://learn.microsoft.com/azure/communication-services/concepts/identifiers
    (re.compile(r"(?<![\w.:-])(?:8:[a-z-]+|28):[\w:-]{4,}"), REDACTED),
    (re.compile(r"(?<![\w.+/=-])\+[1-9]\d{6,14}(?!\w)"), REDACTED),
)
_MARKERS = (
    *("accesskey", "access_key", "accountkey", "account_key", "shared", "secret"),
    *("functions-key", "password", "sig", "code", "authorization", "bearer", "hmac"),
    *("?", "@", "eyj", "28:", "+"),
    *("8:acs:", "8:orgid:", "-acs:", "8:dod:", "8:gcch:", "8:live:", "visitor:"),
)
"""In lower case, one of these is in every line that a pattern can change; looking for them
costs a tenth of the patterns."""


class Redaction:
    """The last processor: takes secrets out of a rendered line."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        kept = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        # As it is, within JSON, and within a URL.
        forms = {f for s in kept for f in (s, json.dumps(s)[1:-1], quote(s, safe=""))}
        self._secrets = sorted(forms, key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, line: Any) -> str:
        return self.redacted(str(line))

    def redacted(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REDACTED)
        lowered = text.lower()
        if any(marker in lowered for marker in _MARKERS):
            for pattern, replacement in _PATTERNS:
                text = pattern.sub(replacement, text)
        return text


class StderrLogger:
    """Writes whole lines, so that lines of several threads don't mix."""

    def __init__(self, stream: TextIO) -> None:
        self._write = stream.write

    def msg(self, line: str) -> None:
        # A full disk, a closed pipe or a closed stream (ValueError) costs the line, as with
        # the standard library's handlers: it must not end the worker, nor turn a durable
        # delivery into an error.
        with contextlib.suppress(OSError, ValueError):
            self._write(line + "\n")

    debug = info = warning = error = critical = msg


def configure_logging(
    *,
    level: str = "info",
    line_format: str = "auto",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Set up the one pipeline. `line_format`: json, console, or auto (json off a TTY)."""
    stream = stream or sys.stderr
    is_terminal = stream.isatty()
    is_json = line_format == "json" or (line_format == "auto" and not is_terminal)
    number = logging.getLevelNamesMapping()[level.upper()]
    rendering = _rendering(is_json=is_json, colors=is_terminal)
    rendering.append(Redaction(secrets))
    structlog.configure(
        processors=[*_shared(), *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: StderrLogger(stream),
    )
    _configure_libraries(stream, level=number, rendering=rendering)


def redaction() -> Redaction:
    """The one that `configure_logging` has set up, which knows the secrets; or a plain one."""
    processors = structlog.get_config()["processors"]
    known = (each for each in processors if isinstance(each, Redaction))
    return next(known, Redaction())


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
    ]


def _rendering(*, is_json: bool, colors: bool) -> list[Processor]:
    if is_json:
        return [ExceptionRenderer(tracebacks.as_documents), _to_json]
    console = structlog.dev.ConsoleRenderer(
        colors=colors,
        exception_formatter=tracebacks.write_text,
        timestamp_key="ts",
    )
    return [_without_escapes, console]


def _without_escapes(
    _logger: WrappedLogger, _method: str, event: EventDict
) -> EventDict:
    """What comes from an event may hold codes that a terminal obeys."""
    return {
        name: _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value)
        if isinstance(value, str)
        else value
        for name, value in event.items()
    }


_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ENCODE = json.JSONEncoder(default=str).encode


def _to_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    first = {name: event.pop(name, None) for name in ("ts", "level", "event")}
    return _ENCODE({**first, **event})


_EXCEPTION = re.compile(r"\bexception=.*")


def _without_reprs(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Of a failed task asyncio shows what it raised, and a warning what it is about."""
    line = str(event["event"]).partition("\n")[0]
    if event.get("logger") == "asyncio":
        event["event"] = _EXCEPTION.sub("exception=...", line)
    elif event.get("logger") == "py.warnings":
        where, kind, words = line.partition("Warning: ")
        event["event"] = where + kind + tracebacks.without_values(words)
    return event


def _configure_libraries(
    stream: TextIO, *, level: int, rendering: list[Processor]
) -> None:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[strip, *rendering],
            foreign_pre_chain=[
                *_shared(),
                structlog.stdlib.add_logger_name,
                _without_reprs,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    logging.getLogger("azure").setLevel(max(level, logging.WARNING))
    # What it warns of is raised too, and told by whoever catches it.
    logging.getLogger("azure.identity").setLevel(max(level, logging.ERROR))
    # It warns of its own clock at every room that is made.
    logging.getLogger("azure.communication").setLevel(max(level, logging.ERROR))
    logging.getLogger("aiohttp.access").disabled = True
