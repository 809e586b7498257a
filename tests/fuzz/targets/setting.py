"""The environment: whatever it says, there are settings or problems in plain words."""

from collections.abc import Iterable

from tests.fuzz import mutations
from tests.fuzz.target import Target
from worker import settings
from worker.settings import Inspection, Settings
from worker.settings_fields import CONNECTION_STRING, STORAGE_CONNECTION_STRING
from worker.settings_rules import Use
from worker.settings_shapes import connection_parts
from worker.sources.hosts import HostRules
from worker.sources.signing import Credentials

MARK = "aHVudGVyMg=="
"""In a secret, what must not be in any message."""
SECRETS = {CONNECTION_STRING, STORAGE_CONNECTION_STRING, "WORKER_WEBHOOK_KEYS"}


def check(data: bytes) -> None:
    """`NAME=VALUE` a line, for every use in turn."""
    lines = data.decode(errors="surrogateescape").replace("\0", "").split("\n")
    pairs = (line.partition("=") for line in lines)
    environ = {name: value for name, found, value in pairs if found}
    use = list(Use)[len(data) % len(Use)]
    inspection = settings.inspect(environ, use=use)
    _check_words(inspection, environ)
    if inspection.settings is None:
        assert inspection.problems
    else:
        _check_use(inspection.settings)


def _check_words(inspection: Inspection, environ: dict[str, str]) -> None:
    shown = [value for name, value in environ.items() if name not in SECRETS]
    is_shown = any(MARK in text for text in (*shown, *environ))
    for line in (*inspection.problems, *inspection.warnings):
        line.encode(errors="surrogateescape")
        assert is_shown or MARK not in line, "a secret is told"


def _check_use(found: Settings) -> None:
    """What the settings let through is good for whoever uses it."""
    HostRules(found.source_hosts)
    keys = [key.get_secret_value() for key in found.connection_strings]
    if keys and len({connection_parts(key)["endpoint"] for key in keys}) == len(keys):
        Credentials.parse(" ".join(keys))
    repr(found).encode(errors="surrogateescape")
    for place in (*found.places.values(), *found.byos_places):
        assert "?" not in place.url
    if found.archive_place is None:
        assert str(found.archive_directory)
    if found.queue_place is None:
        assert str(found.queue_file)


def _seeds() -> Iterable[bytes]:
    here = "WORKER_SOURCE_HOSTS=127.0.0.1:9"
    key = f"endpoint=https://contoso.communication.azure.com/;accesskey={MARK}"
    yield f"{here}\n{CONNECTION_STRING}={key}\nWORKER_WEBHOOK_KEYS={MARK},b".encode()
    account = (
        f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={MARK}"
        ";EndpointSuffix=core.windows.net"
    )
    blobs, queues = (
        f"https://acct.{kind}.core.windows.net" for kind in ("blob", "queue")
    )
    yield (
        f"{here}\n{STORAGE_CONNECTION_STRING}={account}\nWORKER_ARCHIVE={blobs}/calls/a"
        f"\nWORKER_QUEUE={queues}/chunks\nWORKER_INBOX={queues}/inbox"
        f"\nWORKER_BYOS=index\nWORKER_BYOS_CONTAINERS={blobs}/own"
    ).encode()
    yield (
        f"WORKER_ARCHIVE={blobs}/calls?sv=2022-11-02&se=2026-01-01T00:00:00Z&sig={MARK}"
        "\nWORKER_QUEUE=sqlite:queue.db\nWORKER_UNSAFE_STORAGE=allow\nWORKER_LISTEN=[::1]:80"
        "\nAZURE_COMMUNICATION_ENDPOINT=https://contoso.communication.azure.com"
        "\nWORKER_SOURCE_HOSTS=.asm.skype.com,a.example\nWORKER_MAX_CHUNKS=8"
        "\nWORKER_NOTIFY=https://topic.example/api/events\nWORKER_COLOUR=red"
    ).encode()
    yield f"{here}\nWORKER_ARCHIVE=file:~/a\nWORKER_QUEUE=sqlite:~/b\nWORKER_LSTEN=1".encode()
    yield f"{here}\nWORKER_PORT=tcp://1.2.3.4:5\nWORKER_BLOCK_MIB=64\nWORKER_MEMORY_MIB=1".encode()


SETTING = Target(name="setting", check=check, seeds=_seeds, mutate=mutations.of_lines)
