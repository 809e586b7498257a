"""The container where Event Grid leaves the events that it gave up."""

from dataclasses import dataclass
from datetime import UTC, datetime

from worker.archives.blob_errors import error_from_azure
from worker.storage_clients import Identity, container_client
from worker.storage_errors import FOREIGN
from worker.storage_places import Place

MOST = 1000
"""More than that is not counted: it is enough to be paged for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What lies there, up to MOST blobs."""

    blobs: int
    oldest: datetime | None


async def waiting(place: Place, identity: Identity) -> Waiting:
    """Count. Raises the archive's errors: it is as much a container as that."""
    written: list[datetime] = []
    async with container_client(place, identity) as container:
        listed = container.list_blobs(name_starts_with=place.prefix or None)
        try:
            async for blob in listed:
                written.append(blob.last_modified.astimezone(UTC))
                if len(written) == MOST:
                    break
        except FOREIGN as error:
            raise error_from_azure(error, place) from error
    return Waiting(blobs=len(written), oldest=min(written, default=None))
