"""Settings of Azure: who we are, where things lie, and that secrets stay inside."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from worker import settings, settings_rules
from worker.log import Redaction
from worker.settings import Settings
from worker.settings_rules import Use
from worker.settings_sources import Origin
from worker.sources.signing import KeyCredential

KEY = "aHVudGVyMg=="
CONNECTION = f"endpoint=https://calls.communication.azure.com/;accesskey={KEY}"
ENDPOINT = "https://calls.communication.azure.com"
STORAGE = f"AccountName=acct;AccountKey={KEY}"
CONTAINER = "https://acct.blob.core.windows.net/calls"
QUEUE = "https://acct.queue.core.windows.net/calls"
SAS = "sv=2026-02-06&se=2026-12-01&sp=rw&sig=hunter2%2Babc%3D"
LOOPBACK = {
    "AZURE_COMMUNICATION_CONNECTION_STRING": CONNECTION,
    "WORKER_SOURCE_HOSTS": "127.0.0.1:7700",
}


def load(**variables: str) -> Settings:
    return Settings.load(LOOPBACK | variables)


def problems(use: Use = Use.SERVE, /, **variables: str) -> list[str]:
    return list(settings.inspect(LOOPBACK | variables, use=use).problems)


def test_every_setting_of_azure_reads_its_variable() -> None:
    """What is set in the environment reaches the field of the same name, parsed."""
    chosen = load(
        AZURE_STORAGE_CONNECTION_STRING=STORAGE,
        WORKER_ARCHIVE=f"{CONTAINER}/tenant/a",
        WORKER_QUEUE=QUEUE,
        WORKER_INBOX="https://acct.queue.core.windows.net/events",
        WORKER_BLOB_TIER="Cool",
        WORKER_BLOB_IMMUTABLE_DAYS="7",
        WORKER_BLOB_IMMUTABLE_MODE="locked",
        WORKER_BLOB_ENCRYPTION_SCOPE="scope-1",
        WORKER_BLOB_TAGS="off",
        WORKER_BYOS="index",
        WORKER_BYOS_CONTAINERS=f"{CONTAINER}-1, {CONTAINER}-2?{SAS}",
        WORKER_NOTIFY="https://t.westeurope-1.eventgrid.azure.net/api/events",
    )

    places = {
        field: (place.name, place.prefix) for field, place in chosen.places.items()
    }
    assert places == {
        "archive": ("calls", "tenant/a"),
        "queue": ("calls", ""),
        "inbox": ("events", ""),
    }
    assert [place.name for place in chosen.byos_places] == ["calls-1", "calls-2"]
    assert chosen.storage_account is not None
    assert chosen.storage_account.key == KEY
    assert (chosen.blob_tier, chosen.blob_tags) == ("cool", "off")
    assert (chosen.blob_immutable_days, chosen.blob_immutable_mode) == (7, "locked")
    assert chosen.blob_encryption_scope == "scope-1"
    assert chosen.notify.startswith("https://t.")


def test_places_on_disk_are_none_in_azure() -> None:
    """By default nothing lies in Azure Storage."""
    chosen = load()

    assert (chosen.archive_place, chosen.queue_place, chosen.places) == (None, None, {})
    assert chosen.storage_account is None


@pytest.mark.parametrize("text", ["", "AZURE_STORAGE_CONNECTION_STRING"])
def test_missing_storage_credential_is_no_problem(text: str) -> None:
    """Without a connection string it is the identity of the machine."""
    assert not problems(WORKER_ARCHIVE=CONTAINER, WORKER_QUEUE=QUEUE, **{text: ""})


def test_key_of_another_account_is_a_problem() -> None:
    """The key is sent to its own account alone; both are named, the key is not."""
    archive, queue = problems(
        AZURE_STORAGE_CONNECTION_STRING=STORAGE,
        WORKER_ARCHIVE=CONTAINER.replace("acct", "other"),
        WORKER_QUEUE=QUEUE.replace("acct", "other"),
    )

    assert archive == (
        "WORKER_ARCHIVE: is at https://other.blob.core.windows.net,"
        " AZURE_STORAGE_CONNECTION_STRING is for https://acct.blob.core.windows.net"
    )
    assert queue.startswith("WORKER_QUEUE: is at https://other.queue.core.windows.net,")


def test_connection_string_without_the_service_is_a_problem() -> None:
    """A SAS for blobs alone opens no queue."""
    (problem,) = problems(
        AZURE_STORAGE_CONNECTION_STRING=(
            f"BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature={SAS}"
        ),
        WORKER_ARCHIVE=CONTAINER,
        WORKER_QUEUE=QUEUE,
    )

    assert problem.startswith("WORKER_QUEUE: ")
    assert problem.endswith("is for no queue endpoint")


def test_url_with_a_signature_needs_no_key_of_its_account() -> None:
    """What the URL bears counts more than the connection string."""
    assert not problems(
        AZURE_STORAGE_CONNECTION_STRING=STORAGE,
        WORKER_ARCHIVE=f"{CONTAINER.replace('acct', 'other')}?{SAS}",
    )


def test_container_of_the_customer_may_be_of_another_account() -> None:
    """Exports of ACS lie where the customer wants them; they are read by token or SAS."""
    assert not problems(
        AZURE_STORAGE_CONNECTION_STRING=STORAGE,
        WORKER_ARCHIVE=CONTAINER,
        WORKER_BYOS="index",
        WORKER_BYOS_CONTAINERS=CONTAINER.replace("acct", "customer"),
    )


def test_token_is_not_promised_over_plain_http() -> None:
    """An emulator without key, signature or TLS can't be asked; it is said at once."""
    here = {"WORKER_ARCHIVE": "http://127.0.0.1:10000/devstoreaccount1/calls"}
    (problem,) = problems(**here)

    assert problem.startswith("WORKER_ARCHIVE: must be https where")
    (exported,) = problems(
        WORKER_ARCHIVE=here["WORKER_ARCHIVE"],
        AZURE_STORAGE_CONNECTION_STRING=(
            f"{STORAGE};BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1"
        ),
        WORKER_BYOS_CONTAINERS="http://127.0.0.1:9000/customer/exports",
    )
    assert exported.startswith("WORKER_BYOS_CONTAINERS: must be https where")
    assert not problems(WORKER_ARCHIVE=f"{here['WORKER_ARCHIVE']}?{SAS}")
    assert not problems(WORKER_ARCHIVE=here["WORKER_ARCHIVE"].replace("http", "https"))


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("WORKER_BLOB_TIER", "cool"),
        ("WORKER_BLOB_IMMUTABLE_DAYS", "7"),
        ("WORKER_BLOB_ENCRYPTION_SCOPE", "scope"),
    ],
)
def test_protection_needs_a_container(variable: str, text: str) -> None:
    """A directory is not said to be what only a container can be."""
    (problem,) = problems(**{variable: text})

    assert problem == f"{variable}: needs WORKER_ARCHIVE to be the URL of a container"
    assert not problems(WORKER_ARCHIVE=CONTAINER, **{variable: text})


