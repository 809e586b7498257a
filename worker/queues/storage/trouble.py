"""What the errors of Azure Storage mean for a queue: the one table.

https://learn.microsoft.com/rest/api/storageservices/queue-service-error-codes
"""

from http import HTTPStatus

from azure.core.exceptions import HttpResponseError

from worker import storage_errors
from worker.errors import (
    LeaseLostError,
    QueueUnavailableError,
    RetryableError,
    WorkerError,
)
from worker.storage_errors import REFUSALS
from worker.storage_places import Place

NO_MESSAGE = "MessageNotFound"
_SOMEBODY_ELSES = {NO_MESSAGE, "PopReceiptMismatch"}
_REFUSALS = {**REFUSALS, "QueueNotFound": "there is no such queue"}
_WAITS = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
}
"""Beside 5xx: what passes by itself."""


class QueueBusyError(RetryableError):
    """The service did not answer, or can't now; never leaves the adapter."""

    reason = "queue-busy"


def error_from_azure(error: BaseException, place: Place) -> WorkerError:
    """Return our error for one of FOREIGN: LeaseLost, QueueBusy or QueueUnavailable."""
    if isinstance(error, HttpResponseError) and error.response is not None:
        return _answer(error, place)
    told = storage_errors.no_answer(error, place)
    if told.hint is None:
        return QueueBusyError(told.text)
    return QueueUnavailableError(told.text, hint=told.hint)


def _answer(error: HttpResponseError, place: Place) -> WorkerError:
    status, code = error.status_code or 0, storage_errors.code_of(error)
    if code in _SOMEBODY_ELSES:
        return LeaseLostError("the message belongs to another worker")
    stranger = storage_errors.stranger(error, place)
    if stranger is not None:
        return QueueUnavailableError(stranger.text, hint=stranger.hint)
    answered = storage_errors.answered(error, place)
    if code not in _REFUSALS and (
        status in _WAITS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        is_throttling = status == HTTPStatus.TOO_MANY_REQUESTS
        what = "throttles" if is_throttling else "can't do that now"
        return QueueBusyError(
            f"the service {what} {answered}",
            retry_after=storage_errors.retry_after_of(error),
        )
    return QueueUnavailableError(
        f"{_REFUSALS.get(code, 'the service refuses that')} {answered}",
        hint=storage_errors.refusal_hint(code, place),
    )
