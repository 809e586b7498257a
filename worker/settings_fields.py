"""Every setting: its name, default, shape and help, next to each other."""

import os
import re
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasGenerator,
    BeforeValidator,
    Field,
    SecretStr,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker import settings_shapes, settings_sources
from worker.settings_shapes import Listen

CONNECTION_STRING = "AZURE_COMMUNICATION_CONNECTION_STRING"
_NOT_IN_INSTANCE = re.compile(r"[^A-Za-z0-9._-]")
_CHOICE = BeforeValidator(lambda text: text.strip().casefold())


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
ListenAt = Annotated[Listen, BeforeValidator(settings_shapes.parse_listen)]


def variable(field_name: str) -> str:
    return f"{settings_sources.PREFIX}{field_name.upper()}"


def _default_instance() -> str:
    return _NOT_IN_INSTANCE.sub("-", f"{socket.gethostname()[:48]}-{os.getpid()}")


class Fields(BaseSettings):
    """The fields of Settings, each valid by itself; worker/settings.py adds the rules."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=variable),
    )

    connection_strings: ConnectionStrings = Field(
        default=(),
        validation_alias=CONNECTION_STRING,
        description="`endpoint=https://NAME/;accesskey=KEY` of the ACS resource; "
        "several, separated by spaces, are chosen by the event's topic",
    )
    archive: ArchivePath = Field(
        default="file:data/archive",
        description="`file:PATH`; the default only while every source host is loopback",
    )
    queue: QueuePath = Field(
        default="sqlite:data/queue.db",
        description="`sqlite:PATH`; the default only while every source host is loopback",
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
        description="`none` must be said aloud to listen beyond loopback without keys",
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
        default=60, ge=1, le=3600, description="how long a silent worker keeps a chunk"
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
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _CHOICE] = Field(
        default="info", description="`debug`, `info`, `warning` or `error`"
    )
    log_format: Annotated[Literal["auto", "json", "console"], _CHOICE] = Field(
        default="auto", description="`json`, `console`, or `auto`: json off a terminal"
    )
    instance: str = Field(
        default_factory=_default_instance,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="name of this worker in leases, receipts and logs; host and process",
    )

    @property
    def archive_directory(self) -> Path:
        return settings_shapes.path_of(self.archive)

    @property
    def queue_file(self) -> Path:
        return settings_shapes.path_of(self.queue)

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
        return (*whole, *keys, *webhook)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One setting for people: README and `config` show the same."""

    variable: str
    default: str
    help: str
    is_secret: bool


def described() -> list[Described]:
    """All settings, in order."""
    return [_described(field) for field in Fields.model_fields.values()]


def _described(field: FieldInfo) -> Described:
    limits = {
        name: getattr(limit, name)
        for limit in field.metadata
        for name in ("ge", "le")
        if hasattr(limit, name)
    }
    between = " ({ge} to {le})".format(**limits) if limits else ""
    return Described(
        variable=str(field.validation_alias),
        default=_default_text(field),
        help=f"{field.description}{between}",
        is_secret=field.annotation == tuple[SecretStr, ...],
    )


def _default_text(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "HOST-PID"
    if isinstance(field.default, tuple):
        return ",".join(field.default)
    return str(field.default)