def test_lock_without_days_is_a_problem() -> None:
    """Whoever asks for a lock and forgets for how long has none."""
    (problem,) = problems(WORKER_ARCHIVE=CONTAINER, WORKER_BLOB_IMMUTABLE_MODE="locked")

    assert problem.startswith("WORKER_BLOB_IMMUTABLE_MODE: locks nothing")


@pytest.mark.parametrize("name", ["calls", "calls-urgent", "calls-poison"])
def test_inbox_is_none_of_the_chunk_queues(name: str) -> None:
    """Chunks read as deliveries would all be poison."""
    inbox = f"https://acct.queue.core.windows.net/{name}"
    (problem,) = problems(WORKER_QUEUE=QUEUE, WORKER_INBOX=inbox)

    assert problem.startswith("WORKER_INBOX: must be another queue")
    assert not problems(WORKER_QUEUE=QUEUE, WORKER_INBOX=f"{QUEUE}-events")
    assert not problems(WORKER_INBOX=inbox)


def test_shared_queue_needs_a_shared_archive() -> None:
    """Another machine finds neither the delivery nor the receipts in our directory."""
    real = {
        "WORKER_SOURCE_HOSTS": ".asm.skype.com",
        "WORKER_QUEUE": QUEUE,
        "WORKER_ARCHIVE": "file:/srv/recordings",
    }
    found = problems(**real)

    assert "WORKER_ARCHIVE: must be the URL of a container" in " ".join(found)
    assert not problems(**real, WORKER_UNSAFE_STORAGE="allow")
    assert not problems(**(real | {"WORKER_ARCHIVE": CONTAINER}))


def test_index_needs_its_containers() -> None:
    """Which containers may be read is said, not guessed from an event."""
    assert problems(WORKER_BYOS="index") == [
        "WORKER_BYOS_CONTAINERS: must be set for WORKER_BYOS=index"
    ]
    assert not problems(WORKER_BYOS="index", WORKER_BYOS_CONTAINERS=CONTAINER)


