"""Legal holds on blobs, what the service keeps of them, and how they are erased.

Versions: https://learn.microsoft.com/azure/storage/blobs/versioning-overview
Holds: https://learn.microsoft.com/rest/api/storageservices/set-blob-legal-hold
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC
from http import HTTPStatus
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobClient, ContainerClient

from worker.archives.blob_errors import NoBlobError
from worker.archives.blob_store import PAGE_NAMES, BlobStore
from worker.errors import (
    AlreadyExistsError,
    ArchiveForbiddenError,
    IntegrityError,
)
from worker.model import Kept

_TOLD = ["snapshots", "versions", "deleted", "legalhold", "immutabilitypolicy"]
_NO_HOLDS = {HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.NOT_IMPLEMENTED}
"""What a container without version-level immutability says, and what Azurite says."""


class _NoHoldsError(Exception):
    """The service refused, and would again."""


class BlobKeeping:
    """Blobs of one container below `below`, beside what `store` does with them."""

    def __init__(
        self, container: ContainerClient, store: BlobStore, *, below: str
    ) -> None:
        self._container = container
        self._store = store
        self._below = below

    async def hold(self, name: str, *, held: bool) -> bool | None:
        """As keeping.HoldingArchive. Only the object: an archive of ours has no versions."""
        blob = self._blob(name)

        async def set_hold() -> None:
            try:
                await blob.set_legal_hold(held)
            except HttpResponseError as error:
                if error.status_code in _NO_HOLDS:
                    raise _NoHoldsError from error
                # The SDK (12.31) leaves it out for this one request.
                told = getattr(error.response, "headers", {})
                vars(error)["error_code"] = told.get("x-ms-error-code")
                raise

        try:
            await self._store.retried(set_hold)
        except NoBlobError:
            raise IntegrityError(f"{name!r} is not in the archive") from None
        except _NoHoldsError:
            return None
        properties = await self._store.head(name)
        return properties is not None and bool(properties.has_legal_hold)

    async def kept(self, prefix: str) -> AsyncIterator[Kept]:
        """As keeping.ErasableArchive."""
        async for properties in self._listed(prefix):
            yield _kept(properties, properties.name.removeprefix(self._below))

    async def erase(self, name: str) -> None:
        """As keeping.ErasableArchive.

        The current version can't be deleted as a version: it goes first, and is one then.
        """
        blob = self._blob(name)
        await self._deleted(name, lambda: blob.delete_blob(delete_snapshots="include"))
        async for properties in self._listed(name):
            is_ours = properties.name == self._below + name
            if is_ours and properties.version_id and not properties.deleted:
                await self._version_deleted(name, properties.version_id)

    async def _version_deleted(self, name: str, version: str) -> None:
        blob = self._blob(name)
        await self._deleted(name, lambda: blob.delete_blob(version_id=version))

    async def _deleted(self, name: str, delete: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._store.retried(delete)
        except NoBlobError:
            return
        except AlreadyExistsError as error:
            # To a write, what can't be deleted is a name that is taken.
            raise ArchiveForbiddenError(
                f"a hold or a policy of the container keeps {name!r}"
            ) from error

    async def _listed(self, prefix: str) -> AsyncIterator[BlobProperties]:
        token: str | None = ""
        while token is not None:
            page, token = await self._page(prefix, token or None)
            for properties in page:
                yield properties

    async def _page(
        self, prefix: str, token: str | None
    ) -> tuple[list[BlobProperties], str | None]:
        async def read() -> tuple[list[BlobProperties], str | None]:
            listed = self._container.list_blobs(
                name_starts_with=self._below + prefix,
                include=_TOLD,
                results_per_page=PAGE_NAMES,
            )
            pages: Any = listed.by_page(token)  # it also knows where it stands
            page = [blob async for blob in await anext(pages)]
            return page, pages.continuation_token or None

        return await self._store.retried(read)

    def _blob(self, name: str) -> BlobClient:
        return self._container.get_blob_client(self._below + name)


def _kept(properties: BlobProperties, name: str) -> Kept:
    until = properties.immutability_policy.expiry_time
    is_old = bool(properties.version_id) and not properties.is_current_version
    is_current = not (is_old or properties.snapshot or properties.deleted)
    return Kept(
        name=name,
        size_bytes=properties.size or 0,
        is_current=is_current,
        is_held=bool(properties.has_legal_hold),
        locked_until=until.astimezone(UTC) if until else None,
        goes_in_days=properties.remaining_retention_days or 0
        if properties.deleted
        else None,
    )
