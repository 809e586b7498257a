"""The settings that we ship for the event subscription, held against the check-list."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from samples.grid.dead_letters import DELAY
from samples.grid.pending import DeadLettered
from samples.grid.subscription import Subscription, SubscriptionError
from samples.grid.verdicts import SOCKET_ERROR
from tests.fakes.clock import START
from tests.unit.samples.scenes import HOUR, a_scene

SHIPPED = Path(__file__).parents[3] / "deploy/event-subscription.json"
RECORDING = "Microsoft.Communication.RecordingFileStatusUpdated"
MEDIA_LIVE = timedelta(hours=24)


def shipped() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(SHIPPED.read_bytes())
    return parsed


def a_subscription_of(properties: dict[str, Any]) -> Subscription:
    return Subscription.from_arm(properties, name="r", endpoint="http://127.0.0.1:1/")


@pytest.mark.receiver_row(13)
def test_shipped_subscription_is_as_the_check_list_has_it() -> None:
    """Dead letters on, 2 to 4 h to live, 30 attempts, our events only, batches."""
    subscription = a_subscription_of(shipped())

    assert subscription.dead_letter_container
    assert 2 * HOUR <= subscription.time_to_live <= 4 * HOUR
    assert subscription.max_attempts == 30
    assert subscription.included_event_types == {RECORDING}
    assert subscription.max_events_per_batch > 1


@pytest.mark.receiver_row(13)
def test_shipped_subscription_holds_no_secret_and_no_endpoint() -> None:
    """Who may post is chosen where it is deployed: a key or Entra."""
    webhook = shipped()["destination"]["properties"]

    assert webhook.keys() == {"maxEventsPerBatch", "preferredBatchSizeInKilobytes"}


@pytest.mark.receiver_row(13)
@pytest.mark.parametrize(
    ("reading", "given_up_after"),
    [("last attempt", timedelta(seconds=17_220)), ("first attempt", 6 * HOUR)],
)
async def test_shipped_time_to_live_leaves_time_for_a_replay(
    reading: str, given_up_after: timedelta
) -> None:
    """An endpoint that never answers: the dead letter comes 18 h before the media goes."""
    told = a_subscription_of(shipped())
    scene = a_scene(
        SOCKET_ERROR,
        conduct={"steps_count_from": reading},
        time_to_live=told.time_to_live,
        max_attempts=told.max_attempts,
    )

    await scene.publish(0)

    (written,) = scene.heard(DeadLettered)
    assert written.at - START == given_up_after + DELAY
    assert START + MEDIA_LIVE - written.at > 17 * HOUR


def test_subscription_without_settings_is_event_grids_own() -> None:
    """What ARM is not told is as Event Grid has it."""
    subscription = a_subscription_of({"deadLetterDestination": None})

    assert subscription == Subscription(name="r", endpoint="http://127.0.0.1:1/")


def test_schema_that_is_not_for_webhooks_is_refused() -> None:
    """A custom input schema is none that we can send."""
    with pytest.raises(SubscriptionError, match="CustomInputSchema"):
        a_subscription_of({"eventDeliverySchema": "CustomInputSchema"})
