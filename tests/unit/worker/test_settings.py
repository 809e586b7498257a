"""Settings: shapes, rules, names, origins, and that secrets stay inside."""

from pathlib import Path

import pytest

from worker import settings
from worker.errors import ConfigError
from worker.settings import Inspection, Settings
from worker.settings_rules import Use
from worker.settings_shapes import Listen
from worker.settings_sources import Origin
from worker.sources.hosts import HostRules

CONNECTION = "endpoint=https://calls.communication.azure.com/;accesskey=aHVudGVyMg=="
LOOPBACK = {
    "AZURE_COMMUNICATION_CONNECTION_STRING": CONNECTION,
    "WORKER_SOURCE_HOSTS": "127.0.0.1:7700",
}


def load(**variables: str) -> Settings:
    return Settings.load(LOOPBACK | variables)


def problems(use: Use = Use.SERVE, /, **variables: str) -> list[str]:
    return list(settings.inspect(LOOPBACK | variables, use=use).problems)


def real(tmp_path: Path, **variables: str) -> dict[str, str]:
    """The environment of a worker with a real source."""
    stored = {
        "AZURE_COMMUNICATION_CONNECTION_STRING": CONNECTION,
        "WORKER_ARCHIVE": f"file:{tmp_path / 'archive'}",
        "WORKER_QUEUE": f"sqlite:{tmp_path / 'queue.db'}",
        "WORKER_UNSAFE_STORAGE": "allow",
    }
    return stored | variables


def test_defaults_serve_a_loopback_source() -> None:
    """With loopback sources and a connection string nothing else needs to be said."""
    chosen = load()

    assert chosen.archive_directory == Path("data/archive")
    assert chosen.queue_file == Path("data/queue.db")
    assert chosen.listen == Listen(host="127.0.0.1", port=8080)
    assert (chosen.max_chunks, chosen.max_ranges) == (4, 8)
    assert (chosen.block_mib, chosen.memory_mib) == (8, 256)
    assert (chosen.delete_source, chosen.verify) == ("after-recording", "read-back")
    assert chosen.source_retention.total_seconds() == 24 * 3600
    assert chosen.at_risk_within.total_seconds() == 6 * 3600
    assert not chosen.is_source_real


def test_every_setting_reads_its_variable() -> None:
    """What is set in the environment reaches the field of the same name, parsed."""
    chosen = load(
        WORKER_ARCHIVE="file:/srv/a",
        WORKER_QUEUE="sqlite:/srv/q.db",
        WORKER_LISTEN="[::1]:0",
        WORKER_WEBHOOK_KEYS=" one , two,",
        WORKER_EVENT_TOPICS="/a,/b",
        WORKER_DELETE_SOURCE=" Never ",
        WORKER_LOG_LEVEL="WARNING",
        WORKER_MAX_CHUNKS="7",
        WORKER_INSTANCE="pod-1",
    )

    assert chosen.archive_directory == Path("/srv/a")
    assert chosen.queue_file == Path("/srv/q.db")
    assert chosen.listen == Listen(host="::1", port=0)
    assert str(chosen.listen) == "[::1]:0"
    assert [key.get_secret_value() for key in chosen.webhook_keys] == ["one", "two"]
    assert chosen.event_topics == ("/a", "/b")
    assert (chosen.delete_source, chosen.log_level) == ("never", "warning")
    assert (chosen.max_chunks, chosen.instance) == (7, "pod-1")


def test_empty_text_is_unset() -> None:
    """An empty variable means the default, as in a compose file."""
    assert load(WORKER_MAX_CHUNKS="", WORKER_ARCHIVE="").max_chunks == 4


def test_several_connection_strings_are_separated_by_spaces() -> None:
    """Each resource brings its own key."""
    other = "AccessKey=c2Vjb25k;Endpoint=HTTPS://other.communication.azure.com"
    chosen = load(AZURE_COMMUNICATION_CONNECTION_STRING=f"{CONNECTION}\n {other}")

    assert len(chosen.connection_strings) == 2
    assert {"aHVudGVyMg==", "c2Vjb25k"} < set(chosen.secrets)


