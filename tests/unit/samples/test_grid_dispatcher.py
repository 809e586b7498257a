"""Event Grid's perseverance, a day of it in a moment: retries, probation, dead letters.

Each test names a fact of the documentation, or a knob where that is silent.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from samples.grid.conduct import Conduct
from samples.grid.messages import in_schema
from samples.grid.pending import (
    Attempted,
    DeadLettered,
    Dropped,
    Pending,
    Postponed,
)
from samples.grid.verdicts import (
    RESOLUTION_ERROR,
    SOCKET_ERROR,
    TIMED_OUT,
    Verdict,
    verdict_of,
)
from tests.fakes.clock import START
from tests.grid import an_event
from tests.unit.samples.scenes import (
    HOUR,
    MINUTE,
    SCHEDULE,
    SECOND,
    STEADY,
    Scene,
    a_scene,
    chance,
)


async def test_delivered_event_is_sent_once() -> None:
    """Success ends it; the first attempt says 0."""
    scene = a_scene(200)

    await scene.publish(0)

    assert scene.grid.sent == [(START, ["event-0"], 0)]
    assert scene.dispatcher.is_idle


async def test_retries_follow_the_documented_schedule() -> None:
    """10 s, 30 s, 1, 5, 10, 30 min, 1, 3, 6 h, then every 12 h up to 24 h."""
    scene = a_scene(500)

    await scene.publish(0)

    assert scene.offsets() == SCHEDULE
    assert [count for _, _, count in scene.grid.sent] == list(range(11))


async def test_default_time_to_live_ends_after_the_media() -> None:
    """24 h are noticed at the attempt after them, when ACS has long deleted its copy."""
    scene = a_scene(500)

    await scene.publish(0)

    (written,) = scene.heard(DeadLettered)
    assert written.at == START + SCHEDULE[-1] + 12 * HOUR + 5 * MINUTE


async def test_after_the_schedule_it_is_every_twelve_hours() -> None:
    """Steps from 6 h on are 12 h, as far as the time to live allows."""
    conduct = Conduct(**STEADY)
    tried = Pending(number=0, event={}, published_at=START, due_at=START, attempts=12)

    due_at = conduct.due_at(tried, verdict_of(500), ended_at=START, random=chance(0))

    assert due_at == START + 12 * HOUR


async def test_steps_may_count_from_the_first_attempt() -> None:
    """The documentation doesn't say which; the other reading is a knob."""
    scene = a_scene(500, conduct={"steps_count_from": "first attempt"}, max_attempts=11)

    await scene.publish(0)

    assert scene.offsets() == [
        timedelta(),
        10 * SECOND,
        30 * SECOND,
        MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        30 * MINUTE,
        HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
    ]


@pytest.mark.parametrize(
    ("answer", "least"), [(408, 2 * MINUTE), (503, 30 * SECOND), (500, 10 * SECOND)]
)
async def test_status_has_its_least_delay(answer: int, least: timedelta) -> None:
    """408 waits for 2 min and 503 for 30 s, where the schedule says 10 s."""
    scene = a_scene(answer, 200)

    await scene.publish(0)

    assert scene.offsets() == [timedelta(), least]


async def test_least_delay_holds_for_either_reading() -> None:
    """Whether steps count from the first attempt or the last: 2 min after a 408."""
    scene = a_scene(408, 200, conduct={"steps_count_from": "first attempt"})

    await scene.publish(0)

    assert scene.offsets() == [timedelta(), 2 * MINUTE]


async def test_no_answer_takes_thirty_seconds_itself() -> None:
    """The step counts from when Event Grid gave the answer up."""
    scene = a_scene(TIMED_OUT, 200)

    await scene.publish(0)

    assert scene.offsets() == [timedelta(), 40 * SECOND]


async def test_jitter_only_lengthens_and_is_seeded() -> None:
    """A small randomization of every step, the same for the same seed."""
    first, again, other = (
        a_scene(500, conduct={"jitter": 0.1, "seed": seed}) for seed in (1, 1, 2)
    )

    for scene in (first, again, other):
        await scene.publish(0)

    steps = [after - before for before, after in pairwise(first.offsets())]
    plain = [after - before for before, after in pairwise(SCHEDULE)]
    assert first.offsets() == again.offsets() != other.offsets()
    assert all(p <= s <= p * 1.1 for s, p in zip(steps, plain, strict=False))


