"""Who gives way when all places are taken, and who takes too long."""

import pytest
from structlog.testing import capture_logs

from handlers.connections import Closed, ConnectionTable, Stage

HEAD_SECONDS = 10


class SmallPlace:
    """A connection as the table sees it."""

    def __init__(self, stage: Stage, head_since: float | None = None) -> None:
        self.stage = Stage.WAITING
        self.wanted = stage
        self.head_since = head_since
        self.is_out = False

    def overdue(self, now: float) -> Closed | None:
        since = self.head_since
        is_slow = since is not None and now - since > HEAD_SECONDS
        return Closed.SLOW_HEAD if is_slow else None

    def turn_out(self) -> None:
        self.is_out = True


def seated(table: ConnectionTable, *stages: Stage) -> list[SmallPlace]:
    """Connections in these stages, in the order in which they came into them."""
    places = [SmallPlace(stage) for stage in stages]
    for place in places:
        table.add(place)
        table.move(place, place.wanted)
    return places


def outs(places: list[SmallPlace]) -> list[bool]:
    return [place.is_out for place in places]


def test_connection_gives_way_by_worth_and_then_by_age() -> None:
    """Strangers before ours, what waits before what sends, the oldest of each first."""
    table = ConnectionTable(6)
    places = seated(
        table,
        *(Stage.SENDING, Stage.UNKNOWN, Stage.IDLE),
        *(Stage.WAITING, Stage.WAITING, Stage.ANSWERED),
    )

    order = []
    for _ in range(6):
        before = outs(places)
        [newcomer] = seated(table, Stage.AT_WORK)
        order += [i for i, out in enumerate(outs(places)) if out and not before[i]]
        assert not newcomer.is_out

    assert order == [5, 3, 4, 2, 1, 0]
    assert table.closed == {"crowded-out": 6}


def test_connection_at_work_never_gives_way() -> None:
    """With nobody else to close, there is simply one more: work is bounded elsewhere."""
    table = ConnectionTable(2)
    places = seated(table, Stage.AT_WORK, Stage.AT_WORK)

    newcomer = SmallPlace(Stage.WAITING)
    table.add(newcomer)

    assert outs(places) == [False, False]
    assert not newcomer.is_out
    assert len(table) == 3


def test_connection_that_waits_again_is_the_youngest_of_its_stage() -> None:
    """Age counts from when it came into the stage, not from when it was opened."""
    table = ConnectionTable(2)
    old, young = seated(table, Stage.IDLE, Stage.IDLE)
    table.move(old, Stage.SENDING)
    table.move(old, Stage.IDLE)

    table.add(SmallPlace(Stage.WAITING))

    assert (old.is_out, young.is_out) == (False, True)


def test_connection_that_is_gone_is_forgotten() -> None:
    """Closed by its sender, or turned out, it takes no place, whatever it does last."""
    table = ConnectionTable(2)
    gone, turned_out = seated(table, Stage.IDLE, Stage.SENDING)

    table.discard(gone)
    table.discard(gone)
    table.turn_out(turned_out, Closed.LONG_HEAD)
    table.move(turned_out, Stage.ANSWERED)
    table.move(gone, Stage.WAITING)

    assert len(table) == 0
    assert table.count(Stage.ANSWERED) == 0


@pytest.mark.parametrize(
    ("stage", "is_out"),
    [
        (Stage.ANSWERED, True),
        (Stage.WAITING, True),
        (Stage.IDLE, True),
        (Stage.UNKNOWN, False),
        (Stage.SENDING, False),
        (Stage.AT_WORK, False),
    ],
)
def test_sweep_closes_heads_that_are_overdue(stage: Stage, *, is_out: bool) -> None:
    """Only where a head is awaited: what has one is bounded by its own time."""
    table = ConnectionTable(9)
    [place] = seated(table, stage)
    place.head_since = 100.0

    table.sweep(110.0)
    before = place.is_out
    table.sweep(110.1)

    assert (before, place.is_out) == (False, is_out)


def test_sweep_says_once_what_was_closed() -> None:
    """One line for each reason, however many there were since the last time."""
    table = ConnectionTable(1)
    seated(table, Stage.WAITING, Stage.WAITING, Stage.WAITING)

    with capture_logs() as logs:
        table.sweep(0)
        table.sweep(0)

    [line] = logs
    assert line == {
        "event": "connections.closed",
        "log_level": "warning",
        "reason": "crowded-out",
        "closed": 2,
        "open": 1,
    }
