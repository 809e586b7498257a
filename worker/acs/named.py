"""Raw ids as the identifiers of Call Automation's client.

https://learn.microsoft.com/azure/communication-services/concepts/identifiers
"""

from azure.communication.callautomation import (
    CommunicationCloudEnvironment,
    CommunicationIdentifier,
    CommunicationUserIdentifier,
    MicrosoftTeamsAppIdentifier,
    MicrosoftTeamsUserIdentifier,
    PhoneNumberIdentifier,
)

_CLOUDS = {
    "orgid": CommunicationCloudEnvironment.PUBLIC,
    "gcch": CommunicationCloudEnvironment.GCCH,
    "dod": CommunicationCloudEnvironment.DOD,
}


def identifier(raw_id: str) -> CommunicationIdentifier:
    """Whom a checked raw id means (worker/acs/identities.py)."""
    kind, _, rest = raw_id.partition(":")
    if kind == "4":
        return PhoneNumberIdentifier(rest, raw_id=raw_id)
    cloud, _, name = rest.partition(":")
    if cloud not in _CLOUDS:
        return CommunicationUserIdentifier(raw_id)
    if kind == "28":
        return MicrosoftTeamsAppIdentifier(name, cloud=_CLOUDS[cloud], raw_id=raw_id)
    return MicrosoftTeamsUserIdentifier(name, cloud=_CLOUDS[cloud], raw_id=raw_id)
