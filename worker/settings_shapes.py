"""What the text of one setting may look like; pure, and no secret is ever in a message."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from worker import storage_places
from worker.storage_places import Service

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_SOURCE_LABEL = rf"(?!xn--){_LABEL}"
_SOURCE_HOST = re.compile(
    rf"(?=.{{1,253}}$)\.?(?:{_SOURCE_LABEL}\.)+(?=[a-z]){_SOURCE_LABEL}", re.ASCII
)
_LOOPBACK_SOURCE = re.compile(
    r"(?:127\.0\.0\.1|\[::1\]|localhost):([0-9]{1,5})", re.ASCII
)
_LISTEN = re.compile(
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})"
)
_PORT_MAX = 65535
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_APPLICATION_URI = re.compile(r"(?:api|https)://[a-z0-9][\w.~/-]{0,254}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where a server listens; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host without port is this machine, by address or as `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def parse_listen(text: str | Listen) -> Listen:
    """`HOST:PORT`, the host an address (v6 in brackets) or a name."""
    if isinstance(text, Listen):
        return text
    match = _LISTEN.fullmatch(text)
    host = (match["v6"] or match["host"]) if match else ""
    if not match or not _is_host(host) or int(match["port"]) > _PORT_MAX:
        raise ValueError("is not HOST:PORT, for instance 127.0.0.1:8080")
    return Listen(host=host, port=int(match["port"]))


def parse_admin_listen(text: str | Listen) -> Listen | None:
    """The same, or `off`."""
    is_off = isinstance(text, str) and text.strip().casefold() == "off"
    return None if is_off else parse_listen(text)


def is_true(text: str | bool) -> bool:  # noqa: FBT001 - the default
    """Whether it says `true`; whatever else it says is no.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#boolean-value
    """
    return str(text).strip().casefold() == "true"


def check_http_url(text: str) -> str:
    """An address of a collector; what else is wrong with it, only the collector can tell."""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_url = False
    if text and not is_url:
        raise ValueError("is not http://HOST:PORT or https://HOST")
    return text


def instrumentation_keys(connection: SecretStr | None) -> list[str]:
    """What of a connection string of Application Insights opens it."""
    text = connection.get_secret_value() if connection else ""
    parts = (part.partition("=") for part in text.split(";"))
    return [
        v for name, _, v in parts if name.strip().casefold() == "instrumentationkey"
    ]


def split_commas(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """Entries between commas, without blanks; empty ones don't count.

    None has a blank within: it was meant as several, and as one it would match nothing.
    """
    parts = text.split(",") if isinstance(text, str) else text
    entries = tuple(part.strip() for part in parts if part.strip())
    for number, entry in enumerate(entries, start=1):
        if len(entry.split()) > 1:
            raise ValueError(
                f"entry {number} has a space in it; commas separate entries"
            )
    return entries


def split_spaces(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """Entries between spaces or line ends; no entry has a comma within."""
    if not isinstance(text, str):
        return text
    if "," in text:
        raise ValueError("has a comma in it; spaces separate entries")
    return tuple(text.split())


def check_source_host(text: str) -> str:
    """`.suffix.of.labels`, a full host name, or a loopback host with its port."""
    host = text.casefold()
    if not is_loopback_source(host) and not _SOURCE_HOST.fullmatch(host):
        raise ValueError("is not a full host name, .SUFFIX.OF.ONE or 127.0.0.1:PORT")
    return host


def check_any(entries: tuple[str, ...]) -> tuple[str, ...]:
    """At least one entry."""
    if not entries:
        raise ValueError("must have at least one entry")
    return entries


def is_loopback_source(host: str) -> bool:
    """Whether a source host, in lower case, is this machine: the only plain http."""
    match = _LOOPBACK_SOURCE.fullmatch(host)
    return match is not None and 0 < int(match[1]) <= _PORT_MAX


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host.casefold()) is not None
    return True


def check_connection_strings(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Check the shapes: an endpoint (https, but for loopback) and a key in base64."""
    for number, secret in enumerate(secrets, start=1):
        why = why_no_connection(connection_parts(secret.get_secret_value()))
        if why:
            raise ValueError(f"connection string {number} {why}")
    return secrets


def why_no_connection(parts: dict[str, str]) -> str | None:
    missing = [name for name in ("endpoint", "accesskey") if name not in parts]
    if missing:
        shape = "it takes quotes in a shell, where ; ends a command, and no spaces"
        return f"has no {' and no '.join(missing)}; {shape}"
    if not (acs_host(parts["endpoint"]) or acs_stand_in(parts["endpoint"])):
        return "has an endpoint that is not https://NAME/"
    is_key = storage_places.is_base64(parts["accesskey"])
    return None if is_key else "has a key that is not base64"


