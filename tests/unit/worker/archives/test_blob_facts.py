"""What is said of blobs in headers: types, metadata and tags."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from azure.storage.blob import BlobProperties

from worker import __version__
from worker.archives import blob_facts

FOLDER = "recordings/2026/03/01/call-1/6721b9a7677e69ca/"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/0000-doc.mp4", "video/mp4"),
        ("a/0000-doc.r2.mp3", "audio/mpeg"),
        ("a/0000-doc.wav", "audio/wav"),
        ("a/0000-doc.bin", "application/octet-stream"),
        ("a/0000-doc.metadata.json", "application/json"),
        ("a/manifest.0001.sha256", "text/plain; charset=utf-8"),
        ("a/no-extension", "application/octet-stream"),
    ],
)
def test_content_type_is_by_extension(name: str, expected: str) -> None:
    """A browser plays a recording that it gets from the container."""
    assert blob_facts.content_type(name) == expected


def test_metadata_are_ascii() -> None:
    """Headers carry nothing else, whatever the name."""
    told = blob_facts.metadata("a/é.mp4", sha256="00")

    assert told == {"name": "a/%C3%A9.mp4", "worker": __version__, "sha256": "00"}


@pytest.mark.parametrize(
    ("name", "document"),
    [
        (f"{FOLDER}0000-0-eus-d1-doc1.mp4", "0-eus-d1-doc1"),
        (f"{FOLDER}0012-0-eus-d1-doc1.r2.mp4", "0-eus-d1-doc1"),
        (f"{FOLDER}0000-0-eus-d1-doc1.metadata.json", "0-eus-d1-doc1"),
        (f"{FOLDER}0000-a.b.c.r2.metadata.json", "a.b.c"),
        (f"{FOLDER}0000-~2c26b46b68ff.mp4", "_2c26b46b68ff"),
    ],
)
def test_tags_find_a_recording(name: str, document: str) -> None:
    """Day, call, recording and document, in characters that tags may have."""
    assert blob_facts.tags(name) == {
        "day": "2026-03-01",
        "call": "call-1",
        "recording": "6721b9a7677e69ca",
        "document": document,
    }


@pytest.mark.parametrize(
    "name",
    [f"{FOLDER}manifest.0001.json", "receipts/aa/doc.json", "announced/x", "a.mp4"],
)
def test_other_objects_have_no_tags(name: str) -> None:
    """Tags cost money for each: only contents and their metadata have them."""
    assert blob_facts.tags(name) == {}


def properties(**more: Any) -> BlobProperties:
    """As the SDK makes them of an answer's headers."""
    at = datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1)))
    headers = {"Content-Length": 4, "ETag": '"0x1"', "Last-Modified": at, **more}
    return BlobProperties(**headers)


def test_stored_is_what_the_service_says() -> None:
    """Sizes, etags and versions as they are; times in UTC."""
    found = properties(**{"x-ms-version-id": "2026-03-01T12:00:00.0000000Z"})

    stored = blob_facts.stored_from("a/b", found)

    assert (stored.name, stored.size_bytes, stored.etag) == ("a/b", 4, '"0x1"')
    assert stored.version == "2026-03-01T12:00:00.0000000Z"
    assert stored.last_modified == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert stored.last_modified.tzinfo is UTC
    assert stored.protection == {}


def test_protection_is_what_the_service_says() -> None:
    """Tier, policy, hold and scope as the headers of an answer have them."""
    until = datetime(2036, 3, 1, 12, tzinfo=UTC)
    found = properties(
        **{
            "x-ms-access-tier": "Cool",
            "x-ms-immutability-policy-until-date": until,
            "x-ms-immutability-policy-mode": "unlocked",
            "x-ms-legal-hold": True,
            "x-ms-encryption-scope": "team",
        }
    )

    assert blob_facts.stored_from("a/b", found).protection == {
        "tier": "cool",
        "immutable_until": "2036-03-01T12:00:00+00:00",
        "immutability_mode": "unlocked",
        "legal_hold": "true",
        "encryption_scope": "team",
    }