def test_secrets_are_all_known_to_the_log() -> None:
    """Redaction gets whole connection strings, their keys, and webhook keys."""
    chosen = load(WORKER_WEBHOOK_KEYS="w1,w2")

    assert chosen.secrets == (CONNECTION, "aHVudGVyMg==", "w1", "w2")


def test_settings_are_frozen() -> None:
    """Nobody changes a setting while the worker runs."""
    with pytest.raises(ValueError, match="frozen"):
        load().max_chunks = 5


def test_instance_defaults_to_host_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name's odd characters don't make the default invalid."""
    monkeypatch.setattr("socket.gethostname", lambda: "büro pc")

    assert load().instance.startswith("b-ro-pc-")


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("WORKER_MAX_CHUNKS", "many", "must be a whole number"),
        ("WORKER_MAX_CHUNKS", "9" * 5000, "is not valid"),
        ("WORKER_MAX_RANGES", "0", "must be at least 1"),
        ("WORKER_BLOCK_MIB", "65", "must be at most 64"),
        ("WORKER_SOURCE_RETENTION_HOURS", "49", "must be at most 48"),
        ("WORKER_DRAIN_SECONDS", "-1", "must be at least 0"),
        ("WORKER_VERIFY", "maybe", "must be 'read-back' or 'checksum'"),
        ("WORKER_UNSAFE_STORAGE", "yes", "must be 'refuse' or 'allow'"),
        ("WORKER_INSTANCE", "a b", "must match ^[A-Za-z0-9._-]{1,64}$"),
        ("WORKER_ARCHIVE", "https://x.blob.core.windows.net/C", "names no container"),
        (
            "WORKER_ARCHIVE",
            "https://x.queue.core.windows.net/c",
            "of the queue service",
        ),
        ("WORKER_QUEUE", "http://x.queue.core.windows.net/q-1", "must be https"),
        ("WORKER_INBOX", "sqlite:/srv/q.db", "is not https://ACCOUNT.queue"),
        ("WORKER_BYOS_CONTAINERS", "https://x.blob.core.windows.net/abc,c", "is not"),
        ("WORKER_BLOB_TIER", "warm", "must be 'default', 'hot', 'cool'"),
        ("WORKER_BLOB_IMMUTABLE_DAYS", "146001", "must be at most 146000"),
        ("WORKER_BLOB_ENCRYPTION_SCOPE", "a b", "must match"),
        ("WORKER_NOTIFY", "http://t.eventgrid.azure.net/api/events", "must be https"),
        (
            "WORKER_NOTIFY",
            "https://t.eventgrid.azure.net/?sig=hunter2",
            "must be https",
        ),
        (
            "WORKER_NOTIFY",
            "https://t.eventgrid.azure.net/api/events#hunter2",
            "must be https",
        ),
        ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a", "has neither AccountKey"),
        ("AZURE_COMMUNICATION_ENDPOINT", "https://a.b/ http://a.b", "must be https://"),
        ("AZURE_COMMUNICATION_ENDPOINT", "https://u:hunter2@a.b", "must be https://"),
        ("WORKER_ARCHIVE", "data/archive", "must be file:PATH"),
        ("WORKER_ARCHIVE", "file:", "must be file:PATH"),
        ("WORKER_ARCHIVE", "file:~nobody-here/a", "begins with a home that is not"),
        ("WORKER_QUEUE", "sqlite::memory:", "must be sqlite:PATH"),
        ("WORKER_QUEUE", "sqlite:///srv/q.db", "must be sqlite:PATH"),
        ("WORKER_LISTEN", "8080", "is not HOST:PORT"),
        ("WORKER_LISTEN", "127.0.0.1:70000", "is not HOST:PORT"),
        ("WORKER_LISTEN", "a_b:80", "is not HOST:PORT"),
        ("WORKER_SOURCE_HOSTS", ",", "must have at least one entry"),
        ("WORKER_SOURCE_HOSTS", "https://a.b", "is not a full host name"),
        (
            "AZURE_COMMUNICATION_CONNECTION_STRING",
            "abc",
            "connection string 1 has no endpoint and no accesskey",
        ),
        (
            "AZURE_COMMUNICATION_CONNECTION_STRING",
            "endpoint=https://calls.communication.azure.com/",
            "connection string 1 has no accesskey; it takes quotes in a shell",
        ),
        (
            "AZURE_COMMUNICATION_CONNECTION_STRING",
            "endpoint=https://calls.communication.azure.com/; accesskey=a2V5",
            "where ; ends a command, and no spaces",
        ),
    ],
)
def test_wrong_value_names_the_variable(variable: str, text: str, words: str) -> None:
    """A wrong value is one line: the variable and what it must be."""
    (problem,) = problems(Use.READ, **{variable: text})

    assert problem.startswith(f"{variable}: ")
    assert words in problem
    assert "hunter2" not in problem


def test_all_problems_are_reported_at_once() -> None:
    """Shapes, rules over several settings and names: nobody has to start five times."""
    found = problems(
        WORKER_MAX_CHUNKS="x",
        WORKER_VERIFY="x",
        WORKER_MEMORY_MIB="4",
        WORKER_LISTEN="0.0.0.0:8080",
        WORKER_MAX_CHUNK="4",
        WORKER_INBOX="https://x",
        WORKER_BYOS="index",
        AZURE_COMMUNICATION_CONNECTION_STRING="",
    )

    named = sorted(problem.split(":")[0] for problem in found)
    assert named == [
        "AZURE_COMMUNICATION_CONNECTION_STRING",
        "WORKER_BYOS_CONTAINERS",
        "WORKER_INBOX",
        "WORKER_MAX_CHUNK",
        "WORKER_MAX_CHUNKS",
        "WORKER_MEMORY_MIB",
        "WORKER_VERIFY",
        "WORKER_WEBHOOK_KEYS",
    ]


def test_config_error_has_a_line_per_problem() -> None:
    """The error that ends the start carries all lines."""
    with pytest.raises(ConfigError) as caught:
        load(WORKER_MAX_CHUNKS="x", WORKER_VERIFY="x")

    assert len(caught.value.problems) == 2


def test_rule_is_silent_about_an_invalid_setting() -> None:
    """One mistake is one problem: the rule on block and memory waits for a valid block."""
    (problem,) = problems(WORKER_BLOCK_MIB="x", WORKER_MEMORY_MIB="4")

    assert problem.startswith("WORKER_BLOCK_MIB: ")


@pytest.mark.parametrize(
    "text",
    [
        "endpoint=http://x.azure.com/;accesskey=aHVudGVyMg==",
        "endpoint=https://x.azure.com/path;accesskey=aHVudGVyMg==",
        "endpoint=https://u:hunter2@x.azure.com/;accesskey=aHVudGVyMg==",
        "endpoint=https:///;accesskey=aHVudGVyMg==",
        "endpoint=https://x.azure.com/;accesskey=hunter2!",
        "endpoint=https://x.azure.com/;accesskey=",
        "accesskey=aHVudGVyMg==",
        "hunter2",
        f"{CONNECTION} hunter2",
    ],
)
def test_bad_connection_string_is_refused_without_showing_it(text: str) -> None:
    """The shape is checked, and no part of the key is in the problem."""
    (problem,) = problems(AZURE_COMMUNICATION_CONNECTION_STRING=text)

    assert problem.startswith(
        "AZURE_COMMUNICATION_CONNECTION_STRING: connection string"
    )
    assert "hunter2" not in problem
    assert "aHVudGVyMg" not in problem


def test_secrets_are_in_no_repr_and_no_error() -> None:
    """Neither printing the settings nor a failed load shows a secret."""
    chosen = load(WORKER_WEBHOOK_KEYS="hunter2")
    found = problems(WORKER_WEBHOOK_KEYS="hunter2", WORKER_MAX_CHUNKS="x")

    shown = f"{chosen!r} {chosen} {found}"
    assert "hunter2" not in shown
    assert "aHVudGVyMg" not in shown


HOSTS = [
    ".asm.skype.com",
    "storage.asm.skype.com",
    "127.0.0.1:8080",
    "[::1]:8080",
    "LOCALHOST:1",
    "A.Example",
]
NO_HOSTS = [
    ".com",
    "com",
    "*",
    "*.skype.com",
    "127.0.0.1",
    "127.0.0.1:0",
    "127.0.0.1:70000",
    "10.0.0.1",
    "10.0.0.1:80",
    "a.b:443",
    "https://a.b",
    "user@a.b",
    "xn--abc.example",
    "a..b",
    f"{'a.' * 200}example",
]


@pytest.mark.parametrize("host", HOSTS)
def test_source_host_is_one_that_the_source_takes(host: str) -> None:
    """What the settings accept, the allow-list accepts."""
    (entry,) = load(WORKER_SOURCE_HOSTS=host, **ANYWHERE).source_hosts

    HostRules([entry])
    assert entry == host.lower()


@pytest.mark.parametrize("host", NO_HOSTS)
def test_source_host_of_another_shape_is_refused(host: str) -> None:
    """Neither the settings nor the allow-list take what could match too much."""
    assert problems(Use.READ, WORKER_SOURCE_HOSTS=host)
    with pytest.raises(ValueError, match="not a"):
        HostRules([host])


ANYWHERE = {
    "WORKER_ARCHIVE": "file:/srv/a",
    "WORKER_QUEUE": "sqlite:/srv/q.db",
    "WORKER_UNSAFE_STORAGE": "allow",
}


def test_memory_must_hold_a_block() -> None:
    """The arithmetic is in the message."""
    (problem,) = problems(WORKER_MEMORY_MIB="7")

    expected = "WORKER_MEMORY_MIB: 7 holds not one block; WORKER_BLOCK_MIB is 8"
    assert problem == expected


@pytest.mark.parametrize("use", [Use.SERVE, Use.WEBHOOK])
def test_listening_beyond_loopback_needs_a_key_or_a_word(use: Use) -> None:
    """Without a key the endpoint is open, which must be said aloud."""
    everywhere = "0.0.0.0:8080"
    (problem,) = problems(use, WORKER_LISTEN=everywhere)

    assert problem.startswith("WORKER_WEBHOOK_KEYS: must be set")
    assert not problems(use, WORKER_LISTEN=everywhere, WORKER_WEBHOOK_KEYS="k")
    assert not problems(use, WORKER_LISTEN=everywhere, WORKER_WEBHOOK_AUTH="none")
    assert not problems(use, WORKER_LISTEN="127.8.8.8:8080")
    assert not problems(use, WORKER_LISTEN="localhost:8080")


def test_who_does_not_listen_needs_no_key() -> None:
    """The consumer may share its environment with a webhook."""
    assert not problems(Use.CONSUME, WORKER_LISTEN="0.0.0.0:8080")


@pytest.mark.parametrize("use", [Use.SERVE, Use.WEBHOOK, Use.CONSUME])
def test_embedded_storage_is_refused_for_a_real_source(use: Use) -> None:
    """The defaults can't destroy: with a real source, archive and queue must be named."""
    found = problems(use, WORKER_SOURCE_HOSTS="127.0.0.1:1,.asm.skype.com")

    assert [problem.split(":")[0] for problem in found] == [
        "WORKER_ARCHIVE",
        "WORKER_QUEUE",
    ]


