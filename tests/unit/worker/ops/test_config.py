"""Effective settings with their origin, secrets masked."""

from pathlib import Path

from worker import settings
from worker.ops.config import ConfigReport, ConfigRow, config_report
from worker.settings_rules import Use

CONNECTION = "endpoint=https://calls.communication.azure.com/;accesskey=aHVudGVyMg=="


def report(env_file: Path | None = None, **variables: str) -> ConfigReport:
    return config_report(settings.inspect(variables, env_file, use=Use.READ))


def row(found: ConfigReport, variable: str) -> ConfigRow:
    return next(row for row in found.settings if row.variable == variable)


def test_every_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    """Given in the environment, in the file, or by default."""
    file = tmp_path / "worker.env"
    file.write_text("WORKER_MAX_RANGES=3\n")

    found = report(file, WORKER_MAX_CHUNKS="5")

    chunks, ranges = row(found, "WORKER_MAX_CHUNKS"), row(found, "WORKER_MAX_RANGES")
    block = row(found, "WORKER_BLOCK_MIB")
    assert (chunks.value, chunks.origin) == ("5", "environment")
    assert (ranges.value, ranges.origin) == ("3", "env file")
    assert (block.value, block.origin) == ("8", "default")
    assert row(found, "WORKER_INSTANCE").value == "HOST-PID"
    assert row(found, "WORKER_SOURCE_HOSTS").value.startswith(".asm.skype.com,")
    assert len(found.settings) == len(settings.VARIABLES)


def test_connection_string_shows_its_endpoint_alone() -> None:
    """Which resource is set matters; the key is masked."""
    other = "accesskey=c2Vjb25k;endpoint=https://b.communication.azure.com"
    found = report(AZURE_COMMUNICATION_CONNECTION_STRING=f"{CONNECTION} {other}")

    assert row(found, "AZURE_COMMUNICATION_CONNECTION_STRING").value == (
        "endpoint=https://calls.communication.azure.com/;accesskey=*** "
        "endpoint=https://b.communication.azure.com;accesskey=***"
    )


def test_misshapen_connection_string_is_masked_whole() -> None:
    """Where the key is can't be told, so nothing is shown."""
    found = report(AZURE_COMMUNICATION_CONNECTION_STRING="aHVudGVyMg==")

    assert row(found, "AZURE_COMMUNICATION_CONNECTION_STRING").value == "***"
    assert found.problems


def test_webhook_keys_are_counted_not_shown() -> None:
    """Two keys during a rotation look like two."""
    assert row(report(WORKER_WEBHOOK_KEYS="a, b,"), "WORKER_WEBHOOK_KEYS").value == (
        "***,***"
    )


def test_wrong_values_are_shown_with_their_problems() -> None:
    """`config` is where an operator looks when a start failed."""
    found = report(WORKER_MAX_CHUNKS="many", WORKER_COLOUR="red")

    assert row(found, "WORKER_MAX_CHUNKS").value == "many"
    assert found.problems == ("WORKER_MAX_CHUNKS: must be a whole number",)
    assert found.warnings == ("WORKER_COLOUR: unknown, ignored",)


def test_secret_in_the_wrong_place_is_redacted() -> None:
    """A signed URL where a path belongs does not end up in a ticket."""
    found = report(WORKER_ARCHIVE="https://x/c?sig=hunter2")

    assert "hunter2" not in row(found, "WORKER_ARCHIVE").value


STORAGE = "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=aHVudGVyMg=="
SAS = "sv=2026-02-06&se=2099-01-01&sig=hunter2%3D"


def test_storage_connection_string_shows_its_account_alone() -> None:
    """Which account is set matters, and whether by key or signature; both are masked."""
    signed = f"BlobEndpoint=https://b.example/;SharedAccessSignature={SAS}"
    by_key = report(AZURE_STORAGE_CONNECTION_STRING=STORAGE)
    by_signature = report(AZURE_STORAGE_CONNECTION_STRING=signed)

    assert row(by_key, "AZURE_STORAGE_CONNECTION_STRING").value == (
        "AccountName=acct;BlobEndpoint=https://acct.blob.core.windows.net;"
        "QueueEndpoint=https://acct.queue.core.windows.net;AccountKey=***"
    )
    assert row(by_signature, "AZURE_STORAGE_CONNECTION_STRING").value == (
        "BlobEndpoint=https://b.example;SharedAccessSignature=***"
    )


def test_misshapen_storage_connection_string_is_masked_whole() -> None:
    """What can't be read may be a key."""
    found = report(AZURE_STORAGE_CONNECTION_STRING="AccountName=a;Key=hunter2")

    assert row(found, "AZURE_STORAGE_CONNECTION_STRING").value == "***"
    assert found.problems
    assert row(report(), "AZURE_STORAGE_CONNECTION_STRING").value == ""


def test_signature_in_a_url_is_masked() -> None:
    """The place is shown, and not what opens it."""
    container = "https://acct.blob.core.windows.net/calls"
    found = report(
        WORKER_ARCHIVE=f"{container}/a?{SAS}",
        WORKER_BYOS_CONTAINERS=f"{container}-1?{SAS},{container}-2?{SAS}",
    )

    assert row(found, "WORKER_ARCHIVE").value == f"{container}/a?[redacted]"
    shown = row(found, "WORKER_BYOS_CONTAINERS").value
    assert shown.startswith(f"{container}-1?[redacted]")
    assert "hunter2" not in shown


def test_key_of_the_topic_is_masked() -> None:
    """It is said that there is one."""
    found = report(WORKER_NOTIFY_KEY="hunter2")

    assert row(found, "WORKER_NOTIFY_KEY").value == "***"
    assert row(report(), "WORKER_NOTIFY_KEY").value == ""


def test_other_name_of_a_setting_is_shown_under_its_own() -> None:
    """WORKER_ACS_ENDPOINT is AZURE_COMMUNICATION_ENDPOINT, wherever it is from."""
    found = report(WORKER_ACS_ENDPOINT="https://calls.communication.azure.com")

    endpoint = row(found, "AZURE_COMMUNICATION_ENDPOINT")
    assert (endpoint.value, endpoint.origin) == (
        "https://calls.communication.azure.com",
        "environment",
    )


def test_known_secret_is_redacted_wherever_else_it_stands() -> None:
    """Pasted once more into the wrong variable, or into what a wrong value is told by."""
    key = "hunter2-of-the-webhook"
    found = report(
        WORKER_WEBHOOK_KEYS=f"{key},other",
        WORKER_NOTIFY_KEY="hunter2-of-the-topic",
        AZURE_STORAGE_CONNECTION_STRING=STORAGE,
        WORKER_EVENT_TOPICS=f"a,{key}",
        WORKER_INSTANCE="hunter2-of-the-topic",
        WORKER_LISTEN="aHVudGVyMg==",
        WORKER_SOURCE_HOSTS=f"a.b,https://a.b/?code={key}",
    )

    told = f"{found}"
    assert key not in told
    assert "hunter2-of" not in told
    assert "aHVudGVyMg==" not in told
    assert "AccountName=acct" in told
    assert (
        "WORKER_SOURCE_HOSTS: entry 2 is not a full host name, .SUFFIX.OF.ONE or"
        " 127.0.0.1:PORT" in found.problems
    )
