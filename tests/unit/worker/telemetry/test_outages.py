"""Trouble of a receiver of telemetry: two lines, and nothing that its client writes."""

import logging
import sys

import pytest
from structlog.testing import capture_logs

from tests.fakes.clock import ManualClock
from worker.telemetry.outages import LIBRARIES, Ear, Outage, heard

URL = "https://collector.example/?sig=secret"


def an_outage(ear: Ear, clock: ManualClock) -> Outage:
    return Outage(signal="metrics", to="otlp", ear=ear, clock=clock)


def test_outage_is_told_when_it_begins_and_when_it_ends() -> None:
    """Not at every try in between, and not while all is well."""
    clock = ManualClock()
    outage = an_outage(Ear(), clock)
    with capture_logs() as lines:
        for is_taken in (True, False, False, True, True, False):
            outage.tried(is_taken=is_taken)
            clock.advance(30)

    events = [(line["event"], line.get("after_s")) for line in lines]
    assert events == [
        ("telemetry.unavailable", None),
        ("telemetry.resumed", 60.0),
        ("telemetry.unavailable", None),
    ]
    assert {line["signal"] for line in lines} == {"metrics"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((401, "reason"), "status 401"),
        ((URL, ConnectionResetError(URL)), "ConnectionResetError"),
        ((URL,), ""),
        (({"url": URL},), ""),
        ((True,), ""),
    ],
)
def test_ear_keeps_a_status_or_the_kind_of_an_error(
    arguments: tuple[object, ...], told: str
) -> None:
    """Their texts quote URLs, which may bear a secret."""
    with heard() as ear:
        for name in LIBRARIES:
            logging.getLogger(f"{name}.any").error("%s" * len(arguments), *arguments)

    assert ear.heard == told


def test_ear_knows_an_error_by_its_traceback() -> None:
    """And what says nothing does not wipe out what was heard."""
    with heard() as ear:
        logging.getLogger(LIBRARIES[0]).error("failed", exc_info=TimeoutError(URL))
        logging.getLogger(LIBRARIES[0]).error("dropped")

    assert ear.heard == "TimeoutError"


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


def test_outage_of_which_nobody_said_anything_says_that() -> None:
    """An empty word would look like a fault of the log."""
    with capture_logs() as lines:
        an_outage(Ear(), ManualClock()).tried(is_taken=False)

    assert [line["error"] for line in lines] == ["unsaid"]
