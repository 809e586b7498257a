"""The one table of statuses, held against what Event Grid does with each."""

import itertools

import pytest

from handlers import statuses
from handlers.receiver import ReceivedKind
from handlers.statuses import Consent, Outcome, Refusal

FINAL = {400, 401, 403, 404, 413}
"""Never sent again."""
ALL: list[Outcome] = [*ReceivedKind, *Refusal, *Consent]
THROWN_AWAY: dict[Outcome, int] = {
    ReceivedKind.MALFORMED: 400,
    Refusal.STRANGER: 401,
    Refusal.NO_SUCH_PATH: 404,
    Refusal.BAD_CALLBACK: 400,
    Consent.NO_ORIGIN: 400,
    Consent.FOREIGN_ORIGIN: 403,
}


@pytest.mark.receiver_row(9)
def test_only_these_outcomes_are_final() -> None:
    """What is in quarantine, strangers, and handshakes, on which no delivery hangs."""
    final = {outcome: statuses.status_of(outcome) for outcome in ALL}

    assert {o: s for o, s in final.items() if s in FINAL} == THROWN_AWAY


@pytest.mark.receiver_row(9)
def test_no_outcome_has_a_status_beyond_the_table() -> None:
    """No redirect, no 500, no 413: success, final, not for this method, or again."""
    assert {statuses.status_of(outcome) for outcome in ALL} == {
        *(200, 400, 401, 403, 404, 405, 503)
    }


def test_answers_say_what_goes_with_their_status() -> None:
    """When to come again, which methods there are; always how long the body is."""
    answers = [statuses.answer(outcome, code="c") for outcome in ALL]

    for answer in answers:
        assert ("Retry-After" in answer.headers) == (answer.status == 503)
        assert ("Allow" in answer.headers) == (answer.status == 405)
        assert not answer.chunked


def test_reasons_are_told_apart() -> None:
    """They name counters and lines of the log."""
    reasons = [refusal.value for refusal in Refusal]

    assert all(one != other for one, other in itertools.combinations(reasons, 2))
