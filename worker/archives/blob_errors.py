"""What the errors of Azure Storage mean for an archive: the one table.

https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
"""

from http import HTTPStatus

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

from worker import storage_errors
from worker.errors import (
    AlreadyExistsError,
    ArchiveConflictError,
    ArchiveForbiddenError,
    ArchiveFullError,
    ArchiveUnavailableError,
    RetryableError,
    WorkerError,
)
from worker.storage_errors import REFUSALS
from worker.storage_places import Place


class NoBlobError(WorkerError):
    """There is no blob of that name."""

    reason = "no-blob"


class PastEndError(WorkerError):
    """The blob ends before the range that was asked for."""

    reason = "past-end"


_Kind = type[WorkerError]
_TAKEN = "the blob is there already"
_OTHER = "the name holds other blocks"
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
    **{code: (ArchiveForbiddenError, text) for code, text in REFUSALS.items()},
    "ContainerDisabled": (ArchiveForbiddenError, "the container is disabled"),
    "ContainerNotFound": (ArchiveForbiddenError, "there is no such container"),
    # https://learn.microsoft.com/azure/storage/blobs/storage-feature-support-in-storage-accounts
    "FeatureNotYetSupportedForHierarchicalNamespaceAccounts": (
        ArchiveForbiddenError,
        "the account has a hierarchical namespace",
    ),
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
    """Return the archive's error for one of FOREIGN, with a hint where one helps."""
    if isinstance(error, HttpResponseError) and error.response is not None:
        return _refusal(error, place)
    told = storage_errors.no_answer(error, place)
    if isinstance(error, ClientAuthenticationError):
        return ArchiveForbiddenError(told.text, hint=told.hint)
    return ArchiveUnavailableError(told.text, hint=told.hint)


def _refusal(error: HttpResponseError, place: Place) -> WorkerError:
    stranger = storage_errors.stranger(error, place)
    if stranger is not None:
        return ArchiveForbiddenError(stranger.text, hint=stranger.hint)
    status, code = error.status_code or 0, storage_errors.code_of(error)
    kind, text = _CODES.get(code) or _STATUSES.get(status) or _by_class(status)
    message = f"{text} {storage_errors.answered(error, place)}"
    if not issubclass(kind, RetryableError):
        return kind(message)
    is_refused = status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
    return kind(
        message,
        hint=storage_errors.refusal_hint(code, place) if is_refused else None,
        retry_after=storage_errors.retry_after_of(error),
    )


def _by_class(status: int) -> tuple[_Kind, str]:
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return ArchiveForbiddenError, "the service refuses that"
    return ArchiveUnavailableError, "the service failed"
