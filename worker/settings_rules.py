"""Rules over several settings, by what the settings are wanted for.

The defaults can't destroy: the embedded archive and queue stand in only while every source
host is loopback, and storage that can vanish is refused for a real source.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from worker import filesystems, settings_shapes, storage_places
from worker.settings_fields import (
    CONNECTION_STRING,
    ENDPOINT,
    STORAGE_CONNECTION_STRING,
    Fields,
)
from worker.settings_process import variable


class Use(StrEnum):
    """What the settings are wanted for; decides which rules apply."""

    READ = "read"
    WEBHOOK = "webhook"
    CONSUME = "consume"
    SERVE = "serve"
    ACS = "acs"
    ACS_MEDIA = "acs-media"


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
    asked_for = settings.webhook_keys or settings.webhook_entra_tenant
    guarded = asked_for or settings.webhook_auth == "none"
    if guarded or settings_shapes.is_loopback(settings.listen.host):
        return []
    why = f"must be set to listen beyond loopback ({settings.listen})"
    other = "WORKER_WEBHOOK_ENTRA_TENANT"
    return [f"WORKER_WEBHOOK_KEYS: {why}, or {other}, or say WORKER_WEBHOOK_AUTH=none"]


def _entra_problems(settings: Fields) -> list[str]:
    """A tenant's tokens are for many: those for us are named, and nothing stands alone."""
    tenant = "WORKER_WEBHOOK_ENTRA_TENANT"
    if settings.webhook_entra_tenant:
        if settings.webhook_entra_audiences:
            return []
        return [f"WORKER_WEBHOOK_ENTRA_AUDIENCES: must be set with {tenant}"]
    alone = [name for name in _ENTRA if name in settings.model_fields_set]
    return [f"{variable(name)}: does nothing without {tenant}" for name in alone]


def _callback_problems(settings: Fields) -> list[str]:
    is_alone = "callbacks_issuer" in settings.model_fields_set
    if settings.callbacks_resources or not is_alone:
        return []
    return ["WORKER_CALLBACKS_ISSUER: does nothing without WORKER_CALLBACKS_RESOURCES"]


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
    return [
        f"{variable(name)}: is at {place.account_url}, {STORAGE_CONNECTION_STRING} is for"
        f" {account.endpoints[place.service] or f'no {place.service} endpoint'}"
        for name, place in settings.places.items()
        if not place.sas and not account.is_of(place)
    ]


def _plain_problems(settings: Fields) -> list[str]:
    """The SDK sends no token over http; it would say so at every request."""
    account = settings.storage_account
    asked = [] if account else list(settings.places.items())
    asked += [
        ("byos_containers", place)
        for place in settings.byos_places
        if account is None or not account.is_of(place)
    ]
    why = (
        f"must be https where {STORAGE_CONNECTION_STRING} is not for, as tokens need it"
    )
    return [
        f"{variable(name)}: {why}"
        for name, place in asked
        if place.is_plain_http and not place.sas
    ]


def _shared_problems(settings: Fields) -> list[str]:
    """Workers that share a queue must find its deliveries and receipts in one archive."""
    is_safe = not settings.is_source_real or settings.unsafe_storage == "allow"
    if is_safe or settings.archive_place or not settings.queue_place:
        return []
    why = "must be the URL of a container where WORKER_QUEUE is a Storage Queue"
    return [f"WORKER_ARCHIVE: {why}, or say WORKER_UNSAFE_STORAGE=allow"]


def _inbox_problems(settings: Fields) -> list[str]:
    """What is read as deliveries may not be what our chunks wait in."""
    queue, inbox = settings.queue_place, settings.inbox_place
    if not queue or not inbox or queue.account_url != inbox.account_url:
        return []
    ours = {queue.name, f"{queue.name}-urgent", f"{queue.name}-poison"}
    theirs = {inbox.name, f"{inbox.name}-poison"}
    if ours.isdisjoint(theirs):
        return []
    return ["WORKER_INBOX: must be another queue than WORKER_QUEUE and those beside it"]


def _protection_problems(settings: Fields) -> list[str]:
    """What only a container can give is not promised for a directory."""
    if settings.blob_immutable_mode == "locked" and not settings.blob_immutable_days:
        why = "locks nothing without WORKER_BLOB_IMMUTABLE_DAYS"
        return [f"WORKER_BLOB_IMMUTABLE_MODE: {why}"]
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


def _notify_problems(settings: Fields) -> list[str]:
    if settings.notify_key or not settings.notify.startswith("http:"):
        return []
    return ["WORKER_NOTIFY_KEY: must be set for a topic that is not https"]