async def test_retries_may_be_skipped() -> None:
    """ "Might opportunistically skip certain retries": here all that can be."""
    scene = a_scene(500, 500, 200, conduct={"skips": 1.0})

    await scene.publish(0)

    assert scene.offsets() == [timedelta(), 30 * SECOND, 90 * SECOND]


async def test_attempts_end_at_their_maximum() -> None:
    """The limit that is reached first counts."""
    scene = a_scene(500, max_attempts=3)

    await scene.publish(0)

    (letter,) = scene.container.letters
    assert len(scene.grid.sent) == 3
    assert letter["deadLetterReason"] == "MaxDeliveryAttemptsExceeded"
    assert letter["deliveryAttempts"] == 3


async def test_expiry_is_noticed_at_the_next_attempt_only() -> None:
    """TTL 30 min: the attempt at 46 min 40 s finds it expired, and is not made."""
    scene = a_scene(500, time_to_live=30 * MINUTE)

    await scene.publish(0)

    (written,) = scene.heard(DeadLettered)
    (letter,) = scene.container.letters
    assert scene.offsets() == SCHEDULE[:6]
    assert written.at == START + SCHEDULE[6] + 5 * MINUTE
    assert letter["deadLetterReason"] == "TimeToLiveExceeded"


async def test_event_that_has_lived_its_time_is_expired() -> None:
    """The attempt that falls on the end itself is not made any more."""
    conduct = {"steps_count_from": "first attempt"}
    scene = a_scene(500, conduct=conduct, time_to_live=MINUTE)

    await scene.publish(0)

    (letter,) = scene.container.letters
    assert scene.offsets() == [timedelta(), 10 * SECOND, 30 * SECOND]
    assert letter["deadLetterReason"] == "TimeToLiveExceeded"


async def test_documented_example_of_both_limits_holds() -> None:
    """30 min to live and 10 attempts: "a maximum of 6 delivery attempts happen"."""
    scene = a_scene(500, time_to_live=30 * MINUTE, max_attempts=10)

    await scene.publish(0)

    assert len(scene.grid.sent) == 6


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        (400, "UndeliverableDueToHttpBadRequest", "BadRequest"),
        (401, "UndeliverableDueToHttpUnauthorized", "Unauthorized"),
        (403, "UndeliverableDueToHttpForbidden", "Forbidden"),
        (404, "UndeliverableDueToHttpNotFound", "NotFound"),
        (413, "UndeliverableDueToHttpRequestEntityTooLarge", "PayloadTooLarge"),
    ],
)
async def test_final_status_is_dead_lettered_after_five_minutes(
    status: int, reason: str, outcome: str
) -> None:
    """No second attempt, and no blob before the five minutes are over."""
    scene = a_scene(status)
    scene.dispatcher.publish([an_event()])

    await scene.dispatcher.run(until=START + 5 * MINUTE - SECOND)
    early = list(scene.container.letters)
    await scene.dispatcher.run()

    (letter,) = scene.container.letters
    assert early == []
    assert len(scene.grid.sent) == 1
    assert letter["deadLetterReason"] == reason
    assert letter["lastDeliveryOutcome"] == outcome
    assert letter["lastHttpStatusCode"] == status


async def test_without_a_container_events_are_dropped() -> None:
    """Dead-lettering is off by default."""
    scene = a_scene(400, has_container=False)

    await scene.publish(0)

    (dropped,) = scene.heard(Dropped)
    assert dropped.events == ("event-0",)
    assert dropped.at == START
    assert scene.container.tries == 0