def connection_parts(text: str) -> dict[str, str]:
    """Parts of a connection string by name in lower case."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().casefold(): value.strip() for name, _, value in pairs}


def check_archive(text: str) -> str:
    """`file:PATH`, or the URL of a container."""
    return _check_store(text, scheme="file:", service=Service.BLOB)


def check_queue(text: str) -> str:
    """`sqlite:PATH`, or the URL of a queue."""
    return _check_store(text, scheme="sqlite:", service=Service.QUEUE)


def _check_store(text: str, *, scheme: str, service: Service) -> str:
    if storage_places.is_url(text):
        storage_places.parse(text, service)
        return text
    path = text.removeprefix(scheme)
    # A colon would be SQLite's `:memory:`, which keeps nothing.
    if path == text or not path.strip() or path.startswith((":", "//")) or "\0" in path:
        what = "container" if service is Service.BLOB else "queue"
        raise ValueError(
            f"must be {scheme}PATH or the URL of a {what}, for instance"
            f" {scheme}/srv/recordings"
        )
    try:
        path_of(text)
    except RuntimeError:
        raise ValueError(f"{path!r} begins with a home that is not there") from None
    return text


def check_queue_url(text: str) -> str:
    """The URL of a queue, or nothing."""
    if text:
        storage_places.parse(text, Service.QUEUE)
    return text


def check_container_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    """URLs of containers."""
    for url in urls:
        storage_places.parse(url, Service.BLOB)
    return urls


def check_storage_connection_string(secret: SecretStr | None) -> SecretStr | None:
    """A key or a signature, and of which account."""
    if secret is not None:
        storage_places.parse_connection_string(secret.get_secret_value())
    return secret


def check_endpoints(endpoints: tuple[str, ...]) -> tuple[str, ...]:
    """`https://NAME.communication.azure.com`, the host alone."""
    for endpoint in endpoints:
        if not acs_host(endpoint):
            raise ValueError("must be https://NAME.communication.azure.com")
    return endpoints


def acs_host(endpoint: str) -> str | None:
    """The host of an ACS resource, whose first label is the resource's name."""
    scheme, _, rest = endpoint.partition("://")
    host = rest.removesuffix("/").casefold()
    is_one = scheme.casefold() == "https" and _HOST.fullmatch(host)
    return host if is_one else None


def acs_stand_in(endpoint: str) -> str | None:
    """The same of a stand-in, which a key may sign for: `http://127.0.0.1:PORT/`."""
    scheme, _, rest = endpoint.casefold().partition("://")
    host = rest.removesuffix("/")
    return host if scheme == "http" and is_loopback_source(host) else None


def acs_resource(endpoint: str) -> str:
    """The name by which a topic, or an operator, means the resource of a checked endpoint."""
    host = acs_host(endpoint) or acs_stand_in(endpoint) or ""
    return host.partition(".")[0]


def check_topic_endpoint(text: str) -> str:
    """The https URL of an Event Grid topic, or of a stand-in on this machine; or nothing."""
    if not text:
        return text
    scheme, _, rest = text.partition("://")
    host = rest.partition("/")[0]
    is_here = scheme in {"http", "https"} and is_loopback_source(host.casefold())
    is_there = scheme == "https" and _is_host(host)
    # What could be a signature is a secret, and this setting is shown.
    if not {"?", "#"}.isdisjoint(text) or not (is_here or is_there):
        raise ValueError("must be https://TOPIC.REGION.eventgrid.azure.net/api/events")
    return text


def check_tenant(text: str) -> str:
    """The id of a tenant, in lower case; or nothing."""
    if text and not _GUID.fullmatch(text.casefold()):
        raise ValueError(
            "must be a GUID: az account show --query tenantId --output tsv"
        )
    return text.casefold()


def check_audiences(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Ids of applications, or their URIs, in lower case."""
    lowered = tuple(entry.casefold() for entry in entries)
    for number, entry in enumerate(lowered, start=1):
        if not _GUID.fullmatch(entry) and not _APPLICATION_URI.fullmatch(entry):
            what = "the GUID of an application nor an api:// or https:// URI"
            raise ValueError(f"entry {number} is neither {what}")
    return lowered


def check_callers(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Ids of applications, in lower case."""
    lowered = tuple(entry.casefold() for entry in entries)
    for number, entry in enumerate(lowered, start=1):
        if not _GUID.fullmatch(entry):
            raise ValueError(f"entry {number} is not the GUID of an application")
    return lowered


def check_resource_ids(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Immutable ids of ACS resources, in lower case."""
    lowered = tuple(entry.casefold() for entry in entries)
    for number, entry in enumerate(lowered, start=1):
        if not _GUID.fullmatch(entry):
            how = "az communication show --query immutableResourceId"
            raise ValueError(f"entry {number} is not a GUID: {how}")
    return lowered


def check_authority(text: str) -> str:
    """`https://HOST`, in lower case and without a slash; plain http on this machine only."""
    authority = text.casefold().removesuffix("/")
    scheme, _, host = authority.partition("://")
    is_here = scheme in {"http", "https"} and is_loopback_source(host)
    if not is_here and not (scheme == "https" and _HOST.fullmatch(host)):
        raise ValueError(
            "must be https://HOST, for instance https://login.microsoftonline.us"
        )
    return authority


def path_of(text: str) -> Path:
    """The path behind the scheme of a checked setting."""
    return Path(text.partition(":")[2]).expanduser()