def test_reading_applies_no_rule_against_destroying() -> None:
    """A verb that only looks works without any setting."""
    assert settings.inspect({}, use=Use.READ).settings is not None


@pytest.mark.parametrize("use", [Use.SERVE, Use.CONSUME])
def test_consuming_needs_an_identity_at_the_source(use: Use) -> None:
    """With neither key nor endpoint no chunk can be fetched."""
    (problem,) = problems(use, AZURE_COMMUNICATION_CONNECTION_STRING="")

    assert problem.startswith("AZURE_COMMUNICATION_CONNECTION_STRING: must be set, or")
    assert "AZURE_COMMUNICATION_ENDPOINT" in problem


def test_webhook_needs_no_identity_at_the_source() -> None:
    """What only queues talks to no source."""
    assert not problems(Use.WEBHOOK, AZURE_COMMUNICATION_CONNECTION_STRING="")


def test_admin_listener_can_be_off() -> None:
    """Whoever wants no port gets none."""
    assert load(WORKER_ADMIN_LISTEN="OFF").admin_listen is None
    assert str(load().admin_listen) == "127.0.0.1:8081"


@pytest.mark.parametrize(
    ("text", "expected"), [("TRUE", True), ("false", False), ("1", False)]
)
def test_sdk_is_disabled_by_the_word_true_alone(*, text: str, expected: bool) -> None:
    """As OpenTelemetry has it everywhere."""
    assert load(OTEL_SDK_DISABLED=text).sdk_disabled is expected


