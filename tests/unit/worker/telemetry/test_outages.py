"""Trouble of a receiver of telemetry: two lines, and nothing that its client writes."""

import logging
import sys
import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from tests.fakes.clock import ManualClock
from worker.telemetry.outages import LIBRARIES, Outage, heard

URL = "https://collector.example/?sig=secret"


def an_outage(clock: ManualClock | None = None, *, signal: str = "metrics") -> Outage:
    return Outage(signal=signal, to="otlp", clock=clock or ManualClock())


def send(outage: Outage, sending: Callable[[], bool]) -> None:
    outage.sent(sending, taken=True, failed=False)


def complaining(*arguments: object, name: str = LIBRARIES[0]) -> bool:
    """A client that fails, and writes why."""
    logging.getLogger(f"{name}.any").error("%s" * len(arguments), *arguments)
    return False


def errors_told(*sendings: Callable[[], bool]) -> list[str]:
    """What each of these has an outage of its own say."""
    with heard(), capture_logs() as lines:
        for sending in sendings:
            send(an_outage(), sending)
    return [line["error"] for line in lines]


def test_outage_is_told_when_it_begins_and_when_it_ends() -> None:
    """Not at every try in between, and not while all is well."""
    clock = ManualClock()
    outage = an_outage(clock)
    with capture_logs() as lines:
        for is_taken in (True, False, False, True, True, False):
            send(outage, lambda is_taken=is_taken: is_taken)  # type: ignore[misc]
            clock.advance(30)

    events = [(line["event"], line.get("after_s")) for line in lines]
    assert events == [
        ("telemetry.unavailable", None),
        ("telemetry.resumed", 60.0),
        ("telemetry.unavailable", None),
    ]
    assert {line["signal"] for line in lines} == {"metrics"}


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((401, "reason"), "status 401"),
        ((URL, ConnectionResetError(URL)), "ConnectionResetError"),
        ((URL,), "unsaid"),
        (({"url": URL},), "unsaid"),
        ((True,), "unsaid"),
    ],
)
def test_outage_is_told_with_a_status_or_the_kind_of_an_error(
    arguments: tuple[object, ...], told: str, name: str
) -> None:
    """Their texts quote URLs, which may bear a secret."""
    assert errors_told(lambda: complaining(*arguments, name=name)) == [told]


def test_error_is_known_by_its_traceback() -> None:
    """And what says nothing does not wipe out what was heard."""

    def fails() -> bool:
        logging.getLogger(LIBRARIES[0]).error("failed", exc_info=TimeoutError(URL))
        return complaining("dropped")

    assert errors_told(fails) == ["TimeoutError"]


def test_old_error_is_not_told_of_a_new_outage() -> None:
    """It may be days old, and long mended."""
    told = errors_told(
        lambda: complaining(401), lambda: not complaining(503), lambda: False
    )

    assert told == ["status 401", "unsaid"]


def test_error_of_one_signal_is_not_told_of_the_other() -> None:
    """Both are sent at once, each by a thread of its own: here the metrics' client has
    complained when the traces' client fails, and the other way round.
    """
    complained = threading.Barrier(2, timeout=20)

    def failing(status: int) -> bool:
        complaining(status)
        complained.wait()
        return False

    def trace() -> None:
        send(an_outage(signal="traces"), lambda: failing(429))

    with heard(), capture_logs() as lines:
        thread = threading.Thread(target=trace)
        thread.start()
        send(an_outage(), lambda: failing(401))
        thread.join()

    told = {line["signal"]: line["error"] for line in lines}
    assert told == {"metrics": "status 401", "traces": "status 429"}


def test_libraries_are_heard_here_alone_and_for_a_while(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Afterwards whoever uses them besides has them as before."""
    shown = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(shown)
    try:
        with heard():
            logging.getLogger(LIBRARIES[0]).error(URL)
        inside = capsys.readouterr().err
        logging.getLogger(LIBRARIES[0]).error("afterwards")
    finally:
        logging.getLogger().removeHandler(shown)

    assert inside == ""
    assert "afterwards" in capsys.readouterr().err


def test_outage_is_told_with_the_kind_of_what_a_client_raises() -> None:
    """It harms nobody, and its text is told nobody."""

    def raising() -> bool:
        raise OSError(URL)

    assert errors_told(raising) == ["OSError"]
