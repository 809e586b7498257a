"""What every service of Azure Storage tells in one way: silence, strangers, what to type.

What each code means is the business of worker/archives/blob_errors.py and of
worker/queues/storage/trouble.py. All texts are one line, without the service's own prose:
that may hold the request's URL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
)

from worker.entra import why_no_token
from worker.storage_places import Place, Service

FOREIGN = (AzureError, aiohttp.ClientError, TimeoutError)
"""What the SDK raises, and what it lets through while it reads a body."""
REFUSED = "this identity may not do that"
REFUSALS = {
    "AccountIsDisabled": "the account is disabled",
    "AuthorizationFailure": f"{REFUSED}, or not from here",
    "AuthorizationPermissionMismatch": REFUSED,
}
"""The codes that mean the same wherever they come from."""
_CONFIG = "recording-worker config"
_MISSING = {"ContainerNotFound", "QueueNotFound"}
_SKEWED = "RequestTimeTooSkewed"
_STRANGERS = {
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "NoAuthenticationInformation",
    _SKEWED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is wrong; `hint` is a command, where only a human can mend it."""

    text: str
    hint: str | None = None


def no_answer(error: BaseException, place: Place) -> Told:
    """What one of FOREIGN means that is no answer of the service."""
    if isinstance(error, ClientAuthenticationError):
        told = why_no_token(error)
        return Told(
            text=f"no credential for {place.account!r}: {told}", hint="az login"
        )
    host = place.account_url.partition("://")[2]
    inner = getattr(error, "inner_exception", None)
    if isinstance(inner, aiohttp.ClientConnectorDNSError):
        return Told(
            text=f"no host {host!r}: is the name right?",
            hint=f"az storage account show --name {place.account}",
        )
    return Told(text=f"{host} did not answer: {type(inner or error).__name__}")


def stranger(error: HttpResponseError, place: Place) -> Told | None:
    """Why it was not believed who we are: the clock, the signature, or the key; else None."""
    code = code_of(error)
    # Azurite says AuthorizationFailure to a signature that Azure does not authenticate.
    is_unsigned = bool(place.sas) and code == "AuthorizationFailure"
    is_unknown = error.status_code == HTTPStatus.UNAUTHORIZED
    if not (code in _STRANGERS or is_unknown or is_unsigned):
        return None
    detail = _detail(error).casefold()
    if "date header" in detail or code == _SKEWED:
        text, hint = "this machine's clock is wrong", "date -u"
    elif place.sas or "time frame" in detail:
        text = "the shared access signature is expired or not valid"
        hint = _sign_command(place)
    else:
        text, hint = "the credential is expired or not valid", _CONFIG
    return Told(text=f"{text} {answered(error, place)}", hint=hint)


def answered(error: HttpResponseError, place: Place) -> str:
    """The service's answer and where it came from, in brackets."""
    code = code_of(error) or "without a code"
    return f"({error.status_code or 0} {code}, {place.url})"


def refusal_hint(code: str, place: Place) -> str:
    """What an operator types when the service refuses with that code."""
    if code in _MISSING:
        return create_command(place)
    if code.startswith("Authorization"):
        return _sign_command(place) if place.sas else _role_command(place)
    return _CONFIG


def create_command(place: Place) -> str:
    """What an operator types to make the container or the queue."""
    kind = "container" if place.service is Service.BLOB else "queue"
    return (
        f"az storage {kind} create --name {place.name} "
        f"--account-name {place.account} --auth-mode login"
    )


def protect_command(place: Place) -> str:
    """What an operator types so that nobody can delete from the container for a week."""
    return (
        f"az storage container immutability-policy create --container-name {place.name} "
        f"--account-name {place.account} --period 7"
    )


def code_of(error: BaseException) -> str:
    """The service's word for what is wrong; empty if it gave none."""
    code = getattr(error, "error_code", None)
    # Known codes are members of an enum, others plain text.
    return str(getattr(code, "value", code) or "")


def retry_after_of(error: HttpResponseError) -> float | None:
    """How many seconds the service asks to be left alone."""
    headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None


def _sign_command(place: Place) -> str:
    if place.service is Service.QUEUE:
        # One signature for the queue and for those beside it.
        return (
            f"az storage account generate-sas --account-name {place.account} "
            "--services q --resource-types co --permissions racup --expiry DATE"
        )
    return (
        f"az storage container generate-sas --name {place.name} "
        f"--account-name {place.account} --permissions racwlt --expiry DATE"
    )


def _role_command(place: Place) -> str:
    role = f"Storage {place.service.capitalize()} Data Contributor"
    return (
        f"az role assignment create --role '{role}' --assignee ID "
        f"--scope $(az storage account show --name {place.account} --query id -o tsv)"
    )


def _detail(error: HttpResponseError) -> str:
    told = getattr(error, "additional_info", None) or {}
    return str(told.get("authenticationerrordetail") or "")