@pytest.mark.parametrize("text", ["localhost:4318", "http://", "ftp://x", "http://[x"])
def test_collector_of_another_shape_is_refused(text: str) -> None:
    """Else nothing would be sent, and nothing said."""
    name = "OTEL_EXPORTER_OTLP_ENDPOINT"

    (problem,) = problems(**{name: text})

    assert problem == f"{name}: is not http://HOST:PORT or https://HOST"


def test_what_opens_collectors_is_secret() -> None:
    """Headers hold tokens; as written and as sent. An instrumentation key lets anybody write."""
    found = settings.inspect(
        {
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=hunter%202,x=other",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://me:pass%21@collector/",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=one;A=b",
        },
        use=Use.READ,
    )

    secrets = {"hunter%202", "hunter 2", "other", "pass!", "one"}
    assert secrets < set(found.secrets)


def test_open_telemetry_of_the_file_alone_is_warned_of(tmp_path: Path) -> None:
    """The SDK reads the environment and nothing else."""
    file = tmp_path / "worker.env"
    file.write_text(
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318\nOTEL_SERVICE_NAME=mine\n"
        "OTEL_RESOURCE_ATTRIBUTES=a=b\n"
    )

    found = settings.inspect(
        {"OTEL_RESOURCE_ATTRIBUTES": "a=c"}, env_file=file, use=Use.READ
    )

    why = "is read from the environment alone, not from --env-file"
    assert found.warnings == (f"OTEL_SERVICE_NAME: {why}",)
    assert found.require().otlp_endpoint == "http://c:4318"


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("WORKER_MAX_CHUNK", "WORKER_MAX_CHUNKS"),
        ("WORKER_BLOCK_MB", "WORKER_BLOCK_MIB"),
        ("WORKER_ARCHVE", "WORKER_ARCHIVE"),
        ("worker_queue", "WORKER_QUEUE"),
        ("WORKER_LOGLEVEL", "WORKER_LOG_LEVEL"),
    ],
)
def test_near_miss_of_a_name_is_an_error(typo: str, meant: str) -> None:
    """A typo must not start."""
    assert problems(**{typo: "1"}) == [f"{typo}: unknown; did you mean {meant}?"]


