"""Bring your own storage: chunks that ACS exported to a container of the user's own.

Such a chunk is hashed where it lies and gets its receipt; it is neither copied nor ever
deleted, and what goes there is never a credential of ACS. An export that failed lies at the
source and is a chunk like any other.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NoReturn, Protocol
from urllib.parse import urlsplit

from worker import evidence
from worker.attempt import AttemptLog
from worker.errors import (
    ExportNotFoundError,
    HostNotAllowedError,
    SourceAnswerError,
)
from worker.evidence import MetadataFacts
from worker.model import Chunk, ReadBack, Stored
from worker.stored import ProvenObject, blocks_sha256

STORAGE_TYPE = "azureblob"
IN_PLACE = "in-place"
"""How such an object is verified."""
_BLOB_HOST = re.compile(
    r"[a-z0-9]+(?:-secondary)?(?:\.z[0-9]{1,2})?\.blob(?:\.[a-z0-9-]+){2,}", re.ASCII
)
_OF_LOCATIONS = frozenset(
    {
        "document-id-missing",
        "content-not-of-document",
        "content-of-unknown-form",
        "metadata-not-announced",
        "metadata-not-of-document",
        "metadata-of-unknown-form",
    }
)
"""Flags that doubt what a delete would take: here nothing is deleted, and the form of
locations in the user's storage is not documented."""
CheckLocation = Callable[[str], object]
"""Raises HostNotAllowedError for what does not lie at the source."""


class Exports(Protocol):
    """The user's containers. What lies there is named by its URL, without a query.

    Errors: Export…Error, SourceUnavailableError, ThrottledError, SourceChangedError; none of
    them speaks against a credential of ACS or against the archive.
    """

    def name_of(self, location: str) -> str:
        """The name of what lies at a location, or HostNotAllowedError, before anything is
        sent there: only containers that the user listed are read.
        """
        ...

    async def stat(self, name: str) -> Stored | None: ...

    async def read_range(
        self, name: str, offset: int, length: int, *, etag: str | None
    ) -> bytes:
        """Return bytes [offset, offset + length) of the blob that has this etag.

        Raises SourceChangedError if it has another by now.
        """
        ...

    async def read_back(self, stored: Stored, *, block_bytes: int) -> ReadBack:
        """Read the whole blob, as it was when it was looked at, and hash it."""
        ...


@dataclass(frozen=True, slots=True)
class NoExports:
    """Nothing may be read."""

    def name_of(self, location: str) -> NoReturn:
        try:
            parts = urlsplit(location)
            host = (
                parts.hostname
                if parts.port is None
                else f"{parts.hostname}:{parts.port}"
            )
        except ValueError:
            raise HostNotAllowedError("location is not a URL") from None
        raise HostNotAllowedError(
            f"{host} is not an allowed source host (WORKER_SOURCE_HOSTS), nor is"
            " WORKER_BYOS=index"
        )

    async def stat(self, name: str) -> Stored | None:
        self.name_of(name)

    async def read_range(self, name: str, *_: object, **__: object) -> bytes:
        self.name_of(name)

    async def read_back(self, stored: Stored, **_: object) -> ReadBack:
        self.name_of(stored.name)


NO_EXPORTS = NoExports()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """Reads ranges of one blob as it was when it was proven; satisfies evidence.RangeReader."""

    exports: Exports
    etag: str | None

    async def read_range(self, name: str, offset: int, length: int) -> bytes:
        return await self.exports.read_range(name, offset, length, etag=self.etag)


def is_exported(chunk: Chunk, location: str, check: CheckLocation) -> bool:
    """Whether a location of the chunk is said to be the user's own, and not at the source."""
    if (chunk.announcement.storage_type or "").casefold() != STORAGE_TYPE:
        return False
    try:
        check(location)
    except HostNotAllowedError:
        return True
    return False


def is_left_alone(
    chunk: Chunk, check: CheckLocation, *, hosts: Collection[str]
) -> bool:
    """Whether a chunk lies in the user's storage for certain, so that it needs no worker.

    For certain: on a host of Azure's blob storage, or on one of `hosts`. An unknown host may
    be a new one of the source, where the chunk has a day to live: that is never passed over.
    """
    location = chunk.content_location
    if not is_exported(chunk, location, check):
        return False
    try:
        parts = urlsplit(location)
    except ValueError:
        return False
    is_blobs = parts.scheme == "https" and _BLOB_HOST.fullmatch(parts.hostname or "")
    return bool(is_blobs) or parts.netloc.casefold() in hosts


async def prove(
    exports: Exports, location: str, *, block_bytes: int, log: AttemptLog
) -> ProvenObject:
    """Hash what lies at a location, where it lies."""
    name = exports.name_of(location)
    with log.timed("index"), log.step("index"):
        stored = await exports.stat(name)
        if stored is None:
            raise ExportNotFoundError(f"there is no blob {name!r}")
        if not stored.size_bytes:
            raise SourceAnswerError(f"the blob {name!r} has 0 bytes")
        read_back = await exports.read_back(stored, block_bytes=block_bytes)
    log.stats.bytes += read_back.size_bytes
    return ProvenObject(
        name=name,
        size_bytes=read_back.size_bytes,
        sha256=read_back.sha256,
        block_bytes=block_bytes,
        blocks_sha256=blocks_sha256(read_back.blocks),
        verified=IN_PLACE,
        etag=stored.etag,
        version=stored.version,
        last_modified=stored.last_modified,
        protection=stored.protection,
        source_host=urlsplit(name).netloc,
        source_date=None,
        source_last_modified=None,
        source_headers={},
    )


async def still_holds(exports: Exports, proven: ProvenObject) -> bool:
    """Whether the very blob that was proven is still there, and no newer one."""
    stored = await exports.stat(proven.name)
    if stored is None:
        return False
    return (stored.etag, stored.size_bytes) == (proven.etag, proven.size_bytes)


def flags(chunk: Chunk, metadata: MetadataFacts | None) -> list[str]:
    """What an auditor should know of an exported chunk, beside its structure."""
    doubts = evidence.identity_flags(chunk, metadata)
    return [doubt for doubt in doubts if doubt not in _OF_LOCATIONS]
