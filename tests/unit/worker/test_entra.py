"""Why there is no token: what helps an operator, and nothing that a service threw back."""

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from tests import canaries
from tests.canaries import seen
from worker.entra import why_no_token

SECRET = canaries.CLIENT_SECRET
FAILED = (
    "DefaultAzureCredential failed to retrieve a token from the included credentials"
)
CHAIN = (
    f"{FAILED}.\n"
    "Attempted credentials:\n\tEnvironmentCredential: Authentication failed: AADSTS7000215:"
    f" Invalid client secret provided: {SECRET}. Trace ID: 1\n\tManagedIdentityCredential: "
    f"Unexpected response \"{{'header': '{canaries.IDENTITY_HEADER}'}}\" AADSTS7000215 AADSTS1"
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ClientAuthenticationError(CHAIN),
            f"{FAILED} (AADSTS7000215, AADSTS1)",
        ),
        (
            ClientAuthenticationError(f"Unexpected response \"{{'x': '{SECRET}'}}\""),
            "Unexpected response …",
        ),
        (
            ServiceRequestError("Cannot connect to host a:1"),
            "Cannot connect to host a:1",
        ),
    ],
    ids=["chain", "response", "no answer"],
)
def test_reason_is_words_and_codes(error: Exception, told: str) -> None:
    """Codes of Entra ID say it all to whoever looks them up."""
    assert why_no_token(error) == told
    assert seen(told) == []
