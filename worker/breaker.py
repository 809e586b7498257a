"""Systemic trouble: when several distinct chunks fail alike, pause what they share.

One state per target (`credential:NAME` or `archive`): closed -> open (paused) -> half-open
(one probe) -> closed. Decisions only; the runner and the consumer act on them. A pause
spends no attempts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from worker.errors import RetryableError
from worker.model import ChunkKey

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=10)
PROBE_PATIENCE = timedelta(seconds=30)
"""A probe may be a chunk of hours; after this another one is let through beside it."""
ARCHIVE = "archive"


@dataclass(slots=True)
class _Target:
    reason: str = ""
    failed: set[ChunkKey] = field(default_factory=set)
    paused_until: datetime | None = None
    paused_at: datetime | None = None
    pause: timedelta = FIRST_PAUSE
    probing_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A target that was paused just now, or resumed after `paused_for`."""

    target: str
    reason: str
    paused_until: datetime | None
    paused_for: timedelta | None


class Breaker:
    """Counts failures by what they share. `now` is the clock's."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._targets: dict[str, _Target] = {}

    def failed(
        self, error: RetryableError, *, key: ChunkKey, resource: str | None
    ) -> Transition | None:
        """Count a failure; returns the transition if it pauses its target (again)."""
        name = _target_of(error, resource)
        self._end_probes(resource, but=name)
        if name is None:
            return None
        target = self._targets.setdefault(name, _Target())
        if target.reason != error.reason:
            # Other trouble: what the target was paused for, if it was, is over.
            target = self._targets[name] = _Target(reason=error.reason)
        is_known = key in target.failed
        target.failed.add(key)
        if target.probing_since is not None:
            target.probing_since = None
            target.pause = min(target.pause * 2, LONGEST_PAUSE)
            # One that failed before the pause too says nothing about the others.
            return None if is_known else self._open(name, target)
        if target.paused_until is None and len(target.failed) >= error.streak:
            return self._open(name, target)
        return None

    def _open(self, name: str, target: _Target) -> Transition:
        now = self._now()
        target.paused_at = target.paused_at or now
        target.paused_until = now + target.pause
        return Transition(
            target=name,
            reason=target.reason,
            paused_until=target.paused_until,
            paused_for=None,
        )

    def succeeded(
        self, *, resource: str | None, source_answered: bool
    ) -> list[Transition]:
        """A chunk went through: the archive works, and the credential if it was used."""
        resumed = []
        worked = _targets_of(resource) if source_answered else (ARCHIVE,)
        for name in worked:
            target = self._targets.pop(name, None)
            if target is not None and target.paused_at is not None:
                paused_for = self._now() - target.paused_at
                resumed.append(
                    Transition(
                        target=name,
                        reason=target.reason,
                        paused_until=None,
                        paused_for=paused_for,
                    )
                )
        return resumed

    def admit(self, *, resource: str | None) -> datetime | None:
        """Ask for leave to work on a chunk: None is leave, else come back then.

        Half-open gives leave to one probe per target.
        """
        now = self._now()
        probes = []
        for name in _targets_of(resource):
            target = self._targets.get(name)
            if target is None or target.paused_until is None:
                continue
            if self._holds(target):
                return max(target.paused_until, now + FIRST_PAUSE / 10)
            probes.append(target)
        for target in probes:
            target.probing_since = now
        return None

    def gave_up_probe(self, *, resource: str | None) -> None:
        """The probe ended without a verdict: drained, or failed in another way."""
        self._end_probes(resource, but=None)

    def _end_probes(self, resource: str | None, *, but: str | None) -> None:
        for name in _targets_of(resource):
            target = self._targets.get(name)
            if target is not None and name != but:
                target.probing_since = None

    def comes_back(
        self, error: RetryableError, *, resource: str | None
    ) -> datetime | None:
        """When a chunk that failed so is due again, if its target is paused or half-open.

        A whole pause after the next half-open, so that its probe is another chunk.
        """
        target = self._targets.get(_target_of(error, resource) or "")
        if target is None or target.paused_until is None:
            return None
        return max(target.paused_until, self._now()) + target.pause

    def paused_resources(self) -> frozenset[str]:
        """Resources whose chunks should not be leased now."""
        prefix = "credential:"
        return frozenset(
            name.removeprefix(prefix)
            for name, target in self._targets.items()
            if name.startswith(prefix) and self._holds(target)
        )

    def paused_scopes(self) -> frozenset[str]:
        """`credential`, `archive`: what has some chunk wait, until one goes through.

        Not for good: a target whose chunks are all gone has nobody left to go through. May be
        asked from another thread.
        """
        return frozenset(
            name.partition(":")[0]
            for name, target in list(self._targets.items())
            if self._holds(target) or self._awaits_probe(target)
        )

    def is_archive_paused(self) -> bool:
        """Whether nothing should be leased at all now."""
        target = self._targets.get(ARCHIVE)
        return target is not None and self._holds(target)

    def is_half_open(self) -> bool:
        """Whether the next chunk of some target would be its probe.

        For a while only: a target whose chunks are all gone has nobody left to probe it.
        """
        return any(map(self._awaits_probe, self._targets.values()))

    def _awaits_probe(self, target: _Target) -> bool:
        if target.paused_until is None or self._holds(target):
            return False
        return self._now() < target.paused_until + 2 * target.pause + PROBE_PATIENCE

    def _holds(self, target: _Target) -> bool:
        if target.paused_until is None:
            return False
        now = self._now()
        since = target.probing_since
        is_probing = since is not None and now < since + PROBE_PATIENCE
        return now < target.paused_until or is_probing


def _targets_of(resource: str | None) -> tuple[str, str]:
    return (f"credential:{resource or ''}", ARCHIVE)


def _target_of(error: RetryableError, resource: str | None) -> str | None:
    """What a failure is shared by, if it is of the systemic kind."""
    credential, archive = _targets_of(resource)
    match error.scope:
        case "archive":
            return archive
        case "credential":
            return credential
        case None:
            return None
