"""What is turned away is counted always, and said within bounds."""

import pytest
from structlog.testing import capture_logs

from handlers.few_lines import LINES_A_SECOND
from handlers.refusals import Refusals, delivery_count
from handlers.statuses import Refusal
from tests.fakes.clock import ManualClock

FLOOD = 50


def test_flood_costs_a_few_lines_a_second() -> None:
    """All are counted; the next second's first line says how many had none."""
    clock = ManualClock()
    refusals = Refusals(clock)

    with capture_logs() as logs:
        for _ in range(FLOOD):
            refusals.turn_away(Refusal.STRANGER, {})
        clock.advance(1)
        refusals.turn_away(Refusal.STRANGER, {})
        refusals.turn_away(Refusal.STRANGER, {})

    assert refusals.counts == {"unauthorized": FLOOD + 2}
    assert len(logs) == LINES_A_SECOND + 2
    said = [line.get("unsaid") for line in logs[-3:]]
    assert said == [None, FLOOD - LINES_A_SECOND, None]


def test_flood_of_one_kind_leaves_the_others_their_lines() -> None:
    """Strangers can't drown what a human must look at."""
    refusals = Refusals(ManualClock())

    with capture_logs() as logs:
        for _ in range(FLOOD):
            refusals.turn_away(Refusal.STRANGER, {})
        refusals.turn_away(Refusal.BAD_CREDENTIAL, {"aeg-delivery-count": "3"})

    assert logs[-1] == {
        "event": "delivery.refused",
        "log_level": "error",
        "reason": "bad-credential",
        "delivery_count": 3,
    }


@pytest.mark.parametrize(
    "refusal", [Refusal.NO_SUCH_PATH, Refusal.NO_SUCH_METHOD, Refusal.UNPARSABLE]
)
def test_noise_of_the_internet_is_only_counted(refusal: Refusal) -> None:
    """Scanners ask for what is not there all day long."""
    refusals = Refusals(ManualClock())

    with capture_logs() as logs:
        refusals.turn_away(refusal, {})

    assert logs == []
    assert refusals.counts == {refusal.value: 1}


@pytest.mark.parametrize(
    ("said", "count"), [("0", 0), ("30", 30), ("-1", None), ("1" * 7, None), ("", None)]
)
def test_delivery_count_is_a_small_number_or_unknown(
    said: str, count: int | None
) -> None:
    """Whatever a header says, it is a number of attempts or nothing."""
    assert delivery_count({"aeg-delivery-count": said}) == count
    assert delivery_count({}) is None