def _credential_problems(settings: Fields) -> list[str]:
    if settings.connection_strings or settings.endpoints:
        return []
    return [f"{CONNECTION_STRING}: must be set, or {ENDPOINT} to sign with tokens"]


def _resource_problems(settings: Fields) -> list[str]:
    """A topic names a resource by the first label of its host: it must choose one of ours."""
    keys = [secret.get_secret_value() for secret in settings.connection_strings]
    named = [
        *(settings_shapes.connection_parts(text)["endpoint"] for text in keys),
        *settings.endpoints,
    ]
    counted = Counter(map(settings_shapes.acs_resource, named))
    twice = [resource for resource, count in counted.items() if count > 1]
    what = f"is named twice in {CONNECTION_STRING} and {ENDPOINT}"
    return [f"{ENDPOINT}: the resource {resource!r} {what}" for resource in twice]


def _token_problems(settings: Fields) -> list[str]:
    """A token is good for all who get to see it: it goes to hosts named in full."""
    suffixes = [host for host in settings.source_hosts if host.startswith(".")]
    if not settings.endpoints or not suffixes:
        return []
    why = f"each host must be named in full with {ENDPOINT}, not by {suffixes[0]!r}"
    return [f"WORKER_SOURCE_HOSTS: {why}"]


def signature_warnings(settings: Fields, *, now: datetime) -> list[str]:
    """Say which signatures are over: no reason to end, for a new one may be on its way."""
    account = settings.storage_account
    signed = {variable(name): place.sas for name, place in settings.places.items()}
    signed[STORAGE_CONNECTION_STRING] = account.sas if account else ""
    if settings.byos == "index":
        exports = variable("byos_containers")
        signed |= {f"{exports} ({at.url})": at.sas for at in settings.byos_places}
    ends = {name: storage_places.signature_ends_at(sas) for name, sas in signed.items()}
    return [
        f"{name}: its shared access signature expired at {at:%F %TZ}"
        for name, at in ends.items()
        if at and at <= now
    ]


_ENTRA = (
    *("webhook_entra_audiences", "webhook_entra_callers"),
    *("webhook_entra_role", "webhook_entra_authority"),
)
_CONSUMING = frozenset({Use.CONSUME, Use.SERVE})
_READING_ACS = _CONSUMING | {Use.ACS_MEDIA}
_ASKING_ACS = _READING_ACS | {Use.ACS}
_LISTENING = frozenset({Use.WEBHOOK, Use.SERVE})
_WRITING = _CONSUMING | _LISTENING
_STORAGE = frozenset({"storage_connection_string", "archive", "queue", "inbox"})
_RULES = (
    _Rule(
        reads=frozenset({"memory_mib", "block_mib"}),
        uses=frozenset(Use),
        check=_memory_problems,
    ),
    _Rule(
        reads=frozenset(
            {"listen", "webhook_keys", "webhook_auth", "webhook_entra_tenant"}
        ),
        uses=_LISTENING,
        check=_listen_problems,
    ),
    _Rule(
        reads=frozenset({"webhook_entra_tenant", *_ENTRA}),
        uses=_LISTENING,
        check=_entra_problems,
    ),
    _Rule(
        reads=frozenset({"callbacks_resources", "callbacks_issuer"}),
        uses=_LISTENING,
        check=_callback_problems,
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
        reads=_STORAGE,
        uses=frozenset(Use),
        check=_account_problems,
    ),
    _Rule(
        reads=_STORAGE | {"byos_containers"},
        uses=frozenset(Use),
        check=_plain_problems,
    ),
    _Rule(
        reads=frozenset({"source_hosts", "archive", "queue", "unsafe_storage"}),
        uses=_WRITING,
        check=_shared_problems,
    ),
    _Rule(
        reads=frozenset({"queue", "inbox"}),
        uses=_CONSUMING,
        check=_inbox_problems,
    ),
    _Rule(
        reads=frozenset(
            {
                *("archive", "blob_tier", "blob_encryption_scope"),
                *("blob_immutable_days", "blob_immutable_mode"),
            }
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
        reads=frozenset({"notify", "notify_key"}),
        uses=_CONSUMING,
        check=_notify_problems,
    ),
    _Rule(
        reads=frozenset({"connection_strings", "endpoints"}),
        uses=_ASKING_ACS,
        check=_credential_problems,
    ),
    _Rule(
        reads=frozenset({"connection_strings", "endpoints"}),
        uses=_ASKING_ACS,
        check=_resource_problems,
    ),
    _Rule(
        reads=frozenset({"endpoints", "source_hosts"}),
        uses=_READING_ACS,
        check=_token_problems,
    ),
)
