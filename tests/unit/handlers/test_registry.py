"""Event types and headers to kinds."""

import pytest
from azure.eventgrid import SystemEventNames

from handlers import registry
from handlers.registry import EventKind


def test_registry_spells_the_names_as_the_sdk_does() -> None:
    """The names written out here are the ones of azure.eventgrid."""
    recording = SystemEventNames.AcsRecordingFileStatusUpdatedEventName
    validation = SystemEventNames.EventGridSubscriptionValidationEventName
    deleted = SystemEventNames.EventGridSubscriptionDeletedEventName

    assert recording.value == registry.RECORDING_FILE_STATUS_UPDATED
    assert validation.value == registry.SUBSCRIPTION_VALIDATION
    assert deleted.value == registry.SUBSCRIPTION_DELETED


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        ("microsoft.communication.RECORDINGFileStatusUpdated", EventKind.RECORDING),
        ("Microsoft.EventGrid.SubscriptionValidationEvent", EventKind.VALIDATION),
        ("Microsoft.EventGrid.SubscriptionDeletedEvent", EventKind.DELETED),
        ("Microsoft.Communication.CallStarted", EventKind.UNKNOWN),
        ("", EventKind.UNKNOWN),
    ],
)
def test_kind_of_ignores_case(event_type: str, kind: EventKind) -> None:
    """A type is known in whatever case it is written; any other is unknown."""
    assert registry.kind_of(event_type) is kind


@pytest.mark.parametrize(
    ("header", "deleted"),
    [
        ("SubscriptionDeletion", True),
        ("unsubscribe", True),
        ("Notification", False),
        ("", False),
    ],
)
def test_says_deleted_knows_both_spellings(header: str, *, deleted: bool) -> None:
    """The documented header and the one of Microsoft's own receiver both count."""
    assert registry.says_deleted(header) is deleted
