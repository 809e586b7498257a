"""Where the text of a setting comes from, and which names are none of ours."""

import base64
import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from worker.errors import ConfigError

PREFIX = "WORKER_"
_SERVICE_LINK = re.compile(
    r"WORKER(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?"
    r"|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT = re.compile(r"(tcp|udp|sctp)://")
_SECRETS_OF_OTHERS = frozenset(
    {
        *("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD"),
        *("AZURE_PASSWORD", "IDENTITY_HEADER", "MSI_SECRET"),
    }
)
_OTLP = re.compile(r"OTEL_EXPORTER_OTLP_(\w+_)?(?P<what>HEADERS|ENDPOINT)")
_PROXIES = frozenset({"https_proxy", "http_proxy", "all_proxy"})
_NEAR = 0.8
ALIASES = {"WORKER_ACS_ENDPOINT": "AZURE_COMMUNICATION_ENDPOINT"}
"""Other names for a variable: accepted, and shown under the name they mean."""
EMPTY: Mapping[str, str] = MappingProxyType({})


class Origin(StrEnum):
    """Where the value of a setting comes from, strongest first."""

    ENVIRONMENT = "environment"
    ENV_FILE = "env file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """All variables as text; empty ones are unset and left out."""

    environment: Mapping[str, str] = field(repr=False)
    env_file: Mapping[str, str] = field(repr=False)

    def origin(self, variable: str) -> Origin:
        if variable in self.environment:
            return Origin.ENVIRONMENT
        return Origin.ENV_FILE if variable in self.env_file else Origin.DEFAULT

    def all(self) -> dict[str, str]:
        """Every variable, the environment before the file."""
        return {**self.env_file, **self.environment}


def read_texts(
    environ: Mapping[str, str],
    env_file: Path | None,
    *,
    overrides: Mapping[str, str] = EMPTY,
) -> Texts:
    """Raises ConfigError when the file can't be read.

    `overrides` count more than both; an empty one unsets its variable in both.
    """
    from_file = _read_env_file(env_file) if env_file else {}
    hidden = {name for name, meant in ALIASES.items() if meant in overrides}
    hidden |= overrides.keys()
    return Texts(
        environment=_meant({**_filled(environ, but=hidden), **_filled(overrides)}),
        env_file=_meant(_filled(from_file, but=hidden)),
    )


def _read_env_file(path: Path) -> dict[str, str | None]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            # Values are literal: a key may well contain a dollar sign.
            return dotenv_values(stream=lines, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError([f"--env-file {str(path)!r} can't be read: {why}"]) from error


def _filled(
    texts: Mapping[str, str | None], *, but: Collection[str] = ()
) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text and name not in but}


def _meant(texts: Mapping[str, str]) -> dict[str, str]:
    """Replace aliases; one that contradicts what it stands for is left, to be reported."""
    meant = dict(texts)
    for alias, name in ALIASES.items():
        if alias in texts and texts.get(name, texts[alias]) == texts[alias]:
            meant[name] = meant.pop(alias)
    return meant


class NamedTexts(PydanticBaseSettingsSource):
    """One mapping of variables as a source of settings: handed in, never os.environ."""

    def __init__(self, settings: type[BaseSettings], texts: Mapping[str, str]) -> None:
        super().__init__(settings)
        self._texts = texts

    def get_field_value(
        self, field: FieldInfo, field_name: str
    ) -> tuple[Any, str, bool]:
        variable = str(field.validation_alias or field_name)
        return self._texts.get(variable), variable, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields.items()
        found = (self.get_field_value(field, name) for name, field in fields)
        return {variable: text for text, variable, _ in found if text is not None}


def foreign_secrets(texts: Mapping[str, str]) -> tuple[str, ...]:
    """What libraries read from the environment (azure-identity, proxies, OpenTelemetry), and
    logs may not show.
    """
    found = [text for name, text in texts.items() if name in _SECRETS_OF_OTHERS]
    for name, text in texts.items():
        otlp = _OTLP.fullmatch(name)
        if otlp and otlp["what"] == "HEADERS":
            found += _header_values(text)
        elif otlp or name.casefold() in _PROXIES:
            found += _login(text)
    return tuple(found)


def _header_values(text: str) -> list[str]:
    """Of `NAME=VALUE,NAME=VALUE`, as they are written and as they are sent."""
    values = [header.partition("=")[2].strip() for header in text.split(",")]
    return [form for value in values for form in (value, unquote(value)) if form]


def _login(proxy: str) -> list[str]:
    """The password of a proxy's URL, and user and password as they are sent."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    except ValueError:
        return []
    if parts.password is None:
        return []
    user, password = unquote(parts.username or ""), unquote(parts.password)
    sent = base64.b64encode(f"{user}:{password}".encode()).decode()
    return [parts.password, password, sent]


def name_problems(texts: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Say which names can't be meant so: they nearly are a known one."""
    problems = []
    for name in _foreign(texts, known):
        near = _nearest(name, known)
        if name in ALIASES:
            problems.append(f"{name}: is another name of {ALIASES[name]}; set one")
        elif near:
            problems.append(f"{name}: unknown; did you mean {near}?")
    return problems


def name_warnings(texts: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Name the variables with our prefix that nobody reads and that resemble nothing."""
    return [
        f"{name}: unknown, ignored"
        for name in _foreign(texts, known)
        if name not in ALIASES and not _nearest(name, known)
    ]


def _foreign(texts: Mapping[str, str], known: Collection[str]) -> list[str]:
    return sorted(
        name
        for name, text in texts.items()
        if name.upper().startswith(PREFIX)
        and name not in known
        and not _is_service_link(name, text)
    )


def _is_service_link(name: str, text: str) -> bool:
    """Whether Kubernetes put it there for a Service called `worker` or `worker-…`."""
    if _SERVICE_LINK.fullmatch(name):
        return True
    return name.endswith("_PORT") and _SERVICE_PORT.match(text) is not None


def _nearest(name: str, known: Collection[str]) -> str | None:
    # Without the prefix, which all share and which would make everything look alike.
    ours = {variable.removeprefix(PREFIX): variable for variable in sorted(known)}
    word = name.upper().removeprefix(PREFIX)
    near = difflib.get_close_matches(word, ours, n=1, cutoff=_NEAR)
    return ours[near[0]] if near else None


def unread(texts: Texts, known: Collection[str]) -> list[str]:
    """Name what stands in the file, and is read from the environment alone."""
    names = texts.env_file.keys() - texts.environment.keys() - set(known)
    return [
        f"{name}: is read from the environment alone, not from --env-file"
        for name in sorted(names)
        if name.startswith("OTEL_")
    ]
