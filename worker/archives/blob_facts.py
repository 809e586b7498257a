"""What is said of a blob: by us in the one write that makes it, and by the service later."""

import re
from collections.abc import Iterable
from datetime import UTC
from pathlib import PurePosixPath
from urllib.parse import quote

from azure.storage.blob import BlobProperties

from worker import __version__
from worker.model import Stored

_TYPES = {
    ".mp4": "video/mp4",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".json": "application/json",
    ".sha256": "text/plain; charset=utf-8",
}
_NO_TAG = re.compile(r"[^A-Za-z0-9 +\-./:=_]")
"""https://learn.microsoft.com/rest/api/storageservices/set-blob-tags"""
_RECORDING = re.compile(
    r"recordings/(\d{4})/(\d\d)/(\d\d)/([^/]+)/([^/]+)/"
    r"\d{4}-([^/]+?)(?:\.r\d)?\.(?:metadata\.json|[a-z0-9]+)"
)
"""A content or its metadata: day, call, recording, document (worker/names.py)."""
LONGEST_TAG = 256


def content_type(name: str) -> str:
    return _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")


def metadata(name: str, **digests: str) -> dict[str, str]:
    """Digests and identities, in ASCII, as headers carry them."""
    return {"name": quote(name), "worker": __version__, **digests}


def tags(name: str) -> dict[str, str]:
    """What contents can be found by; nothing for what is not a recording's."""
    match = _RECORDING.fullmatch(name)
    if match is None:
        return {}
    year, month, day, call, recording, document = match.groups()
    told = {"day": f"{year}-{month}-{day}", "call": call}
    told |= {"recording": recording, "document": document}
    return {key: _NO_TAG.sub("_", value)[:LONGEST_TAG] for key, value in told.items()}


def stored_from(name: str, properties: BlobProperties) -> Stored:
    """What the archive has under the name, as the service says."""
    return Stored(
        name=name,
        size_bytes=properties.size,
        etag=properties.etag,
        version=properties.version_id,
        last_modified=properties.last_modified.astimezone(UTC),
        protection=dict(_protection(properties)),
    )


def _protection(properties: BlobProperties) -> Iterable[tuple[str, str]]:
    if properties.blob_tier:
        yield "tier", str(properties.blob_tier).lower()
    policy = properties.immutability_policy
    if policy.expiry_time is not None:
        yield "immutable_until", policy.expiry_time.astimezone(UTC).isoformat()
        yield "immutability_mode", str(policy.policy_mode or "").lower()
    if properties.has_legal_hold:
        yield "legal_hold", "true"
    if properties.encryption_scope:
        yield "encryption_scope", properties.encryption_scope