def test_unknown_name_is_only_warned_about() -> None:
    """A name that resembles nothing may be someone else's."""
    inspection = settings.inspect(LOOPBACK | {"WORKER_COLOUR": "red"}, use=Use.SERVE)

    assert inspection.problems == ()
    assert inspection.warnings == ("WORKER_COLOUR: unknown, ignored",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WORKER_PORT", "tcp://10.0.0.1:80"),
        ("WORKER_SERVICE_HOST", "10.0.0.1"),
        ("WORKER_SERVICE_PORT", "80"),
        ("WORKER_SERVICE_PORT_HTTP", "80"),
        ("WORKER_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("WORKER_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("WORKER_QUEUE_PORT", "udp://10.0.0.1:80"),
        ("WORKER_QUEUE_SERVICE_HOST", "10.0.0.1"),
    ],
)
def test_kubernetes_service_links_are_ignored(name: str, text: str) -> None:
    """A Service called `worker` fills the environment with names of its own."""
    inspection = settings.inspect(LOOPBACK | {name: text}, use=Use.SERVE)

    assert (inspection.problems, inspection.warnings) == ((), ())


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    """The file fills what the environment leaves, and each value knows its origin."""
    file = tmp_path / "worker.env"
    file.write_text("\ufeffWORKER_MAX_CHUNKS=2\nWORKER_MAX_RANGES=3\nWORKER_VERIFY=\n")

    inspection = settings.inspect(
        LOOPBACK | {"WORKER_MAX_CHUNKS": "5", "WORKER_MAX_RANGES": ""},
        file,
        use=Use.SERVE,
    )

    chosen = inspection.require()
    assert (chosen.max_chunks, chosen.max_ranges) == (5, 3)
    assert inspection.texts.origin("WORKER_MAX_CHUNKS") == Origin.ENVIRONMENT
    assert inspection.texts.origin("WORKER_MAX_RANGES") == Origin.ENV_FILE
    assert inspection.texts.origin("WORKER_VERIFY") == Origin.DEFAULT


