"""What a metadata document tells, and what it may look like."""

import json
from datetime import UTC, datetime

import pytest

from worker.ops.metadata import Pause, Told, told_by

PEOPLE = [{"participantId": "8:acs:res_User"}, {"participantId": "4:+4930123456"}]


def test_people_and_pauses_are_told() -> None:
    """As real files have them: raw ids, pauses in milliseconds."""
    document = {
        "participants": PEOPLE,
        "pauseResumeIntervals": [
            {"startTime": "2021-09-30T22:24:37.9450001Z", "duration": 5220},
            {"duration": 10.5},
        ],
    }

    told = told_by(json.dumps(document).encode())

    at = datetime(2021, 9, 30, 22, 24, 37, 945000, UTC)
    assert told.participants == ("8:acs:res_User", "4:+4930123456")
    assert told.pauses == (
        Pause(started_at=at, duration_ms=5220),
        Pause(started_at=None, duration_ms=10.5),
    )


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{",
        b'{"participants": 3, "pauseResumeIntervals": {}}',
        b'{"participants": [3, {}, {"participantId": 3}, {"participantId": ""}]}',
        b'{"pauseResumeIntervals": [4, {"duration": true}, {"startTime": "x"}]}',
        b"[" * 100_000,
    ],
)
def test_what_can_not_be_read_tells_nothing(document: bytes) -> None:
    """Never an error: metadata is archived as it came."""
    assert told_by(document) == Told()


@pytest.mark.parametrize(
    ("text", "is_with"),
    [
        ("8:acs:res_User", True),
        ("8:ACS:RES_user", True),
        ("res_user", True),
        ("+4930123456", True),
        ("4:+4930123456", True),
        ("+49301", False),
        ("acs:res_user", False),
        ("", False),
    ],
)
def test_somebody_is_meant_by_the_whole_id_alone(text: str, *, is_with: bool) -> None:
    """A part of a number must not erase, or hold, the calls of a stranger."""
    told = told_by(json.dumps({"participants": PEOPLE}).encode())

    assert told.is_with(text) is is_with
