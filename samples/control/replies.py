"""What the control API answers, as values; errors as `CommunicationErrorResponse` has them.

https://github.com/Azure/azure-rest-api-specs/tree/main/specification/communication/data-plane/Common
"""

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

Json = dict[str, Any]
CALL_NOT_FOUND = "8522"
NOT_ESTABLISHED = "8501"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer; `body` None: none."""

    status: int
    body: Json | None = None
    headers: dict[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """The request is answered with an error."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.reply = error(status, code, message)


def error(status: HTTPStatus, code: str, message: str) -> Reply:
    return Reply(
        status=status,
        body={"error": {"code": code, "message": message}},
        headers={"x-ms-error-code": code},
    )


def bad_request(message: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, "BadRequest", message)


def not_found(code: str, message: str) -> RefusedError:
    return RefusedError(HTTPStatus.NOT_FOUND, code, message)


def read_object(body: bytes) -> Json:
    """Read the JSON object that a body is. Raises RefusedError."""
    try:
        said = json.loads(body)
    except ValueError:
        raise bad_request("The body is not JSON.") from None
    if not isinstance(said, dict):
        raise bad_request("The body is not an object.")
    return said
