"""A container of Event Grid's dead letters: read where they lie, never written or removed.

https://learn.microsoft.com/azure/event-grid/manage-event-delivery
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

from azure.core import MatchConditions
from azure.storage.blob import BlobProperties

from worker import retry
from worker.archives.blob_errors import NoBlobError, error_from_azure
from worker.errors import (
    AlreadyExistsError,
    ArchiveForbiddenError,
    RetryableError,
    WorkerError,
)
from worker.model import Letter
from worker.ports import Clock
from worker.storage_clients import Identity, container_client
from worker.storage_errors import FOREIGN
from worker.storage_places import Place

T = TypeVar("T")
PAGE_NAMES = 1000
_TOKEN_HOSTS = (
    ".blob.core.windows.net",
    ".blob.storage.azure.net",
    ".blob.core.usgovcloudapi.net",
    ".blob.core.chinacloudapi.cn",
)
"""Who may be shown who we are. A URL is typed, or pasted from anywhere."""


class LettersUnavailableError(WorkerError):
    """The container can't be read."""

    reason = "letters-unavailable"
    hint = "recording-worker config"


class LetterBlobs:
    """The .json blobs at a place, which is a container, a folder of it, or one blob.

    An async context manager. Raises LettersUnavailableError.
    """

    def __init__(
        self, place: Place, identity: Identity, *, clock: Clock, random: Random
    ) -> None:
        _refuse_strangers(place, identity)
        self._place = place
        self._client = container_client(place, identity)
        self._clock = clock
        self._random = random

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    @property
    def container(self) -> str:
        """Its URL, without a signature."""
        return f"{self._place.account_url}/{self._place.name}"

    async def written(
        self, *, since: datetime | None, until: datetime | None
    ) -> AsyncIterator[Letter]:
        """Those written between, by name; their names are not read: hours are not padded."""
        token: str | None = ""
        while token is not None:
            page, token = await self._page(token or None)
            for blob in page:
                letter = _letter(blob)
                is_of_time = (since is None or letter.written_at >= since) and (
                    until is None or letter.written_at < until
                )
                if is_of_time and self._is_here(letter.name):
                    yield letter

    def _is_here(self, name: str) -> bool:
        prefix = self._place.prefix
        below = not prefix or name == prefix or name.startswith(f"{prefix}/")
        return below and name.casefold().endswith(".json")

    async def _page(self, token: str | None) -> tuple[list[BlobProperties], str | None]:
        async def read() -> tuple[list[BlobProperties], str | None]:
            blobs = self._client.list_blobs(
                name_starts_with=self._place.prefix or None, results_per_page=PAGE_NAMES
            )
            pages: Any = blobs.by_page(token)  # it also knows where it stands
            page = [blob async for blob in await anext(pages)]
            return page, pages.continuation_token or None

        return await self._retried(read)

    async def read(self, letter: Letter) -> bytes | None:
        """The version that was listed; None if it is gone, or another by now."""
        blob = self._client.get_blob_client(letter.name)

        async def read() -> bytes:
            stream = await blob.download_blob(
                etag=letter.etag, match_condition=MatchConditions.IfNotModified
            )
            return b"".join([piece async for piece in stream.chunks()])

        try:
            return await self._retried(read)
        except (NoBlobError, AlreadyExistsError):
            return None

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        async def attempt() -> T:
            try:
                return await call()
            except FOREIGN as error:
                raise error_from_azure(error, self._place) from error

        retrying = retry.ARCHIVE.retrying(clock=self._clock, random=self._random)
        try:
            result: T = await retrying(attempt)
        except RetryableError as error:
            hint = error.hint if isinstance(error, ArchiveForbiddenError) else None
            if hint is not None and " container create " in hint:
                hint = (
                    f"az storage container list --account-name {self._place.account}"
                    " --auth-mode login"
                )
            raise LettersUnavailableError(
                f"dead letters: {error}", hint=hint
            ) from error
        return result


def _letter(blob: BlobProperties) -> Letter:
    return Letter(
        name=blob.name,
        etag=blob.etag,
        size_bytes=blob.size,
        written_at=blob.last_modified,
    )


def _refuse_strangers(place: Place, identity: Identity) -> None:
    """A token would open our own storage to whoever reads it."""
    told = identity.connection_string
    is_ours = place.account_url.casefold().endswith(_TOKEN_HOSTS)
    if place.sas or is_ours or (told is not None and told.is_of(place)):
        return
    raise LettersUnavailableError(
        f"no token is sent to {place.account_url}: give the URL a shared access signature"
    )
