"""What is asked of blobs, and whether it is there."""

from datetime import timedelta

import pytest
from azure.storage.blob import StandardBlobTier

from tests.fakes.clock import START
from worker.archives.blob_options import BlobOptions, Tier

THIRTY_DAYS = BlobOptions(immutable_days=30, immutable_mode="unlocked")
LOCKED = BlobOptions(immutable_days=30, immutable_mode="locked")
ONE_DAY = BlobOptions(immutable_days=1)


def until(days: float, mode: str = "unlocked") -> dict[str, str]:
    at = (START + timedelta(days=days)).isoformat()
    return {"immutable_until": at, "immutability_mode": mode}


@pytest.mark.parametrize(
    ("options", "protection", "unmet"),
    [
        (BlobOptions(), {}, ()),
        (BlobOptions(), {"tier": "hot"}, ()),
        (BlobOptions(tier="cool"), {"tier": "cool"}, ()),
        (BlobOptions(tier="cool"), {"tier": "hot"}, ("tier",)),
        (BlobOptions(tier="cool"), {}, ("tier",)),
        (BlobOptions(tier="archive"), {"tier": "hot"}, ()),
        (BlobOptions(encryption_scope="team"), {"encryption_scope": "team"}, ()),
        (
            BlobOptions(encryption_scope="team"),
            {"encryption_scope": "$account-encryption-key"},
            ("encryption-scope",),
        ),
        (THIRTY_DAYS, {}, ("immutability",)),
        (THIRTY_DAYS, until(30), ()),
        (THIRTY_DAYS, until(28), ()),
        (THIRTY_DAYS, until(20), ("immutability",)),
        (THIRTY_DAYS, until(400), ()),
        (THIRTY_DAYS, until(30, "locked"), ()),
        (THIRTY_DAYS, until(30, "mutable"), ("immutability",)),
        (THIRTY_DAYS, {"immutable_until": START.isoformat()}, ("immutability",)),
        (LOCKED, until(30), ("immutability",)),
        (LOCKED, until(30, "locked"), ()),
        (ONE_DAY, until(0.5), ()),
        (ONE_DAY, until(-0.5), ("immutability",)),
        (
            BlobOptions(tier="cold", immutable_days=1, encryption_scope="team"),
            {},
            ("immutability", "encryption-scope", "tier"),
        ),
    ],
)
def test_unmet_is_what_was_asked_for_and_is_not_there(
    options: BlobOptions, protection: dict[str, str], unmet: tuple[str, ...]
) -> None:
    """More than was asked for is as good; what was not asked for is not missed."""
    assert options.unmet(protection, now=START) == unmet


@pytest.mark.parametrize(
    ("tier", "written"),
    [
        ("default", None),
        ("hot", StandardBlobTier.HOT),
        ("cool", StandardBlobTier.COOL),
        ("cold", StandardBlobTier.COLD),
        ("archive", None),
    ],
)
def test_what_can_not_be_read_back_is_not_written_so(
    tier: Tier, written: StandardBlobTier | None
) -> None:
    """The archive tier comes after the proof."""
    assert BlobOptions(tier=tier).written_tier is written


def test_immutability_is_counted_from_the_write() -> None:
    """Days and mode are as the service has them; none without days."""
    policy = LOCKED.immutability(START)

    assert policy is not None
    assert policy.expiry_time == START + timedelta(days=30)
    assert policy.policy_mode == "Locked"
    assert BlobOptions(immutable_mode="locked").immutability(START) is None
