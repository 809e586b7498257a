"""What asking ACS for something can come to, in one line for the operator."""

import re
from http import HTTPStatus
from typing import Any

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
)

from worker.entra import why_no_token
from worker.errors import WorkerError

_CODE = re.compile(r"[\w.-]{1,64}", re.ASCII)
_LONGEST = 300


class UnfitRequestError(WorkerError):
    """What the service would refuse, or can't do; it was not asked."""

    reason = "unfit-request"


class AcsRefusedError(WorkerError):
    """ACS answered that it won't; the hint is the verb's own help."""

    reason = "acs-refused"


class AcsForbiddenError(AcsRefusedError):
    reason = "acs-forbidden"
    hint = "recording-worker config --for acs"


class AcsUnavailableError(WorkerError):
    """ACS did not answer, or not now."""

    reason = "acs-unavailable"
    hint = "recording-worker config --for acs"


class AcsAnswerError(WorkerError):
    """ACS agreed, in words that its own client can't read; what was asked for is done."""

    reason = "acs-answer"
    hint = "recording-worker config --for acs"


class NoResourceError(WorkerError):
    """Which ACS resource is meant can't be told, or it is none of ours."""

    reason = "no-resource"
    hint = "recording-worker config --for acs"


def error_from(error: Exception, *, host: str) -> WorkerError:
    """Map what the SDK raised."""
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        return _refused(error, int(error.status_code), host=host)
    if isinstance(error, ClientAuthenticationError):
        return AcsForbiddenError(
            f"no identity gets a token for ACS: {why_no_token(error)}"
        )
    if isinstance(error, AzureError | TimeoutError):
        return AcsUnavailableError(f"{host} did not answer")
    raise error


def unreadable(host: str) -> WorkerError:
    return AcsAnswerError(f"{host} answered what its client can't read")


def _refused(error: HttpResponseError, status: int, *, host: str) -> WorkerError:
    if status < HTTPStatus.MULTIPLE_CHOICES:
        # Not JSON, or another success than the one that is documented.
        return unreadable(host)
    told = f"{host} answered {_words(error, status)}"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return AcsForbiddenError(told)
    if (
        status == HTTPStatus.TOO_MANY_REQUESTS
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        later = _retry_after(error)
        return AcsUnavailableError(f"{told}; try again in {later} s" if later else told)
    return AcsRefusedError(told)


def _words(error: HttpResponseError, status: int) -> str:
    """`404 8522: Call not found.`: the status, and the code and message of the error's body.

    Of the body and not of the SDK's own text, which repeats it over several lines.
    """
    said = _error_in(error)
    code, message = str(said.get("code") or ""), str(said.get("message") or "")
    code = code if _CODE.fullmatch(code) else ""
    message = " ".join(message.split())[:_LONGEST]
    return " ".join(filter(None, (str(status), code))) + (
        f": {message}" if message else ""
    )


def _error_in(error: HttpResponseError) -> dict[str, Any]:
    response: Any = error.response
    try:
        body = response.json()
    except (ValueError, AttributeError):
        return {}
    said = body.get("error") if isinstance(body, dict) else None
    return said if isinstance(said, dict) else {}


def _retry_after(error: HttpResponseError) -> str:
    response: Any = error.response
    said = str(response.headers.get("Retry-After", ""))
    return said if said.isdecimal() else ""
