"""What the service's errors mean for a queue, where no answer came."""

import pytest
from aiohttp.client_exceptions import ClientConnectorDNSError, ClientPayloadError
from aiohttp.client_reqrep import ConnectionKey
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    ServiceRequestError,
    ServiceResponseError,
)

from worker.errors import QueueUnavailableError
from worker.queues.storage.trouble import QueueBusyError, error_from_azure
from worker.storage_places import Place, Service

PLACE = Place(
    service=Service.QUEUE,
    account_url="https://calls.queue.core.windows.net",
    account="calls",
    name="chunks",
    sas="sv=1&sig=secret",
)
KEY = ConnectionKey(
    host="calls.queue.core.windows.net",
    port=443,
    is_ssl=True,
    ssl=True,
    proxy=None,
    proxy_auth=None,
    proxy_headers_hash=None,
)


@pytest.mark.parametrize(
    "error",
    [
        ServiceRequestError("connect"),
        ServiceResponseError("reset"),
        ClientPayloadError("cut"),
        TimeoutError(),
        AzureError("?"),
    ],
    ids=repr,
)
def test_silence_passes_by_itself(error: Exception) -> None:
    """It is tried again; the text is one line, and without the signature."""
    told = error_from_azure(error, PLACE)

    assert isinstance(told, QueueBusyError)
    assert str(told).startswith("calls.queue.core.windows.net did not answer: ")
    assert "secret" not in str(told)


def test_unknown_host_is_a_wrong_account() -> None:
    """No retry helps, and the hint shows the account."""
    inner = ClientConnectorDNSError(KEY, OSError("unknown"))

    told = error_from_azure(ServiceRequestError(str(inner), error=inner), PLACE)

    assert isinstance(told, QueueUnavailableError)
    assert "no host 'calls.queue.core.windows.net'" in str(told)
    assert told.hint == "az storage account show --name calls"


def test_missing_identity_is_told_in_one_line() -> None:
    """What DefaultAzureCredential says is a page."""
    error = ClientAuthenticationError("no credential\nin this chain\nof eight")

    told = error_from_azure(error, PLACE)

    assert str(told) == "no credential for 'calls': no credential"
    assert told.hint == "az login"
