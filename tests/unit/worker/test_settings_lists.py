"""Settings that hold several: what stands between them is said, and never guessed."""

import pytest

from worker import settings
from worker.settings_rules import Use

ONE = "endpoint=https://one.communication.azure.com/;accesskey=aHVudGVyMg=="
OTHER = "endpoint=https://other.communication.azure.com/;accesskey=aHVudGVyMw=="
BY_COMMAS = {
    "WORKER_SOURCE_HOSTS": "storage.asm.skype.com eu-storage.asm.skype.com",
    "WORKER_EVENT_TOPICS": "/subscriptions/a\n/subscriptions/b",
    "WORKER_WEBHOOK_KEYS": "hunter2 hunter3",
    "WORKER_BYOS_CONTAINERS": "https://a.blob.core.windows.net/abc https://b.c/abc",
    "WORKER_CALLBACKS_RESOURCES": f"{'1' * 8}-1111-1111-1111-{'1' * 12} 2",
    "WORKER_WEBHOOK_ENTRA_AUDIENCES": "api://a api://b",
    "WORKER_WEBHOOK_ENTRA_CALLERS": "a b",
}
BY_SPACES = {
    "AZURE_COMMUNICATION_CONNECTION_STRING": f"{ONE},{OTHER}",
    "AZURE_COMMUNICATION_ENDPOINT": "https://a.communication.azure.com,https://b.c",
}


def problems(**variables: str) -> list[str]:
    return list(settings.inspect(variables, use=Use.READ).problems)


@pytest.mark.parametrize(("variable", "text"), BY_COMMAS.items(), ids=BY_COMMAS)
def test_spaces_do_not_stand_for_commas(variable: str, text: str) -> None:
    """A topic or a key with a space in it would match nothing, and nobody would see why."""
    (problem,) = problems(**{variable: text})

    assert problem == f"{variable}: entry 1 has a space in it; commas separate entries"


@pytest.mark.parametrize(("variable", "text"), BY_SPACES.items(), ids=BY_SPACES)
def test_commas_do_not_stand_for_spaces(variable: str, text: str) -> None:
    """Of two connection strings in one, the second's key would sign for the first."""
    (problem,) = problems(**{variable: text})

    assert problem == f"{variable}: has a comma in it; spaces separate entries"


def test_blanks_beside_commas_and_line_ends_are_fine() -> None:
    """Lists are written as people write them."""
    chosen = settings.Settings.load(
        {
            "AZURE_COMMUNICATION_CONNECTION_STRING": f" {ONE}\n{OTHER} ",
            "WORKER_SOURCE_HOSTS": "127.0.0.1:7700, 127.0.0.1:7701,\n",
        }
    )

    assert chosen.source_hosts == ("127.0.0.1:7700", "127.0.0.1:7701")
    assert len(chosen.connection_strings) == 2