async def test_dead_letter_in_event_grids_schema_has_properties_more() -> None:
    """The event as it was, and what happened to it."""
    scene = a_scene(SOCKET_ERROR, max_attempts=1)

    await scene.publish(0)

    assert scene.container.letters == [
        {
            **an_event(),
            "deadLetterReason": "MaxDeliveryAttemptsExceeded",
            "deliveryAttempts": 1,
            "lastDeliveryOutcome": "SocketError",
            "publishTime": "2026-03-01T12:00:00.0000000Z",
            "lastDeliveryAttemptTime": "2026-03-01T12:00:00.0000000Z",
        }
    ]


async def test_dead_letter_of_a_cloud_event_has_lower_case_attributes() -> None:
    """Extension attributes, on the event as it was delivered."""
    scene = a_scene(404, schema="cloudevents")

    await scene.publish(0)

    assert scene.container.letters == [
        {
            **in_schema(an_event(), "cloudevents"),
            "deadletterreason": "UndeliverableDueToHttpNotFound",
            "deliveryattempts": 1,
            "lastdeliveryoutcome": "NotFound",
            "lasthttpstatuscode": 404,
            "publishtime": "2026-03-01T12:00:00.0000000Z",
            "lastdeliveryattempttime": "2026-03-01T12:00:00.0000000Z",
        }
    ]


async def test_dead_letter_of_a_namespace_is_wrapped() -> None:
    """Namespace topics: properties beside the event, both under names of their own."""
    scene = a_scene(400, schema="cloudevents", shape="namespace")

    await scene.publish(0)

    assert scene.container.letters == [
        {
            "deadLetterProperties": {
                "deadletterreason": "UndeliverableDueToHttpBadRequest",
                "deliveryattempts": 1,
                "deliveryresult": "BadRequest",
                "publishutc": "2026-03-01T12:00:00.0000000Z",
                "deliveryattemptutc": "2026-03-01T12:00:00.0000000Z",
            },
            "event": in_schema(an_event(), "cloudevents"),
        }
    ]


async def test_namespace_tells_no_attempt_where_there_was_none() -> None:
    """What waited on probation was never tried."""
    scene = a_scene(401, shape="namespace")
    scene.dispatcher.publish([an_event()])
    await scene.dispatcher.run(until=START + SECOND)

    await scene.publish(1)

    properties = scene.container.letters[1]["deadLetterProperties"]
    assert properties["deliveryresult"] == "Probation"
    assert "deliveryattemptutc" not in properties


async def test_blob_is_named_by_subscription_and_hour_without_padding() -> None:
    """SUBSCRIPTION/year/month/day/hour/guid.json, in UTC."""
    scene = a_scene(400)
    scene.clock.advance(
        (datetime(2026, 3, 2, 3, 56, tzinfo=UTC) - START).total_seconds()
    )

    await scene.publish(0)

    (name,) = scene.container.blobs
    assert name.startswith("RECORDINGS/2026/3/2/4/")
    assert name.endswith(".json")
    assert len(name.split("/")[-1]) == len("01234567-0123-0123-0123-0123456789ab.json")


async def test_blob_holds_all_that_is_due() -> None:
    """An array with one or more events."""
    scene = a_scene(400)

    await scene.publish(0, 1, 2)

    (blob,) = scene.container.blobs.values()
    assert [letter["id"] for letter in blob] == ["event-0", "event-1", "event-2"]


async def test_container_that_comes_back_within_four_hours_gets_everything() -> None:
    """What could not be written waits."""
    scene = a_scene(400)
    scene.container.is_away = True
    scene.dispatcher.publish([an_event()])

    await scene.dispatcher.run(until=START + 4 * HOUR)
    scene.container.is_away = False
    await scene.dispatcher.run()

    assert [letter["id"] for letter in scene.container.letters] == ["event-0"]
    assert scene.heard(Dropped) == []


