"""Locations in the user's own storage, as an event gives them: kept without their queries.

Such a query could be a signature. It is not used, must not lie in an archive for ever, and is
another each time that the same export is announced. Pure.
"""

from urllib.parse import parse_qs

from handlers.envelope import Event, JsonObject
from worker import byos, names

_LOCATIONS = ("contentLocation", "metadataLocation", "deleteLocation")


def without_queries(event: Event) -> Event:
    """The same event; what lies at the source is left as it was said."""
    kind = event.data.get("storageType")
    storage = event.data.get("recordingStorageInfo")
    if not isinstance(kind, str) or kind.casefold() != byos.STORAGE_TYPE:
        return event
    if not isinstance(storage, dict):
        return event
    listed = storage.get("recordingChunks")
    if not isinstance(listed, list):
        return event
    cleaned = [_cleaned(item) if isinstance(item, dict) else item for item in listed]
    data = {
        **event.data,
        "recordingStorageInfo": {**storage, "recordingChunks": cleaned},
    }
    return event._replace(data=data, raw={**event.raw, "data": data})


def _cleaned(item: JsonObject) -> JsonObject:
    told = {name: item.get(name) for name in _LOCATIONS}
    return item | {
        name: _bare(location)
        for name, location in told.items()
        if isinstance(location, str)
    }


def _bare(location: str) -> str:
    """An export that failed lies at the source, where a query may be a part of the name."""
    bare, _, query = location.partition("#")[0].partition("?")
    is_signed = "sig" in parse_qs(query)
    return location if names.document_in(location) and not is_signed else bare
