"""Every setting: its name, default, shape and help, next to each other."""

import os
import re
import socket
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
)

from worker import settings_shapes, storage_places
from worker.settings_process import CHOICE as _CHOICE
from worker.settings_process import ProcessFields
from worker.settings_shapes import Listen
from worker.storage_places import ConnectionString, Place, Service

CONNECTION_STRING = "AZURE_COMMUNICATION_CONNECTION_STRING"
ENDPOINT = "AZURE_COMMUNICATION_ENDPOINT"
STORAGE_CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"
EVENT_GRID_APPLICATIONS = (
    "4962773b-9cdb-44cf-a8bf-237846a00ab7",
    "54316b56-3481-47f9-8f30-0300f5542a7b",
)
"""https://learn.microsoft.com/azure/event-grid/secure-webhook-delivery"""
_NOT_IN_INSTANCE = re.compile(r"[^A-Za-z0-9._-]")


Secrets = Annotated[
    tuple[SecretStr, ...], BeforeValidator(settings_shapes.split_commas)
]
ConnectionStrings = Annotated[
    tuple[SecretStr, ...],
    BeforeValidator(settings_shapes.split_spaces),
    AfterValidator(settings_shapes.check_connection_strings),
]
Commas = Annotated[tuple[str, ...], BeforeValidator(settings_shapes.split_commas)]
SourceHost = Annotated[str, AfterValidator(settings_shapes.check_source_host)]
SourceHosts = Annotated[
    tuple[SourceHost, ...],
    BeforeValidator(settings_shapes.split_commas),
    AfterValidator(settings_shapes.check_any),
]
ArchivePath = Annotated[str, AfterValidator(settings_shapes.check_archive)]
QueuePath = Annotated[str, AfterValidator(settings_shapes.check_queue)]
StorageConnectionString = Annotated[
    SecretStr | None, AfterValidator(settings_shapes.check_storage_connection_string)
]
Endpoints = Annotated[
    tuple[str, ...],
    BeforeValidator(settings_shapes.split_spaces),
    AfterValidator(settings_shapes.check_endpoints),
]
QueueUrl = Annotated[str, AfterValidator(settings_shapes.check_queue_url)]
ContainerUrls = Annotated[Commas, AfterValidator(settings_shapes.check_container_urls)]
TopicEndpoint = Annotated[str, AfterValidator(settings_shapes.check_topic_endpoint)]
Tenant = Annotated[str, AfterValidator(settings_shapes.check_tenant)]
Audiences = Annotated[Commas, AfterValidator(settings_shapes.check_audiences)]
Callers = Annotated[
    Commas,
    AfterValidator(settings_shapes.check_any),
    AfterValidator(settings_shapes.check_callers),
]
ResourceIds = Annotated[Commas, AfterValidator(settings_shapes.check_resource_ids)]
TokenAuthority = Annotated[str, AfterValidator(settings_shapes.check_authority)]
ListenAt = Annotated[Listen, BeforeValidator(settings_shapes.parse_listen)]


def _default_instance() -> str:
    return _NOT_IN_INSTANCE.sub("-", f"{socket.gethostname()[:48]}-{os.getpid()}")


