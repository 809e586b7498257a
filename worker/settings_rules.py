"""Rules over several settings, by what the settings are wanted for.

The defaults can't destroy: the embedded archive and queue stand in only while every source
host is loopback, and storage that can vanish is refused for a real source.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from worker import filesystems, settings_shapes
from worker.settings_fields import CONNECTION_STRING, Fields, variable

ENDPOINT = "AZURE_COMMUNICATION_ENDPOINT"


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
    places = {"archive": settings.archive_directory, "queue": settings.queue_file}
    chosen = {
        name: at for name, at in places.items() if name in settings.model_fields_set
    }
    whys = {name: filesystems.why_unsafe(at, mounts) for name, at in chosen.items()}
    hint = "mount a disk there, or say WORKER_UNSAFE_STORAGE=allow"
    return [f"{variable(name)}: {why}; {hint}" for name, why in whys.items() if why]


def _credential_problems(settings: Fields) -> list[str]:
    missing = not settings.connection_strings
    return [f"{CONNECTION_STRING}: must be set"] if missing else []


def endpoint_problems(texts: Mapping[str, str], *, use: Use) -> list[str]:
    if use not in _CONSUMING or ENDPOINT not in texts or CONNECTION_STRING in texts:
        return []
    return [f"{ENDPOINT}: signing with an Entra token is not in this version"]


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
        reads=frozenset({"connection_strings"}),
        uses=_CONSUMING,
        check=_credential_problems,
    ),
)
