"""Single operations on blobs through the official SDK: retried, and in our own errors."""

import secrets
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Sequence,
)
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import structlog
from azure.core import MatchConditions
from azure.storage.blob import (
    BlobBlock,
    BlobProperties,
    ContentSettings,
    StandardBlobTier,
)
from azure.storage.blob.aio import BlobClient, ContainerClient

from worker import retry
from worker.archives import blob_facts
from worker.archives.blob_errors import NoBlobError, PastEndError, error_from_azure
from worker.archives.blob_options import BlobOptions
from worker.errors import (
    AlreadyExistsError,
    ArchiveConflictError,
    ArchiveForbiddenError,
)
from worker.ports import Clock
from worker.storage_errors import FOREIGN, code_of
from worker.storage_places import Place

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

T = TypeVar("T")
Said = dict[str, Any]
"""What the write that makes a blob says of it, as the SDK names it."""
PIECE_BYTES = 256 * 1024
"""How much of a block goes to the socket at once: little is copied, nobody is held up."""
STAGE_SECONDS = 120
"""Longest silence while a block is sent; the service says nothing before it has all of it."""
PAGE_NAMES = 1000
_NO_TAGS = {
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "BlobTagsNotSupportedForAccountType",
    "FeatureNotYetSupportedForHierarchicalNamespaceAccounts",
}
"""What is said where this identity or this account can have no tags."""
WRITE_ID = "write"
"""The metadata that tells our own write, whose answer was lost, from that of another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a blob is made with, beside its bytes. `is_content`: it has a tier and tags."""

    digests: dict[str, str]
    md5: bytes | None = None
    is_content: bool = False