def test_env_file_is_taken_literally(tmp_path: Path) -> None:
    """A dollar sign in a key is a dollar sign."""
    file = tmp_path / "worker.env"
    file.write_text("WORKER_WEBHOOK_KEYS='a${HOME}b'\n")

    (key,) = Settings.load(LOOPBACK, file).webhook_keys

    assert key.get_secret_value() == "a${HOME}b"


def test_names_in_the_env_file_are_checked_too(tmp_path: Path) -> None:
    """A typo in the file is a typo."""
    file = tmp_path / "worker.env"
    file.write_text("WORKER_MAX_CHUNK=2\n")

    assert settings.inspect(LOOPBACK, file, use=Use.SERVE).problems


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_unreadable_env_file_is_a_problem(
    tmp_path: Path, content: bytes | None
) -> None:
    """A file that is not there, or no text, ends the start with its name."""
    file = tmp_path / "worker.env"
    if content:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"--env-file .*worker\.env' can't be read"):
        Settings.load(LOOPBACK, file)


def test_process_environment_is_read_in_one_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`inspect_process` sees os.environ."""
    monkeypatch.setenv("WORKER_MAX_CHUNKS", "9")

    inspection = settings.inspect_process(None, use=Use.READ)

    assert inspection.require().max_chunks == 9


MOUNTS = """\
22 1 254:0 / / rw,relatime - {root} /dev/vda rw
30 22 0:27 / {disk} rw,nosuid shared:1 - ext4 /dev/vdb rw
"""


def storage_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **variables: str
) -> list[str]:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(root="overlay", disk=tmp_path / "disk"))
    monkeypatch.setattr("worker.filesystems.MOUNTINFO", mounts)
    inspection: Inspection = settings.inspect(
        real(tmp_path, **variables), use=Use.SERVE
    )
    return list(inspection.problems)


def test_storage_that_vanishes_is_refused_for_a_real_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive or queue inside the container's own layer is lost with it."""
    found = storage_problems(tmp_path, monkeypatch, WORKER_UNSAFE_STORAGE="refuse")

    assert [problem.split(" is on ")[0] for problem in found] == [
        "WORKER_ARCHIVE:",
        "WORKER_QUEUE:",
    ]
    assert "overlay" in found[0]
    assert "WORKER_UNSAFE_STORAGE=allow" in found[0]


def test_storage_on_a_disk_or_said_aloud_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted disk passes; so does whoever says that they know."""
    on_disk = storage_problems(
        tmp_path,
        monkeypatch,
        WORKER_UNSAFE_STORAGE="refuse",
        WORKER_ARCHIVE=f"file:{tmp_path / 'disk' / 'archive'}",
        WORKER_QUEUE=f"sqlite:{tmp_path / 'disk' / 'queue.db'}",
    )

    assert on_disk == []
    assert storage_problems(tmp_path, monkeypatch) == []


def test_loopback_source_may_lie_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A demo in a container keeps nothing that matters."""
    found = storage_problems(
        tmp_path,
        monkeypatch,
        WORKER_UNSAFE_STORAGE="refuse",
        WORKER_SOURCE_HOSTS="localhost:1",
    )

    assert found == []


def test_secrets_of_others_are_known() -> None:
    """What azure-identity and a proxy read is not ours, and no log may show it either."""
    inspection = settings.inspect(
        {
            "AZURE_CLIENT_SECRET": "hunter2",
            "IDENTITY_HEADER": "hunter3",
            "HTTPS_PROXY": "http://me:p%40ss@proxy:3128",
            "http_proxy": "you:word@proxy",
            "ALL_PROXY": "http://proxy:3128",
            "HTTP_PROXY": "http://[::1",
            "AZURE_CLIENT_ID": "not a secret",
        },
        use=Use.READ,
    )

    assert set(inspection.secrets) == {
        *("hunter2", "hunter3"),
        *("p%40ss", "p@ss", "bWU6cEBzcw=="),
        *("word", "eW91OndvcmQ="),
    }
