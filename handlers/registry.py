"""Which events mean something to us. Another type: one line here, one function beside it.

The names are spelled out because importing them from azure.eventgrid costs some 90 ms at
start; a test holds them against the SDK's.
"""

from enum import StrEnum

RECORDING_FILE_STATUS_UPDATED = "Microsoft.Communication.RecordingFileStatusUpdated"
SUBSCRIPTION_VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
SUBSCRIPTION_DELETED = "Microsoft.EventGrid.SubscriptionDeletedEvent"


class EventKind(StrEnum):
    """What an event is to us."""

    RECORDING = "recording"
    VALIDATION = "validation"
    DELETED = "deleted"
    UNKNOWN = "unknown"


_KINDS = {
    RECORDING_FILE_STATUS_UPDATED.casefold(): EventKind.RECORDING,
    SUBSCRIPTION_VALIDATION.casefold(): EventKind.VALIDATION,
    SUBSCRIPTION_DELETED.casefold(): EventKind.DELETED,
}
# Documented as the first; Microsoft's own receiver looks for the second.
_DELETION_HEADERS = frozenset({"subscriptiondeletion", "unsubscribe"})
_OF_EVENTS = frozenset({"", "notification"})
_OF_SUBSCRIPTIONS = b"microsoft.eventgrid.subscription"


def kind_of(event_type: str) -> EventKind:
    """Return the kind of an event type, in whatever case it is written."""
    return _KINDS.get(event_type.casefold(), EventKind.UNKNOWN)


def may_be_of_subscription(event_header: str, body: bytes | bytearray) -> bool:
    """Whether a delivery may speak of its subscription, told without reading it.

    `aeg-event-type` is `Notification` with events of others, and CloudEvents come without.
    """
    if event_header.casefold() not in _OF_EVENTS:
        return True
    return _OF_SUBSCRIPTIONS in body.lower()


def says_deleted(event_header: str) -> bool:
    """Whether the header `aeg-event-type` announces the end of the subscription."""
    return event_header.casefold() in _DELETION_HEADERS