class Fields(ProcessFields):
    """The fields of Settings, each valid by itself; worker/settings.py adds the rules."""

    connection_strings: ConnectionStrings = Field(
        default=(),
        validation_alias=CONNECTION_STRING,
        description="`endpoint=https://NAME/;accesskey=KEY` of the ACS resource; "
        "several, separated by spaces, are chosen by the event's topic",
    )
    endpoints: Endpoints = Field(
        default=(),
        validation_alias=ENDPOINT,
        description="`https://NAME.communication.azure.com` of an ACS resource that is "
        "asked with Entra tokens instead of a key; several, separated by spaces; every "
        "source host must then be named in full",
    )
    storage_connection_string: StorageConnectionString = Field(
        default=None,
        validation_alias=STORAGE_CONNECTION_STRING,
        description="key or SAS of the account that URLs of Azure Storage lead to; a SAS "
        "in a URL goes first; with neither, DefaultAzureCredential (managed or workload "
        "identity, az login)",
    )
    archive: ArchivePath = Field(
        default="file:data/archive",
        repr=False,
        description="`file:PATH`, or the URL of a container with a prefix if wanted; the "
        "default only while every source host is loopback",
    )
    queue: QueuePath = Field(
        default="sqlite:data/queue.db",
        repr=False,
        description="`sqlite:PATH`, or the URL of a Storage Queue; the default only while "
        "every source host is loopback",
    )
    inbox: QueueUrl = Field(
        default="",
        repr=False,
        description="URL of a Storage Queue that Event Grid delivers to, read by `serve` "
        "and `consume`",
    )
    listen: ListenAt = Field(
        default=Listen(host="127.0.0.1", port=8080),
        description="`HOST:PORT` of the webhook",
    )
    webhook_keys: Secrets = Field(
        default=(),
        description="secrets, separated by commas, that a delivery may bear as `?code=` "
        "or `x-functions-key`; several for rotation",
    )
    webhook_auth: Annotated[Literal["required", "none"], _CHOICE] = Field(
        default="required",
        description="`none` must be said aloud to listen beyond loopback without keys "
        "or a tenant",
    )
    webhook_entra_tenant: Tenant = Field(
        default="",
        description="id of the tenant whose tokens (Entra ID) a delivery may bear; "
        "keys suffice as well where there are any",
    )
    webhook_entra_audiences: Audiences = Field(
        default=(),
        description="whom a token must be for, separated by commas: the application's id, "
        "and its `api://` or `https://` URI",
    )
    webhook_entra_callers: Callers = Field(
        default=EVENT_GRID_APPLICATIONS,
        description="applications that may bear one; Event Grid's own (public, and US "
        "government), or the client id of a managed identity that delivers",
    )
    webhook_entra_role: str = Field(
        default="",
        pattern=r"^[\x21-\x7e]{0,120}$",
        description="application role that a token must have, if any",
    )
    webhook_entra_authority: TokenAuthority = Field(
        default="https://login.microsoftonline.com",
        description="who issues the tokens: `https://login.microsoftonline.us`, "
        "`https://login.partner.microsoftonline.cn`",
    )
    callbacks_resources: ResourceIds = Field(
        default=(),
        description="immutable ids of the ACS resources, separated by commas, whose Call "
        "Automation callbacks are taken at `/api/callbacks`; none: there is no such path",
    )
    callbacks_issuer: TokenAuthority = Field(
        default="https://acscallautomation.communication.azure.com",
        description="who signs the callbacks' tokens",
    )
    event_topics: Commas = Field(
        default=(), description="topics to accept, separated by commas; none: any"
    )
    source_hosts: SourceHosts = Field(
        default=(
            ".asm.skype.com",
            ".asyncgw.teams.microsoft.com",
            ".ams.gov.teams.microsoft.us",
        ),
        description="where chunks may lie; a leading dot is a suffix, `127.0.0.1:PORT` "
        "may be plain http",
    )
    source_addresses: Annotated[Literal["public", "any"], _CHOICE] = Field(
        default="public",
        description="where names of source hosts may lead: `public` addresses, or `any` "
        "for a private endpoint; with a proxy, which resolves them, it doesn't matter",
    )
    source_retention_hours: int = Field(
        default=24, ge=1, le=48, description="how long ACS keeps a chunk"
    )
    delete_source: Annotated[
        Literal["after-recording", "after-chunk", "never"], _CHOICE
    ] = Field(
        default="after-recording",
        description="when a proven chunk is deleted at ACS: `after-recording`, "
        "`after-chunk` or `never`",
    )
    verify: Annotated[Literal["read-back", "checksum"], _CHOICE] = Field(
        default="read-back",
        description="how the archive is proven: `read-back`, or `checksum` of each block",
    )
    blob_tier: Annotated[
        Literal["default", "hot", "cool", "cold", "archive"], _CHOICE
    ] = Field(
        default="default",
        description="access tier of contents: `default` (the account's), `hot`, `cool`, "
        "`cold`, or `archive` once they are proven",
    )
    blob_immutable_days: int = Field(
        default=0,
        ge=0,
        le=146_000,
        description="days for which no one may change or remove a blob; 0: no such policy",
    )
    blob_immutable_mode: Annotated[Literal["unlocked", "locked"], _CHOICE] = Field(
        default="unlocked",
        description="`locked` can't be shortened, by nobody; `unlocked` can",
    )
    blob_encryption_scope: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9-]{0,63}$",
        description="encryption scope that contents and metadata are written with",
    )
    blob_tags: Annotated[Literal["auto", "off"], _CHOICE] = Field(
        default="auto",
        description="`auto` puts index tags on contents where that is permitted",
    )
    byos: Annotated[Literal["index", "ignore"], _CHOICE] = Field(
        default="ignore",
        description="recordings that ACS exported to your own storage: `index` proves "
        "them where they lie, `ignore` leaves them",
    )
    byos_containers: ContainerUrls = Field(
        default=(),
        repr=False,
        description="URLs of the containers that `index` may read, separated by commas",
    )
    notify: TopicEndpoint = Field(
        default="",
        description="endpoint of an Event Grid topic that is told of archived recordings, "
        "chunks at risk and dead ones",
    )
    notify_key: SecretStr | None = Field(
        default=None,
        description="access key of that topic; without it DefaultAzureCredential",
    )
    max_chunks: int = Field(default=4, ge=1, le=64, description="chunks at once")
    max_ranges: int = Field(
        default=8, ge=1, le=64, description="ranges at once per chunk"
    )
    block_mib: int = Field(
        default=8, ge=1, le=64, description="size of a range, in MiB"
    )
    memory_mib: int = Field(
        default=256, ge=1, le=65536, description="ceiling on buffered bytes, in MiB"
    )
    lease_seconds: int = Field(
        default=60,
        ge=1,
        le=3600,
        description="how long a silent worker keeps a chunk, or a deferred delivery",
    )
    drain_seconds: int = Field(
        default=25,
        ge=0,
        le=3600,
        description="how long a stop waits for running chunks",
    )
    archive_reserve_mib: int = Field(
        default=512,
        ge=0,
        le=1048576,
        description="free space that chunks leave, in MiB",
    )
    at_risk_hours: int = Field(
        default=6, ge=1, le=48, description="a chunk with less time left is at risk"
    )
    unsafe_storage: Annotated[Literal["refuse", "allow"], _CHOICE] = Field(
        default="refuse",
        description="`allow` keeps a real source's chunks on overlay, tmpfs, NFS or CIFS",
    )
    instance: str = Field(
        default_factory=_default_instance,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="name of this worker in leases, receipts and logs; host and process",
    )

    @property
    def archive_place(self) -> Place | None:
        """The container of the archive; None: it is a directory."""
        is_url = storage_places.is_url(self.archive)
        return storage_places.parse(self.archive, Service.BLOB) if is_url else None

    @property
    def queue_place(self) -> Place | None:
        """The Storage Queue of the chunks; None: it is a file."""
        is_url = storage_places.is_url(self.queue)
        return storage_places.parse(self.queue, Service.QUEUE) if is_url else None

    @property
    def inbox_place(self) -> Place | None:
        return storage_places.parse(self.inbox, Service.QUEUE) if self.inbox else None

    @property
    def places(self) -> dict[str, Place]:
        """Where in Azure Storage our own things lie, by the field that says so."""
        named = {
            "archive": self.archive_place,
            "queue": self.queue_place,
            "inbox": self.inbox_place,
        }
        return {field: place for field, place in named.items() if place}

    @property
    def byos_places(self) -> tuple[Place, ...]:
        """Containers that ACS exports to and that may be read."""
        return tuple(
            storage_places.parse(url, Service.BLOB) for url in self.byos_containers
        )

    @property
    def storage_account(self) -> ConnectionString | None:
        secret = self.storage_connection_string
        if secret is None:
            return None
        return storage_places.parse_connection_string(secret.get_secret_value())

    @property
    def archive_directory(self) -> Path:
        """Where the archive lies if it is a directory."""
        return settings_shapes.path_of(self.archive)

    @property
    def queue_file(self) -> Path:
        """Where the queue lies if it is a file."""
        return settings_shapes.path_of(self.queue)

    @property
    def has_archive(self) -> bool:
        """Whether there is one to be opened; of a container that is taken for granted."""
        return self.archive_place is not None or self.archive_directory.is_dir()

    @property
    def has_queue(self) -> bool:
        """The same of the queue."""
        return self.queue_place is not None or self.queue_file.is_file()

    @property
    def source_retention(self) -> timedelta:
        return timedelta(hours=self.source_retention_hours)

    @property
    def at_risk_within(self) -> timedelta:
        return timedelta(hours=self.at_risk_hours)

    @property
    def is_source_real(self) -> bool:
        """Whether any source host is beyond this machine."""
        return not all(map(settings_shapes.is_loopback_source, self.source_hosts))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret text, for the redaction of logs."""
        whole = [item.get_secret_value() for item in self.connection_strings]
        keys = [settings_shapes.connection_parts(text)["accesskey"] for text in whole]
        webhook = [item.get_secret_value() for item in self.webhook_keys]
        optional = (
            self.storage_connection_string,
            self.notify_key,
            self.application_insights,
        )
        single = [secret.get_secret_value() for secret in optional if secret]
        keys += settings_shapes.instrumentation_keys(self.application_insights)
        return (*whole, *keys, *webhook, *single, *self._storage_secrets())

    def _storage_secrets(self) -> tuple[str, ...]:
        """Keys and signatures as they stand within connection string and URLs."""
        account = self.storage_account
        signatures = [place.sas for place in self.places.values()]
        signatures += [place.sas for place in self.byos_places]
        signatures += [account.sas] if account else []
        parts = [
            part for sas in signatures for part in storage_places.signature_texts(sas)
        ]
        key = account.key if account else ""
        return tuple(filter(None, (key, *signatures, *parts)))
