"""What an operator asks of every blob: tier, protection, tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from azure.storage.blob import ImmutabilityPolicy, StandardBlobTier

Tier = Literal["default", "hot", "cool", "cold", "archive"]
_WRITTEN_TIERS: dict[str, StandardBlobTier] = {
    "hot": StandardBlobTier.HOT,
    "cool": StandardBlobTier.COOL,
    "cold": StandardBlobTier.COLD,
}
"""Not `archive`, which can't be read back: it comes after the proof."""
_LONGEST_LOOK_LATER = timedelta(days=3)
"""A blob may be looked at again as long as its chunk lives; its policy counts from the write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobOptions:
    """As the settings have them; the defaults ask for nothing."""

    tier: Tier = "default"
    immutable_days: int = 0
    immutable_mode: Literal["unlocked", "locked"] = "unlocked"
    encryption_scope: str = ""
    tags: Literal["auto", "off"] = "auto"

    @property
    def written_tier(self) -> StandardBlobTier | None:
        """The tier that contents are written with."""
        return _WRITTEN_TIERS.get(self.tier)

    @property
    def is_archived_when_proven(self) -> bool:
        return self.tier == "archive"

    def immutability(self, now: datetime) -> ImmutabilityPolicy | None:
        """The policy for a blob that is written now."""
        if not self.immutable_days:
            return None
        return ImmutabilityPolicy(
            expiry_time=now + timedelta(days=self.immutable_days),
            policy_mode=self.immutable_mode.capitalize(),
        )

    def unmet(self, protection: Mapping[str, str], *, now: datetime) -> Sequence[str]:
        """What was asked for and isn't there, by name."""
        scope, tier = self.encryption_scope, self.written_tier
        checks = {
            "immutability": self._is_immutable(protection, now),
            "encryption-scope": not scope
            or protection.get("encryption_scope") == scope,
            "tier": tier is None or protection.get("tier") == self.tier,
        }
        return tuple(name for name, is_met in checks.items() if not is_met)

    def _is_immutable(self, protection: Mapping[str, str], now: datetime) -> bool:
        if not self.immutable_days:
            return True
        until = protection.get("immutable_until")
        modes = {"locked", self.immutable_mode}  # locked is more than unlocked
        if until is None or protection.get("immutability_mode") not in modes:
            return False
        left = datetime.fromisoformat(until) - now
        least = timedelta(days=self.immutable_days) - _LONGEST_LOOK_LATER
        return left >= max(least, timedelta())
