"""A proxy before Azurite that knows what Azurite doesn't: legal holds, policies, versions.

It answers as the service's documents say; nothing here is from a real account.
https://learn.microsoft.com/rest/api/storageservices/set-blob-legal-hold
https://learn.microsoft.com/rest/api/storageservices/list-blobs
https://learn.microsoft.com/rest/api/storageservices/delete-blob
"""

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import unquote

from aiohttp import web
from yarl import URL

from tests.storage_proxy import (
    _NO_DEFAULTS,
    StorageProxy,
    _end_to_end,
    _refusal,
    _seen,
)
from tests.storage_proxy import Fault as Refusal

_BLOB = re.compile(r"<Blob><Name>(?P<name>[^<]*)</Name>.*?</Blob>", re.DOTALL)


class WormProxy(StorageProxy):
    """Names are whole: with the archive's prefix, without the container."""

    def __init__(self, service_url: str) -> None:
        super().__init__(service_url)
        self.there: set[str] = set()
        """Names of blobs that were made through it."""
        self.held: set[str] = set()
        self.locked: dict[str, datetime] = {}
        self.deaf: set[str] = set()
        """Names that take a hold and don't have it: what is read back counts."""
        self.versions: dict[str, list[str]] = {}
        """Versions that are not current, by name."""
        self.soft_days = 0
        """How long soft delete keeps a version."""

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = _seen(request, self._account)
        name = unquote(seen.path).partition("/")[2]
        if seen.query.get("comp") == "legalhold":
            self.seen.append(seen)
            return self._hold(request, name)
        if seen.operation == "delete":
            self.seen.append(seen)
            return await self._delete(request, name, seen.query.get("versionid", ""))
        if seen.operation in {"head", "list"}:
            self.seen.append(seen)
            return await self._told(request, name, is_list=seen.operation == "list")
        if seen.operation in {"put", "commit"}:
            self.there.add(name)
        return await super()._handle(request)

    def _hold(self, request: web.BaseRequest, name: str) -> web.Response:
        if name not in self.there:
            return _refusal(request, Refusal.status(404, "BlobNotFound"))
        wanted = request.headers["x-ms-legal-hold"] == "true"
        self.held = self.held | {name} if wanted else self.held - {name}
        return web.Response(headers={"x-ms-legal-hold": str(wanted).lower()})

    async def _delete(
        self, request: web.BaseRequest, name: str, version: str
    ) -> web.StreamResponse:
        if name in self.held:
            refusal = Refusal.status(409, "BlobImmutableDueToLegalHold")
            return _refusal(request, refusal)
        if name in self.locked:
            return _refusal(request, Refusal.status(409, "BlobImmutableDueToPolicy"))
        if version:
            self.versions[name].remove(version)
            return web.Response(status=202)
        return await self._pass_on(request, _seen(request, self._account))

    async def _told(
        self, request: web.BaseRequest, name: str, *, is_list: bool
    ) -> web.Response:
        """What Azurite says, and what it doesn't know."""
        answer = await self._ask(request)
        headers = _end_to_end(answer.headers)
        if not is_list:
            if name in self.held - self.deaf:
                headers["x-ms-legal-hold"] = "true"
            return web.Response(status=answer.status, headers=headers)
        headers.pop("Content-Length", None)
        text = _BLOB.sub(self._described, answer.text)
        text = text.replace("</Blobs>", f"{self._old(request)}</Blobs>")
        text = text.replace("<Blobs/>", f"<Blobs>{self._old(request)}</Blobs>")
        return web.Response(status=answer.status, headers=headers, text=text)

    def _described(self, blob: re.Match[str]) -> str:
        name, more = blob["name"], ""
        if name in self.held - self.deaf:
            more += "<LegalHold>true</LegalHold>"
        if name in self.locked:
            until = format_datetime(self.locked[name], usegmt=True)
            more += (
                f"<ImmutabilityPolicyUntilDate>{until}</ImmutabilityPolicyUntilDate>"
                "<ImmutabilityPolicyMode>unlocked</ImmutabilityPolicyMode>"
            )
        return blob[0].replace("</Properties>", f"{more}</Properties>")

    def _old(self, request: web.BaseRequest) -> str:
        """Versions that are not current: the service lists them beside the blob."""
        prefix = request.query.get("prefix", "")
        soft = (
            (
                "<Deleted>true</Deleted>",
                f"<RemainingRetentionDays>{self.soft_days}</RemainingRetentionDays>",
            )
            if self.soft_days
            else ("", "")
        )
        return "".join(
            f"<Blob><Name>{name}</Name>{soft[0]}<VersionId>{version}</VersionId>"
            f"<Properties><BlobType>BlockBlob</BlobType>"
            f"<Content-Length>1</Content-Length>{soft[1]}</Properties></Blob>"
            for name, versions in self.versions.items()
            for version in versions
            if name.startswith(prefix)
        )

    async def _ask(self, request: web.BaseRequest) -> "_Answer":
        url = URL(self._to + request.raw_path, encoded=True)
        async with self._session.request(
            request.method,
            url,
            headers=_end_to_end(request.headers),
            skip_auto_headers=_NO_DEFAULTS,
        ) as answer:
            headers = dict(answer.headers)
            return _Answer(
                status=answer.status, headers=headers, text=await answer.text()
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    headers: dict[str, str]
    text: str
