"""The outage rehearsal: whatever a day brings, every recording comes home.

Event Grid's stand-in has the settings that we ship for the event subscription. Calls
end all the time; meanwhile the endpoint is down for three hours, its disk is full for one,
and twice it dies in the middle of a delivery. What Event Grid gives up lies in the
dead-letter container, and is replayed from there.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from samples.event_grid import Conduct, Subscription
from tests.fakes.clock import START, ManualClock
from tests.integration.outage import MEDIA_LIVE, Day, a_day
from worker import app, opening, receiving

SHIPPED = Path(__file__).parents[2] / "deploy/event-subscription.json"
HOUR, HALF_AN_HOUR = timedelta(hours=1), timedelta(minutes=30)


def shipped(endpoint: str) -> Subscription:
    properties = json.loads(SHIPPED.read_bytes())
    return Subscription.from_arm(properties, name="recordings", endpoint=endpoint)


def with_a_day_to_live(endpoint: str) -> Subscription:
    """Event Grid's own time to live."""
    return replace(shipped(endpoint), time_to_live=timedelta(minutes=1440))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """The time of everything at work."""
    clock = ManualClock()
    monkeypatch.setattr(app, "SystemClock", lambda: clock)
    monkeypatch.setattr(opening, "SystemClock", lambda: clock)
    monkeypatch.setattr(receiving, "SystemClock", lambda: clock)
    return clock


async def die_with_the_answer(day: Day) -> None:
    """The process dies when the next delivery is stored, and before it has said so."""
    day.front.dies_at = "answer"


async def die_with_the_request(day: Day) -> None:
    """The process dies before the next delivery is stored."""
    day.front.dies_at = "request"


TROUBLES: dict[timedelta, Callable[[Day], Awaitable[None]]] = {
    1 * HOUR: Day.stop,
    4 * HOUR: Day.start,
    5 * HOUR: Day.fill_disk,
    6 * HOUR: Day.free_disk,
    6 * HOUR + HALF_AN_HOUR: die_with_the_answer,
    7 * HOUR: die_with_the_request,
}


async def eight_troubled_hours(day: Day) -> None:
    """Every half an hour two calls end, so that deliveries are batches."""
    for number in range(16):
        passed = number * HALF_AN_HOUR
        if trouble := TROUBLES.get(passed):
            await trouble(day)
        day.announce(calls=2)
        await day.pass_until(START + passed + HALF_AN_HOUR)


async def until_event_grid_is_done(day: Day) -> None:
    """It has nothing more to deliver, and nothing to give up."""
    while not day.dispatcher.is_idle:
        await day.pass_until(day.clock.now() + HOUR)


@pytest.mark.parametrize(
    ("conduct", "gives_up"),
    [
        (Conduct(seed=1), False),
        (Conduct(seed=2, delay=3 * HOUR), True),
        (Conduct(seed=3, delayed_after=1_000_000, skips=0.3), True),
        (
            Conduct(
                seed=4,
                steps_count_from="first attempt",
                duplicates=0.5,
                is_reordered=True,
            ),
            False,
        ),
    ],
    ids=["as documented", "delays by hours", "skips retries", "repeats and reorders"],
)
async def test_every_recording_of_an_outage_comes_home(
    clock: ManualClock, tmp_path: Path, conduct: Conduct, *, gives_up: bool
) -> None:
    """Delivered in time or dead-lettered; and home after the replay, each once."""
    async with a_day(clock, tmp_path, subscribed=shipped, conduct=conduct) as day:
        await eight_troubled_hours(day)
        await until_event_grid_is_done(day)
        delivered, given_up = await day.home(), day.given_up()
        replayed = await day.replay() if given_up else None
        home = await day.home()

    assert len(day.announced) == 32
    assert bool(given_up) is gives_up
    assert day.is_all_kept()
    assert delivered.keys() | set(given_up) == day.announced.keys()
    assert replayed is None or not replayed.needs_attention
    assert home.keys() == day.acs.deleted == day.announced.keys()
    assert all(
        receipt.archived_at < day.announced[document] + MEDIA_LIVE
        for document, receipt in home.items()
    )
    assert day.seen() == {
        "answered 200",
        "answered 503",
        "the connection was cut before the answer",
    }


async def test_shipped_time_to_live_outlives_an_outage_of_a_day(
    clock: ManualClock, tmp_path: Path
) -> None:
    """Down for 23 hours: the dead letters lie there after 6, and a replay needs no endpoint."""
    conduct = Conduct(seed=1)
    async with a_day(clock, tmp_path, subscribed=shipped, conduct=conduct) as day:
        await day.stop()
        day.announce(calls=3)
        await day.pass_until(START + 6 * HOUR)
        given_up = day.given_up()
        await day.pass_until(START + 23 * HOUR)
        replayed = await day.replay()
        home = await day.home()

    assert set(given_up) == day.announced.keys()
    assert not replayed.needs_attention
    assert home.keys() == day.announced.keys()


async def test_event_grids_own_time_to_live_loses_the_media(
    clock: ManualClock, tmp_path: Path
) -> None:
    """With its 24 hours there is nothing to replay until ACS has forgotten everything."""
    subscribed, conduct = with_a_day_to_live, Conduct(seed=1)
    async with a_day(clock, tmp_path, subscribed=subscribed, conduct=conduct) as day:
        await day.stop()
        day.announce(calls=3)
        await day.pass_until(START + MEDIA_LIVE)
        given_up_in_time = day.given_up()
        await until_event_grid_is_done(day)
        replayed = await day.replay()
        home = await day.home()

    assert given_up_in_time == []
    assert set(day.given_up()) == set(replayed.lost) == day.announced.keys()
    assert home == {}