def test_topic_on_this_machine_needs_a_key() -> None:
    """No token goes over plain http."""
    here = "http://127.0.0.1:7000/api/events"

    assert problems(WORKER_NOTIFY=here) == [
        "WORKER_NOTIFY_KEY: must be set for a topic that is not https"
    ]
    assert not problems(WORKER_NOTIFY=here, WORKER_NOTIFY_KEY="k")


def test_endpoint_stands_in_for_a_key() -> None:
    """With an endpoint alone, tokens are sent."""
    chosen = load(
        AZURE_COMMUNICATION_CONNECTION_STRING="",
        AZURE_COMMUNICATION_ENDPOINT=f"{ENDPOINT}/ https://b.communication.azure.com",
    )

    assert chosen.endpoints == (f"{ENDPOINT}/", "https://b.communication.azure.com")


def test_endpoint_needs_source_hosts_in_full() -> None:
    """A token is good for whoever sees it, so it goes to no host of a mere suffix."""
    tokens = {
        "AZURE_COMMUNICATION_CONNECTION_STRING": "",
        "AZURE_COMMUNICATION_ENDPOINT": ENDPOINT,
        "WORKER_ARCHIVE": CONTAINER,
        "WORKER_QUEUE": QUEUE,
    }
    suffix = "storage.asm.skype.com,.asm.skype.com"
    (problem,) = problems(**tokens, WORKER_SOURCE_HOSTS=suffix)

    assert problem.startswith("WORKER_SOURCE_HOSTS: each host must be named in full")
    assert "'.asm.skype.com'" in problem
    exact = "storage.asm.skype.com,us-storage.asm.skype.com"
    assert not problems(**tokens, WORKER_SOURCE_HOSTS=exact)


@pytest.mark.parametrize(
    "more",
    [
        {"AZURE_COMMUNICATION_ENDPOINT": "https://Calls.communication.azure.com/"},
        {"AZURE_COMMUNICATION_CONNECTION_STRING": f"{CONNECTION} {CONNECTION}"},
        {"AZURE_COMMUNICATION_ENDPOINT": "https://x.a.b https://x.c.d"},
    ],
)
def test_resource_is_named_once(more: dict[str, str]) -> None:
    """Which of two identities an event would get is not left to chance."""
    (problem,) = problems(**more)

    assert problem.startswith("AZURE_COMMUNICATION_ENDPOINT: the resource ")
    assert "is named twice" in problem
    assert "aHVudGVyMg" not in problem


def test_key_and_endpoint_of_two_resources_go_together() -> None:
    """One resource may have a key, another none."""
    assert not problems(
        AZURE_COMMUNICATION_ENDPOINT="https://fabrikam.communication.azure.com"
    )


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://calls.communication.azure.com",
        "HTTPS://Calls.communication.azure.com/",
        "https://calls.communication.azure.us/",
        "https://calls.x.y//",
        "https://[::1]/",
        "https://u@calls.x.y",
        "https://calls.x.y:443",
    ],
)
def test_source_takes_every_endpoint_that_the_settings_take(endpoint: str) -> None:
    """What the settings accept does not fail behind them."""
    text = f"endpoint={endpoint};accesskey={KEY}"
    if not problems(Use.READ, AZURE_COMMUNICATION_CONNECTION_STRING=text):
        assert KeyCredential.parse(text).resource == "calls"


def test_other_name_of_the_endpoint_is_taken() -> None:
    """WORKER_ACS_ENDPOINT means AZURE_COMMUNICATION_ENDPOINT, and is shown as that."""
    inspection = settings.inspect(
        {"WORKER_ACS_ENDPOINT": ENDPOINT, "WORKER_SOURCE_HOSTS": "127.0.0.1:1"},
        use=Use.SERVE,
    )

    assert inspection.require().endpoints == (ENDPOINT,)
    origin = inspection.texts.origin("AZURE_COMMUNICATION_ENDPOINT")
    assert origin == Origin.ENVIRONMENT
    assert inspection.warnings == ()


def test_two_names_of_the_endpoint_must_agree() -> None:
    """Both set alike is fine; set apart, one is a mistake."""
    alike = {
        "AZURE_COMMUNICATION_ENDPOINT": "https://b.c.d",
        "WORKER_ACS_ENDPOINT": "https://b.c.d",
    }

    assert not problems(**alike)
    found = problems(**(alike | {"WORKER_ACS_ENDPOINT": "https://e.c.d"}))
    assert found == [
        "WORKER_ACS_ENDPOINT: is another name of AZURE_COMMUNICATION_ENDPOINT; set one"
    ]


