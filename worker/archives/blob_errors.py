"""What the errors of Azure Storage mean for an archive: the one table.

https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
"""

from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
)

from worker.errors import (
    AlreadyExistsError,
    ArchiveConflictError,
    ArchiveForbiddenError,
    ArchiveFullError,
    ArchiveUnavailableError,
    RetryableError,
    WorkerError,
)
from worker.storage_places import Place

FOREIGN = (AzureError, aiohttp.ClientError, TimeoutError)
"""What the SDK raises, and what it lets through while it reads a body."""


class NoBlobError(WorkerError):
    """There is no blob of that name."""

    reason = "no-blob"


class PastEndError(WorkerError):
    """The blob ends before the range that was asked for."""

    reason = "past-end"


_Kind = type[WorkerError]
_TAKEN = "the blob is there already"
_OTHER = "the name holds other blocks"
_REFUSED = "this identity may not do that"
_CODES: dict[str, tuple[_Kind, str]] = {
    "BlobNotFound": (NoBlobError, "there is no such blob"),
    "InvalidRange": (PastEndError, "the blob ends before"),
    # A taken name, at the commit or already at the first block.
    "BlobAlreadyExists": (AlreadyExistsError, _TAKEN),
    "BlobArchived": (AlreadyExistsError, _TAKEN),
    "BlobBeingRehydrated": (AlreadyExistsError, _TAKEN),
    "BlobImmutableDueToLegalHold": (AlreadyExistsError, _TAKEN),
    "BlobImmutableDueToPolicy": (AlreadyExistsError, _TAKEN),
    "ConditionNotMet": (AlreadyExistsError, _TAKEN),
    "ContainerAlreadyExists": (AlreadyExistsError, "the container is there already"),
    "LeaseIdMissing": (AlreadyExistsError, _TAKEN),
    "UnauthorizedBlobOverwrite": (AlreadyExistsError, _TAKEN),
    # Another name is free of these, as of blocks whose ids have another length.
    "BlockCountExceedsLimit": (ArchiveConflictError, _OTHER),
    "InvalidBlobOrBlock": (ArchiveConflictError, _OTHER),
    "InvalidBlobType": (ArchiveConflictError, _OTHER),
    "InvalidBlockId": (ArchiveConflictError, _OTHER),
    # The next attempt looks anew at which blocks are there.
    "InvalidBlockList": (ArchiveUnavailableError, "blocks are gone"),
    "Md5Mismatch": (ArchiveUnavailableError, "other bytes came than were sent"),
    # What Azurite says to a wrong MD5.
    "InvalidOperation": (ArchiveUnavailableError, "the service did not take it"),
    "AccountBeingCreated": (ArchiveUnavailableError, "the account is not ready"),
    "ContainerBeingDeleted": (ArchiveUnavailableError, "the container is going"),
    # The last is Azurite's.
    "AccountQuotaExceeded": (ArchiveFullError, "the account is full"),
    "StorageAccountQuotaExceeded": (ArchiveFullError, "the account is full"),
    "MemoryExtentStoreAtSizeLimit": (ArchiveFullError, "the account is full"),
    "AccountIsDisabled": (ArchiveForbiddenError, "the account is disabled"),
    "AuthorizationFailure": (ArchiveForbiddenError, f"{_REFUSED}, or not from here"),
    "AuthorizationPermissionMismatch": (ArchiveForbiddenError, _REFUSED),
    "ContainerDisabled": (ArchiveForbiddenError, "the container is disabled"),
    "ContainerNotFound": (ArchiveForbiddenError, "there is no such container"),
    # https://learn.microsoft.com/azure/storage/blobs/storage-feature-support-in-storage-accounts
    "FeatureNotYetSupportedForHierarchicalNamespaceAccounts": (
        ArchiveForbiddenError,
        "the account has a hierarchical namespace",
    ),
}
_STRANGERS = {
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "NoAuthenticationInformation",
    "RequestTimeTooSkewed",
}
_STATUSES: dict[int, tuple[_Kind, str]] = {
    408: (ArchiveUnavailableError, "the service was too slow"),
    409: (ArchiveUnavailableError, "the service can't do that now"),
    412: (ArchiveUnavailableError, "the service can't do that now"),
    413: (ArchiveFullError, "the service takes no more"),
    429: (ArchiveUnavailableError, "the service throttles"),
    503: (ArchiveUnavailableError, "the service is busy"),
    507: (ArchiveFullError, "the account is full"),
}