async def test_container_that_is_away_for_four_hours_loses_events() -> None:
    """Then they are dropped."""
    scene = a_scene(400)
    scene.container.is_away = True

    await scene.publish(0)

    (dropped,) = scene.heard(Dropped)
    assert dropped.at == START + 5 * MINUTE + 4 * HOUR
    assert "4 h" in dropped.why
    assert scene.container.letters == []


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [(500, 10), (SOCKET_ERROR, 30), (RESOLUTION_ERROR, 300)],
    ids=str,
)
async def test_new_events_wait_while_the_endpoint_is_on_probation(
    answer: int | Verdict, seconds: int
) -> None:
    """How long depends on the last error; nothing is attempted meanwhile."""
    scene = a_scene(answer, 200)
    scene.dispatcher.publish([an_event()])
    await scene.dispatcher.run(until=START + SECOND)
    scene.dispatcher.publish([an_event(1)])

    await scene.dispatcher.run()

    assert all(at >= seconds * SECOND for at in scene.offsets()[1:])
    assert scene.heard(Postponed)[0].until == START + seconds * SECOND
    assert scene.container.letters == []


async def test_events_on_probation_after_a_final_status_are_given_up() -> None:
    """ "May get dead-lettered or dropped without even trying": after 401, that is."""
    scene = a_scene(401, 200)
    scene.dispatcher.publish([an_event()])
    await scene.dispatcher.run(until=START + SECOND)
    scene.dispatcher.publish([an_event(1)])

    await scene.dispatcher.run()

    (_, letter) = scene.container.letters
    assert len(scene.grid.sent) == 1
    assert letter["id"] == "event-1"
    assert letter["deliveryAttempts"] == 0
    assert letter["lastDeliveryOutcome"] == "Probation"
    assert "lastDeliveryAttemptTime" not in letter


async def test_event_given_up_on_probation_says_nothing_of_its_last_answer() -> None:
    """Its outcome is the probation, whatever it met before."""
    scene = a_scene(503, 401)
    scene.dispatcher.publish([an_event()])
    await scene.dispatcher.run(until=START + 20 * SECOND)
    scene.dispatcher.publish([an_event(1)])

    await scene.dispatcher.run()

    waited = next(each for each in scene.container.letters if each["id"] == "event-0")
    assert waited["deliveryAttempts"] == 1
    assert waited["lastDeliveryOutcome"] == "Probation"
    assert "lastHttpStatusCode" not in waited


async def test_probation_may_only_delay() -> None:
    """What it does is a knob."""
    scene = a_scene(401, 200, conduct={"failing_probation": frozenset()})
    scene.dispatcher.publish([an_event()])
    await scene.dispatcher.run(until=START + SECOND)
    scene.dispatcher.publish([an_event(1)])

    await scene.dispatcher.run()

    assert scene.offsets() == [timedelta(), 5 * MINUTE]


async def test_bad_request_puts_nobody_on_probation() -> None:
    """400 and 413 are about the events, not the endpoint."""
    scene = a_scene(400, 200)

    await scene.publish(0, 1)

    assert scene.offsets() == [timedelta(), timedelta()]


async def test_many_failures_delay_all_deliveries() -> None:
    """After ten events in a row, retries and new events wait together."""
    conduct = {"delayed_after": 10, "delay": HOUR}
    scene = a_scene(500, 200, conduct=conduct, max_events_per_batch=10)
    scene.dispatcher.publish(map(an_event, range(10)))
    await scene.dispatcher.run(until=START + SECOND)
    scene.dispatcher.publish([an_event(10)])

    await scene.dispatcher.run()

    assert scene.offsets() == [timedelta(), HOUR, HOUR]
    assert {told.until for told in scene.heard(Postponed)} == {START + HOUR}


async def test_success_ends_the_delay() -> None:
    """Nine failures, a success, and nine more delay nothing."""
    conduct = {"delayed_after": 10, "delay": HOUR}
    scene = a_scene(500, 200, 500, 200, conduct=conduct, max_events_per_batch=9)

    await scene.publish(*range(18))

    assert max(scene.offsets()) < MINUTE


async def test_batch_succeeds_or_fails_as_a_whole() -> None:
    """All or none: what failed together comes back together."""
    scene = a_scene(503, 200, max_events_per_batch=5)

    await scene.publish(0, 1, 2)

    together = ["event-0", "event-1", "event-2"]
    assert [ids for _, ids, _ in scene.grid.sent] == [together, together]


