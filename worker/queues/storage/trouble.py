"""What the errors of Azure Storage mean for a queue: the one table.

https://learn.microsoft.com/rest/api/storageservices/queue-service-error-codes
"""

from http import HTTPStatus

import aiohttp
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
)

from worker.errors import (
    LeaseLostError,
    QueueUnavailableError,
    RetryableError,
    WorkerError,
)
from worker.storage_places import Place

FOREIGN = (AzureError, aiohttp.ClientError, TimeoutError)
"""What the SDK raises, and what it lets through while it reads an answer."""
NO_MESSAGE = "MessageNotFound"
_SOMEBODY_ELSES = {NO_MESSAGE, "PopReceiptMismatch"}
_REFUSED = "this identity may not do that"
_REFUSALS = {
    "AccountIsDisabled": "the account is disabled",
    "AuthorizationFailure": f"{_REFUSED}, or not from here",
    "AuthorizationPermissionMismatch": _REFUSED,
    "QueueNotFound": "there is no such queue",
}
_WAITS = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
}
"""Beside 5xx: what passes by itself."""


class QueueBusyError(RetryableError):
    """The service did not answer, or can't now; never leaves the adapter."""

    reason = "queue-busy"


def error_from_azure(error: BaseException, place: Place, queue: str) -> WorkerError:
    """Return our error for one of FOREIGN: LeaseLost, QueueBusy or QueueUnavailable.

    One line, without the service's own prose: that may hold the request's URL.
    """
    if isinstance(error, HttpResponseError) and error.response is not None:
        return _answer(error, place, queue)
    where = place.account_url.partition("://")[2]
    if isinstance(error, ClientAuthenticationError):
        told = str(error).partition("\n")[0][:200]
        return QueueUnavailableError(
            f"no credential for {place.account!r}: {told}", hint="az login"
        )
    inner = getattr(error, "inner_exception", None)
    if isinstance(error, ServiceRequestError) and isinstance(inner, _NO_HOST):
        return QueueUnavailableError(
            f"no host {where!r}: is the name right?",
            hint=f"az storage account show --name {place.account}",
        )
    return QueueBusyError(f"{where} did not answer: {type(inner or error).__name__}")


_NO_HOST = aiohttp.ClientConnectorDNSError


def _answer(error: HttpResponseError, place: Place, queue: str) -> WorkerError:
    status, code = error.status_code or 0, code_of(error)
    if code in _SOMEBODY_ELSES:
        return LeaseLostError("the message belongs to another worker")
    if code == "AuthenticationFailed" or status == HTTPStatus.UNAUTHORIZED:
        return _stranger(error, place)
    told = f"({status} {code or 'without a code'}, {place.account_url}/{queue})"
    if code not in _REFUSALS and (
        status in _WAITS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        is_throttling = status == HTTPStatus.TOO_MANY_REQUESTS
        what = "throttles" if is_throttling else "can't do that now"
        return QueueBusyError(
            f"the service {what} {told}", retry_after=_retry_after(error)
        )
    text = _REFUSALS.get(code, "the service refuses that")
    return QueueUnavailableError(f"{text} {told}", hint=_hint(code, place, queue))


def _stranger(error: HttpResponseError, place: Place) -> WorkerError:
    """Who we are was not believed: the clock, the signature, or the key."""
    told = getattr(error, "additional_info", None) or {}
    detail = str(told.get("authenticationerrordetail") or "").casefold()
    if "date header" in detail:
        return QueueUnavailableError(
            f"this machine's clock is wrong ({place.url})", hint="date -u"
        )
    if place.sas or "time frame" in detail or "sas" in detail:
        return QueueUnavailableError(
            f"the shared access signature is expired or not valid ({place.url})",
            hint=f"az storage queue generate-sas --help # for {place.name}",
        )
    return QueueUnavailableError(
        f"the credential is expired or not valid ({place.url})",
        hint="recording-worker config",
    )


def _hint(code: str, place: Place, queue: str) -> str:
    if code == "QueueNotFound":
        return create_command(place, queue)
    if code.startswith("Authorization"):
        return (
            "az role assignment create --role 'Storage Queue Data Contributor' "
            f"--assignee WORKER --scope $(az storage account show --name "
            f"{place.account} --query id --output tsv)"
        )
    return "recording-worker config"


def create_command(place: Place, queue: str) -> str:
    """What an operator types to make the queue."""
    return (
        f"az storage queue create --name {queue} --account-name {place.account}"
        " --auth-mode login"
    )


def code_of(error: BaseException) -> str:
    """The service's word for what is wrong; empty if it gave none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _retry_after(error: HttpResponseError) -> float | None:
    headers = getattr(error.response, "headers", None) or {}
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None