def error_from_azure(error: BaseException, place: Place) -> WorkerError:
    """Return the archive's error for one of FOREIGN, with a hint where one helps.

    One line, without the service's own prose: that may hold the request's URL.
    """
    if isinstance(error, HttpResponseError) and error.response is not None:
        return _refusal(error, place)
    if isinstance(error, ClientAuthenticationError):
        return ArchiveForbiddenError(
            f"no credential for {place.account!r}: {_line(error)}", hint="az login"
        )
    inner = getattr(error, "inner_exception", None)
    if isinstance(inner, aiohttp.ClientConnectorDNSError):
        return ArchiveUnavailableError(
            f"no host {_host(place)!r}: is the name right?",
            hint=f"az storage account show --name {place.account}",
        )
    return ArchiveUnavailableError(
        f"{_host(place)} did not answer: {type(inner or error).__name__}"
    )


def _refusal(error: HttpResponseError, place: Place) -> WorkerError:
    status = error.status_code or 0
    code = code_of(error)
    # Azurite says AuthorizationFailure to a signature that Azure does not authenticate.
    is_unsigned = bool(place.sas) and code == "AuthorizationFailure"
    if code in _STRANGERS or status == HTTPStatus.UNAUTHORIZED or is_unsigned:
        return _stranger(error, place)
    kind, text = _CODES.get(code) or _STATUSES.get(status) or _by_class(status)
    message = f"{text} ({status} {code or 'without a code'}, {place.url})"
    if not issubclass(kind, RetryableError):
        return kind(message)
    hint = _hint(code, place) if status in {403, 404} else None
    return kind(message, hint=hint, retry_after=_retry_after(error))


def code_of(error: BaseException) -> str:
    """The service's word for what is wrong; empty if it gave none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _by_class(status: int) -> tuple[_Kind, str]:
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return ArchiveForbiddenError, "the service refuses that"
    return ArchiveUnavailableError, "the service failed"


def _stranger(error: HttpResponseError, place: Place) -> ArchiveForbiddenError:
    """Who we are was not believed: the clock, the signature, or the key."""
    detail = _detail(error).casefold()
    if "date header" in detail or code_of(error) == "RequestTimeTooSkewed":
        text, hint = "this machine's clock is wrong", "date -u"
    elif place.sas or "time frame" in detail:
        text = "the shared access signature is expired or not valid"
        hint = _sign_command(place)
    else:
        text, hint = "the credential is expired or not valid", "recording-worker config"
    return ArchiveForbiddenError(f"{text} ({place.url})", hint=hint)


def _hint(code: str, place: Place) -> str:
    if code == "ContainerNotFound":
        return create_command(place)
    if code.startswith("Authorization"):
        return _sign_command(place) if place.sas else _role_command(place)
    return "recording-worker config"


def _sign_command(place: Place) -> str:
    return (
        f"az storage container generate-sas --name {place.name} "
        f"--account-name {place.account} --permissions racwlt --expiry DATE"
    )


def _role_command(place: Place) -> str:
    return (
        "az role assignment create --role 'Storage Blob Data Contributor' --assignee "
        f"ID --scope $(az storage account show --name {place.account} --query id -o tsv)"
    )


def create_command(place: Place) -> str:
    """What an operator types to make the container."""
    return (
        f"az storage container create --name {place.name} "
        f"--account-name {place.account} --auth-mode login"
    )


def _retry_after(error: HttpResponseError) -> float | None:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None


def _detail(error: HttpResponseError) -> str:
    told = getattr(error, "additional_info", None) or {}
    return str(told.get("authenticationerrordetail") or "")


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


def _host(place: Place) -> str:
    return place.account_url.partition("://")[2]
