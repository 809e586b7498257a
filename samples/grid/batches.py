"""Which events go together. Pure."""

from collections.abc import Iterable, Iterator

from samples.grid.messages import JsonObject, size_of
from samples.grid.subscription import Subscription

KIB = 1024


def batches_of(
    events: Iterable[JsonObject], subscription: Subscription
) -> Iterator[list[JsonObject]]:
    """Split into deliveries; each is one request with one answer for all of its events.

    The number of events is never exceeded. The size is: by an event that is larger alone.
    https://learn.microsoft.com/azure/event-grid/delivery-and-retry#output-batching
    """
    batch: list[JsonObject] = []
    room = subscription.preferred_batch_kib * KIB
    left = room
    for event in events:
        size = size_of(event)
        if batch and (len(batch) == subscription.max_events_per_batch or size > left):
            yield batch
            batch, left = [], room
        batch.append(event)
        left -= size
    if batch:
        yield batch