def test_override_unsets_a_variable_under_all_its_names() -> None:
    """A simulation asks nobody for tokens, whatever the environment says."""
    environ = LOOPBACK | {"WORKER_ACS_ENDPOINT": "https://b.c.d"}

    inspection = settings.inspect(
        environ, use=Use.SERVE, overrides={"AZURE_COMMUNICATION_ENDPOINT": ""}
    )

    assert inspection.require().endpoints == ()


def test_every_secret_is_known_to_the_log() -> None:
    """Keys and signatures are redacted as they stand in settings, and decoded too."""
    signed = f"?sp=r&sig={quote('a+b/c=d', safe='')}"
    chosen = load(
        AZURE_STORAGE_CONNECTION_STRING=STORAGE,
        WORKER_ARCHIVE=f"{CONTAINER}?{SAS}",
        WORKER_BYOS_CONTAINERS=f"{CONTAINER}{signed}",
        WORKER_NOTIFY_KEY="topic-key",
    )
    shown = (
        "hunter2%2Babc%3D hunter2+abc= a%2Bb%2Fc%3Dd a+b/c=d topic-key "
        f"{KEY} {STORAGE} {SAS}"
    )

    redacted = Redaction(chosen.secrets).redacted(shown)

    assert set(redacted.split()) == {"[redacted]"}


def test_signature_of_the_connection_string_is_a_secret() -> None:
    """A connection string may bear a SAS in place of a key."""
    chosen = load(
        AZURE_STORAGE_CONNECTION_STRING=(
            f"AccountName=acct;SharedAccessSignature=?{SAS}"
        ),
        WORKER_ARCHIVE=CONTAINER,
    )

    assert {SAS, "hunter2%2Babc%3D", "hunter2+abc="} < set(chosen.secrets)


def test_no_repr_shows_a_secret() -> None:
    """Neither the settings nor what is parsed of them show a key or a signature."""
    chosen = load(
        AZURE_STORAGE_CONNECTION_STRING=STORAGE,
        WORKER_QUEUE=f"{QUEUE}?{SAS}",
        WORKER_NOTIFY_KEY="hunter2",
    )

    shown = f"{chosen.places!r} {chosen.storage_account!r} {chosen.notify_key!r}"

    assert "hunter2" not in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    ("days", "is_warned"), [(-1, True), (0, True), (1, False)], ids=str
)
def test_expired_signature_is_a_warning(*, days: int, is_warned: bool) -> None:
    """It is said in one line at the start; a new one may be on its way."""
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    ends_at = now + timedelta(days=days)
    signature = f"se={ends_at:%Y-%m-%dT%H:%M:%SZ}&sig=hunter2"

    found = settings_rules.signature_warnings(
        load(WORKER_ARCHIVE=f"{CONTAINER}?{signature}"), now=now
    )

    expected = f"its shared access signature expired at {ends_at:%F %T}Z"
    assert found == ([f"WORKER_ARCHIVE: {expected}"] if is_warned else [])


@pytest.mark.parametrize(("byos", "is_warned"), [("index", True), ("ignore", False)])
def test_expired_signature_of_exports_is_a_warning(
    byos: str, *, is_warned: bool
) -> None:
    """It names the container, for there may be several, where they are read at all."""
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    old, new = (f"?se={year}-01-01&sig=hunter2" for year in (2026, 2027))
    containers = f"{CONTAINER}-1{new},{CONTAINER}-2{old},{CONTAINER}-3"

    found = settings_rules.signature_warnings(
        load(WORKER_BYOS=byos, WORKER_BYOS_CONTAINERS=containers), now=now
    )

    assert len(found) == is_warned
    assert all(
        line.startswith(f"WORKER_BYOS_CONTAINERS ({CONTAINER}-2): ") for line in found
    )


def test_expired_signature_is_told_by_the_inspection() -> None:
    """The warning is among those that a start logs and `config` shows."""
    old = "AccountName=acct;SharedAccessSignature=sig=x&se=2020-01-01"

    inspection = settings.inspect(
        LOOPBACK | {"AZURE_STORAGE_CONNECTION_STRING": old}, use=Use.READ
    )

    (warning,) = inspection.warnings
    assert warning.startswith("AZURE_STORAGE_CONNECTION_STRING: its shared access")
    assert inspection.problems == ()
