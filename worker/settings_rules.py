"""Rules over several settings, by what the settings are wanted for.

The defaults can't destroy: the embedded archive and queue stand in only while every source
host is loopback, and storage that can vanish is refused for a real source.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from worker import filesystems, settings_shapes
from worker.settings_fields import (
    CONNECTION_STRING,
    ENDPOINT,
    STORAGE_CONNECTION_STRING,
    Fields,
    variable,
)


class Use(StrEnum):
    """What the settings are wanted for; decides which rules apply."""

    READ = "read"
    WEBHOOK = "webhook"
    CONSUME = "consume"
    SERVE = "serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """One rule over several fields; skipped when one of them has no valid value."""

    reads: frozenset[str]
    uses: frozenset[Use]
    check: Callable[[Fields], list[str]]


def problems(settings: Fields, *, use: Use, invalid: Collection[str]) -> list[str]:
    rules = [
        rule for rule in _RULES if use in rule.uses and rule.reads.isdisjoint(invalid)
    ]
    return [line for rule in rules for line in rule.check(settings)]


def _memory_problems(settings: Fields) -> list[str]:
    if settings.memory_mib >= settings.block_mib:
        return []
    block = f"WORKER_BLOCK_MIB is {settings.block_mib}"
    return [f"WORKER_MEMORY_MIB: {settings.memory_mib} holds not one block; {block}"]


def _listen_problems(settings: Fields) -> list[str]:
    guarded = settings.webhook_keys or settings.webhook_auth == "none"
    if guarded or settings_shapes.is_loopback(settings.listen.host):
        return []
    why = f"must be set to listen beyond loopback ({settings.listen})"
    return [f"WORKER_WEBHOOK_KEYS: {why}, or say WORKER_WEBHOOK_AUTH=none"]


def _embedded_problems(settings: Fields) -> list[str]:
    if not settings.is_source_real:
        return []
    unset = [f for f in ("archive", "queue") if f not in settings.model_fields_set]
    why = "must be set, as WORKER_SOURCE_HOSTS goes beyond loopback"
    return [f"{variable(field)}: {why}" for field in unset]


def _storage_problems(settings: Fields) -> list[str]:
    if not settings.is_source_real or settings.unsafe_storage == "allow":
        return []
    mounts = filesystems.read_mountinfo()
    places = {
        "archive": None if settings.archive_place else settings.archive_directory,
        "queue": None if settings.queue_place else settings.queue_file,
    }
    chosen = {
        name: at
        for name, at in places.items()
        if at and name in settings.model_fields_set
    }
    whys = {name: filesystems.why_unsafe(at, mounts) for name, at in chosen.items()}
    hint = "mount a disk there, or say WORKER_UNSAFE_STORAGE=allow"
    return [f"{variable(name)}: {why}; {hint}" for name, why in whys.items() if why]


def _account_problems(settings: Fields) -> list[str]:
    """A key is sent to its own account alone; a URL with a signature needs none."""
    account = settings.storage_account
    if account is None:
        return []
    places = {
        "archive": settings.archive_place,
        "queue": settings.queue_place,
        "inbox": settings.inbox_place,
    }
    return [
        f"{variable(name)}: is of the account {place.account!r},"
        f" {STORAGE_CONNECTION_STRING} of {account.account or 'another'!r}"
        for name, place in places.items()
        if place and not place.sas and not account.is_of(place)
    ]


def _protection_problems(settings: Fields) -> list[str]:
    """What only a container can give is not promised for a directory."""
    if settings.archive_place:
        return []
    asked = {
        "blob_tier": settings.blob_tier != "default",
        "blob_immutable_days": settings.blob_immutable_days > 0,
        "blob_encryption_scope": bool(settings.blob_encryption_scope),
    }
    why = "needs WORKER_ARCHIVE to be the URL of a container"
    return [f"{variable(name)}: {why}" for name, is_asked in asked.items() if is_asked]


def _byos_problems(settings: Fields) -> list[str]:
    if settings.byos == "ignore" or settings.byos_containers:
        return []
    return ["WORKER_BYOS_CONTAINERS: must be set for WORKER_BYOS=index"]


def _credential_problems(settings: Fields) -> list[str]:
    if settings.connection_strings or settings.endpoints:
        return []
    return [f"{CONNECTION_STRING}: must be set, or {ENDPOINT}"]


def _token_problems(settings: Fields) -> list[str]:
    """A token is good for all who get to see it: it goes to hosts named in full."""
    suffixes = [host for host in settings.source_hosts if host.startswith(".")]
    if not settings.endpoints or not suffixes:
        return []
    why = f"each host must be named in full with {ENDPOINT}, not by {suffixes[0]!r}"
    return [f"WORKER_SOURCE_HOSTS: {why}"]


_CONSUMING = frozenset({Use.CONSUME, Use.SERVE})
_LISTENING = frozenset({Use.WEBHOOK, Use.SERVE})
_WRITING = _CONSUMING | _LISTENING
_RULES = (
    _Rule(
        reads=frozenset({"memory_mib", "block_mib"}),
        uses=frozenset(Use),
        check=_memory_problems,
    ),
    _Rule(
        reads=frozenset({"listen", "webhook_keys", "webhook_auth"}),
        uses=_LISTENING,
        check=_listen_problems,
    ),
    _Rule(
        reads=frozenset({"source_hosts", "archive", "queue"}),
        uses=_WRITING,
        check=_embedded_problems,
    ),
    _Rule(
        reads=frozenset({"source_hosts", "archive", "queue", "unsafe_storage"}),
        uses=_WRITING,
        check=_storage_problems,
    ),
    _Rule(
        reads=frozenset({"storage_connection_string", "archive", "queue", "inbox"}),
        uses=frozenset(Use),
        check=_account_problems,
    ),
    _Rule(
        reads=frozenset(
            {"archive", "blob_tier", "blob_immutable_days", "blob_encryption_scope"}
        ),
        uses=_WRITING,
        check=_protection_problems,
    ),
    _Rule(
        reads=frozenset({"byos", "byos_containers"}),
        uses=_WRITING,
        check=_byos_problems,
    ),
    _Rule(
        reads=frozenset({"connection_strings", "endpoints"}),
        uses=_CONSUMING,
        check=_credential_problems,
    ),
    _Rule(
        reads=frozenset({"endpoints", "source_hosts"}),
        uses=_CONSUMING,
        check=_token_problems,
    ),
)
