"""Trouble of those who are sent metrics and traces: one line when it begins, one when it ends.

Their clients write a line, often a traceback, at every try; a collector that is down for a
night must not fill the log, and what they write quotes URLs.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from worker.ports import Clock

T = TypeVar("T")
LIBRARIES = ("opentelemetry", "azure.monitor")
"""Whose own lines are heard here, and written nowhere."""
UNSAID = "unsaid"
"""For an error of which its client wrote neither a status nor a kind."""
_HEARD: ContextVar[str] = ContextVar("heard", default="")
"""What the libraries complained of since this thread began to send: each signal, and each who
is sent it, has a thread of its own, or its turn.
"""
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class _Ear(logging.Handler):
    """Remembers what the libraries last complained of: a status, or the kind of an error."""

    def emit(self, record: logging.LogRecord) -> None:
        if what := _what(record):
            _HEARD.set(what)


def _what(record: logging.LogRecord) -> str:
    arguments = record.args if isinstance(record.args, tuple) else ()
    for each in arguments:
        if isinstance(each, BaseException):
            return type(each).__name__
        if type(each) is int:
            return f"status {each}"
    return record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""


@contextmanager
def heard() -> Iterator[None]:
    """Have the libraries' lines go to an ear alone while the body runs."""
    ear = _Ear(logging.WARNING)
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.propagate = False
        logger.addHandler(ear)
    try:
        yield
    finally:
        for logger, propagated in zip(loggers, before, strict=True):
            logger.removeHandler(ear)
            logger.propagate = propagated


@dataclass(slots=True, kw_only=True)
class Outage:
    """Whether one receiver of one signal takes what it is sent."""

    signal: str
    """`metrics` or `traces`."""
    to: str
    """`otlp` or `azure-monitor`."""
    clock: Clock
    _since_s: float | None = field(default=None, init=False)

    def sent(self, send: Callable[[], T], *, taken: T, failed: T) -> T:
        """What sending came to; what it raises is a failure as well: telemetry harms nobody.

        Called from a thread of the SDK. Says what changed, if anything did.
        """
        _HEARD.set("")
        try:
            result = send()
        except Exception as error:  # noqa: BLE001 - a firewall
            _HEARD.set(type(error).__name__)
            result = failed
        self._tried(is_taken=result is taken)
        return result

    def _tried(self, *, is_taken: bool) -> None:
        if not is_taken and self._since_s is None:
            self._since_s = self.clock.monotonic()
            log.warning(
                "telemetry.unavailable",
                signal=self.signal,
                to=self.to,
                error=_HEARD.get() or UNSAID,
            )
        elif is_taken and self._since_s is not None:
            after_s = round(self.clock.monotonic() - self._since_s, 1)
            self._since_s = None
            log.info(
                "telemetry.resumed", signal=self.signal, to=self.to, after_s=after_s
            )
