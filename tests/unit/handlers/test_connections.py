"""Who gives way when all places are taken, and who takes too long."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from handlers.connections import Closed, ConnectionTable, Stage, keep_sweeping
from tests.fakes.clock import ManualClock


class SmallPlace:
    """A connection as the table sees it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = Stage.WAITING
        self.wanted = stage
        self.checked: list[float] = []
        self.is_out = False
        self.when_checked: Callable[[], object] = bool

    def check(self, now: float) -> None:
        self.checked.append(now)
        self.when_checked()

    def turn_out(self) -> None:
        self.is_out = True


def seated(table: ConnectionTable, *stages: Stage) -> list[SmallPlace]:
    """Connections in these stages, in the order in which they came into them."""
    places = [SmallPlace(stage) for stage in stages]
    for place in places:
        table.add(place)
        table.move(place, place.wanted)
    return places


def a_bug() -> None:
    raise LookupError("a bug")


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


def test_sweep_looks_at_every_connection() -> None:
    """Each knows what is due in its stage; one may leave while others are looked at."""
    table = ConnectionTable(9)
    places = seated(table, *Stage)
    places[0].when_checked = lambda: table.turn_out(places[0], Closed.SLOW_HEAD)

    table.sweep(7.0)

    assert [place.checked for place in places[1:]] == [[7.0]] * 5
    assert table.closed == {"slow-head": 1}


async def test_sweeping_survives_a_bug() -> None:
    """One that fails is said, and the next sweep comes all the same."""
    table = ConnectionTable(9)
    [place] = seated(table, Stage.WAITING)
    place.when_checked = a_bug
    clock = ManualClock()
    with capture_logs() as logs:
        sweeping = asyncio.create_task(keep_sweeping(table.sweep, clock, every=1))
        for _ in range(3):
            await asyncio.sleep(0)
            clock.advance(1)
        await asyncio.sleep(0)
        sweeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sweeping

    assert len(place.checked) == len(logs) == 3
    assert {line["event"] for line in logs} == {"connections.unswept"}


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
