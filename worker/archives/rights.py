"""What an identity may do to a blob, asked so that nothing comes of it."""

from http import HTTPStatus

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError

from worker.archives.blob_errors import error_from_azure
from worker.storage_clients import Identity, container_client
from worker.storage_errors import FOREIGN
from worker.storage_places import Place

_IMPOSSIBLE = '"0x0"'
"""No blob ever has this etag: the service looks at rights first, and deletes nothing then."""
_MAY = {HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED}
_MAY_NOT = {HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT}
"""No right, or a policy that protects the blob from whoever has it."""


async def may_delete(place: Place, identity: Identity, name: str) -> bool:
    """Whether the blob could be deleted. Raises the archive's errors."""
    below = f"{place.prefix}/" if place.prefix else ""
    async with container_client(place, identity) as container:
        blob = container.get_blob_client(below + name)
        try:
            await blob.delete_blob(
                etag=_IMPOSSIBLE, match_condition=MatchConditions.IfNotModified
            )
        except FOREIGN as error:
            status = error.status_code if isinstance(error, HttpResponseError) else None
            if status in _MAY | _MAY_NOT:
                return status in _MAY
            raise error_from_azure(error, place) from error
    return True