class BlobStore:
    """Blobs of one container, below the place's prefix."""

    def __init__(
        self,
        container: ContainerClient,
        place: Place,
        *,
        clock: Clock,
        random: Random,
        options: BlobOptions,
    ) -> None:
        self._container = container
        self._place = place
        self._clock = clock
        self._random = random
        self._options = options
        self._below = f"{place.prefix}/" if place.prefix else ""
        self._takes_tags = options.tags != "off"

    async def head(self, name: str) -> BlobProperties | None:
        """What the service says of the blob; None if there is none."""
        return await self._found(self._blob(name).get_blob_properties)

    async def get(
        self, name: str, offset: int | None = None, length: int | None = None
    ) -> bytes | None:
        """Bytes of the blob, or None; asked for by ranges that end with it."""
        blob = self._blob(name)

        async def read() -> bytes:
            # Up to 32 MiB come with the first answer.
            stream = await blob.download_blob(offset, length)
            pieces = [piece async for piece in stream.chunks()]
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

        try:
            return await self._found(read)
        except PastEndError:
            return b""
        except AlreadyExistsError as error:
            # What is in the archive tier is there, and can't be read.
            raise ArchiveConflictError(str(error)) from error

    async def put(self, name: str, data: bytes, what: Description) -> Said | None:
        """Make a blob in one request; what the service says of it, if its answer came.

        AlreadyExistsError if the name is taken, and not by this call.
        """
        blob = self._blob(name)
        return await self._make(
            name,
            what,
            lambda said: blob.upload_blob(
                data,
                length=len(data),
                transactional_content_md5=what.md5,
                **said,
            ),
        )

    async def stage(
        self, name: str, block_id: str, block: memoryview, md5: bytes
    ) -> None:
        """Send one block, once: whoever has its bytes may send it again."""
        stage = self._blob(name).stage_block(
            block_id,
            _Body(block),  # type: ignore[arg-type]  # the transport reads it asynchronously
            length=len(block),
            transactional_content_md5=md5,
            encryption_scope=self._options.encryption_scope or None,
            read_timeout=STAGE_SECONDS,
        )
        await self._translated(stage)

    async def staged(self, name: str) -> Sequence[BlobBlock]:
        """Blocks under this name that are not committed."""
        blob = self._blob(name)
        found = await self._found(lambda: blob.get_block_list("uncommitted"))
        return () if found is None else found[1]

    async def commit(self, name: str, ids: Sequence[str], what: Description) -> None:
        """Make a blob of its blocks. AlreadyExistsError as for `put`."""
        blob = self._blob(name)
        blocks = [BlobBlock(block_id) for block_id in ids]
        await self._make(
            name, what, lambda said: blob.commit_block_list(blocks, **said)
        )

    async def set_tier(self, name: str, tier: StandardBlobTier) -> None:
        blob = self._blob(name)
        await self.retried(lambda: blob.set_standard_blob_tier(tier))

    async def names(self, prefix: str) -> AsyncIterator[str]:
        """Names that start with `prefix`, page by page."""
        token: str | None = ""
        while token is not None:
            page, token = await self._page(prefix, token or None)
            for name in page:
                yield name.removeprefix(self._below)

    async def make_container(self) -> None:
        """Make the container; one that is there is as good."""
        try:
            await self.retried(self._container.create_container)
        except AlreadyExistsError:
            return

    async def retried(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it succeeds, or the policy ends."""
        use = retry.ARCHIVE.retrying(clock=self._clock, random=self._random)

        async def attempt() -> T:
            return await self._translated(call())

        result: T = await use(attempt)
        return result

    async def _page(
        self, prefix: str, token: str | None
    ) -> tuple[list[str], str | None]:
        async def read() -> tuple[list[str], str | None]:
            names = self._container.list_blob_names(
                name_starts_with=self._below + prefix, results_per_page=PAGE_NAMES
            )
            pages: Any = names.by_page(token)  # it also knows where it stands
            page = [name async for name in await anext(pages)]
            return page, pages.continuation_token or None

        return await self.retried(read)

    async def _make(
        self, name: str, what: Description, write: Callable[[Said], Awaitable[Said]]
    ) -> Said | None:
        """Write once, create-only, whatever becomes of the answers."""
        said = self._said(name, what)

        async def attempt() -> Said | None:
            try:
                return await self._tagged(name, what, said, write)
            except AlreadyExistsError:
                # Also after a first try: where a kept connection breaks, the transport
                # (aiohttp) sends a PUT again by itself.
                if await self._is_made_with(name, said):
                    return None
                raise

        return await self.retried(attempt)

    async def _is_made_with(self, name: str, said: Said) -> bool:
        """Whether the blob there is that of an earlier try, whose answer was lost."""
        there = await self.head(name)
        write_id: str = said["metadata"][WRITE_ID]
        return there is not None and there.metadata.get(WRITE_ID) == write_id

    async def _tagged(
        self,
        name: str,
        what: Description,
        said: Said,
        write: Callable[[Said], Awaitable[Said]],
    ) -> Said:
        """Write with index tags, or without if they are refused; where they are not
        permitted, later without them, too.
        """
        tags = blob_facts.tags(name) if what.is_content and self._takes_tags else {}
        if not tags:
            return await self._translated(write(dict(said)))
        try:
            return await self._translated(write({**said, "tags": tags}))
        except ArchiveForbiddenError as refused:
            written = await self._translated(write(dict(said)))
            # It was the tags, then. Others may have found out meanwhile.
            if self._takes_tags:
                code = code_of(refused.__cause__ or refused)
                self._takes_tags = code not in _NO_TAGS
                log.warning("archive.tags_refused", error=str(refused))
            return written

    def _said(self, name: str, what: Description) -> Said:
        """All that is ever said of the blob: a policy forbids to add to it later."""
        options = self._options
        metadata = blob_facts.metadata(name, **what.digests)
        said: Said = {
            "content_settings": ContentSettings(
                content_type=blob_facts.content_type(name),
                content_md5=bytearray(what.md5) if what.md5 else None,
            ),
            "metadata": {**metadata, WRITE_ID: secrets.token_hex(8)},
            "match_condition": MatchConditions.IfMissing,
        }
        if what.is_content and options.written_tier is not None:
            said["standard_blob_tier"] = options.written_tier
        if (policy := options.immutability(self._clock.now())) is not None:
            said["immutability_policy"] = policy
        if options.encryption_scope:
            said["encryption_scope"] = options.encryption_scope
        return said

    def _blob(self, name: str) -> BlobClient:
        return self._container.get_blob_client(self._below + name)

    async def _found(self, call: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await self.retried(call)
        except NoBlobError:
            return None

    async def _translated(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except FOREIGN as error:
            raise error_from_azure(error, self._place) from error


class _Body:
    """A block as the transport reads it: views, so that a buffer is not copied whole."""

    def __init__(self, block: memoryview) -> None:
        self._block = block

    async def __aiter__(self) -> AsyncGenerator[memoryview, None]:
        for offset in range(0, len(self._block), PIECE_BYTES):
            yield self._block[offset : offset + PIECE_BYTES]