async def test_new_events_share_no_delivery_with_retries() -> None:
    """One header says how often all events of a delivery were tried."""
    scene = a_scene(500, 200, max_events_per_batch=5)
    scene.dispatcher.publish([an_event()])
    await scene.dispatcher.run(until=START + 9 * SECOND)
    scene.dispatcher.publish([an_event(1)])

    await scene.dispatcher.run()

    sent = [(ids, count) for _, ids, count in scene.grid.sent[1:]]
    assert sent == [(["event-1"], 0), (["event-0"], 1)]


async def test_filter_leaves_other_types_out() -> None:
    """A subscriber is sent what it asked for."""
    wanted = str(an_event()["eventType"])
    scene = a_scene(included_event_types=frozenset({wanted}))
    other = {**an_event(1), "eventType": "Microsoft.Communication.CallStarted"}

    scene.dispatcher.publish([other, an_event()])
    await scene.dispatcher.run()

    assert [ids for _, ids, _ in scene.grid.sent] == [["event-0"]]


async def test_delivered_events_may_come_again() -> None:
    """At least once: a duplicate, and only one of each."""
    scene = a_scene(200, conduct={"duplicates": 1.0})

    await scene.publish(0)

    assert [ids for _, ids, _ in scene.grid.sent] == [["event-0"], ["event-0"]]


async def test_order_is_not_kept() -> None:
    """The same seed shuffles the same way."""
    scenes = [a_scene(conduct={"is_reordered": True, "seed": 5}) for _ in range(2)]

    for scene in scenes:
        await scene.publish(*range(8))

    orders = [[ids[0] for _, ids, _ in scene.grid.sent] for scene in scenes]
    in_order = [f"event-{n}" for n in range(8)]
    assert orders[0] == orders[1] != in_order
    assert sorted(orders[0]) == in_order


async def test_run_stops_at_its_time() -> None:
    """What is due later waits for the next run."""
    scene = a_scene(500)
    scene.dispatcher.publish([an_event()])

    await scene.dispatcher.run(until=START + 20 * SECOND)

    assert scene.clock.now() == START + 20 * SECOND
    assert len(scene.grid.sent) == 2
    assert not scene.dispatcher.is_idle


async def test_run_includes_its_time() -> None:
    """What is due at the very end is done."""
    scene = a_scene(500)
    scene.dispatcher.publish([an_event()])

    await scene.dispatcher.run(until=START + 10 * SECOND)

    assert scene.offsets() == [timedelta(), 10 * SECOND]


async def test_nothing_to_do_passes_the_time() -> None:
    """An idle stand-in only waits."""
    scene = a_scene()

    await scene.dispatcher.run(until=START + HOUR)

    assert scene.clock.now() == START + HOUR


async def test_everything_that_happens_is_told() -> None:
    """Whoever watches hears of each attempt, with its answer."""
    scene = a_scene(500, 200)

    await scene.publish(0)

    failed, delivered = scene.heard(Attempted)
    assert (failed.outcome.status, delivered.outcome.status) == (500, 200)
    assert (failed.delivery_count, delivered.delivery_count) == (0, 1)
    assert (failed.at, delivered.at) == (START, START + 10 * SECOND)


def _all_ids(scene: Scene) -> set[str]:
    delivered: Iterable[str] = (
        id_
        for each in scene.heard(Attempted)
        if each.outcome.status == 200
        for id_ in each.events
    )
    return {*delivered, *(letter["id"] for letter in scene.container.letters)}


@pytest.mark.parametrize("seed", range(20))
async def test_no_event_is_lost_whatever_chance_brings(seed: int) -> None:
    """Every event is delivered or dead-lettered, under any answers."""
    answers: list[int | Verdict] = chance(seed).choices(
        [200, 400, 401, 408, 500, 503, SOCKET_ERROR, TIMED_OUT], k=200
    )
    scene = a_scene(
        *answers,
        conduct={
            "seed": seed,
            "jitter": 0.2,
            "skips": 0.2,
            "duplicates": 0.2,
            "is_reordered": True,
            "delayed_after": 10,
        },
        max_events_per_batch=3,
        time_to_live=4 * HOUR,
    )

    await scene.publish(*range(30))

    assert _all_ids(scene) == {f"event-{n}" for n in range(30)}
