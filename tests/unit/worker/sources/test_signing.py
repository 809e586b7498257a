"""Signatures agree with the official SDK byte for byte, and keys stay out of sight."""

import base64
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import pytest
from azure.communication.callautomation._shared.policy import HMACCredentialsPolicy
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.transport import HttpRequest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from worker.errors import NoCredentialError
from worker.sources.signing import (
    Credentials,
    KeyCredential,
    no_credential,
    signed_headers,
)

KEY = base64.b64encode(b"not a secret: a key for tests").decode()
CONTOSO = f"endpoint=https://contoso.communication.azure.com/;accesskey={KEY}"
FABRIKAM = f"endpoint=https://Fabrikam.communication.azure.com;accesskey={KEY}"
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CONTENT = URL(
    "https://storage.asm.skype.com/v1/objects/0-eus-d1-abc/content/video", encoded=True
)

# `;` starts the parameters of the last segment for the SDK, which leaves them out of the
# signature though they go over the wire.
path_text = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30
)
paths = path_text.map(lambda text: quote(text, safe="/:@!$&'()*+,=~"))


def sdk_headers(method: str, url: str) -> dict[str, str]:
    """What the official SDK's own policy adds to a request."""
    policy = HMACCredentialsPolicy(
        "https://contoso.communication.azure.com", AzureKeyCredential(KEY)
    )
    request = PipelineRequest(HttpRequest(method, url), PipelineContext(None))
    policy.on_request(request)
    return dict(request.http_request.headers)


def our_headers(method: str, url: str, date: str) -> dict[str, str]:
    """What we add, without the header that the SDK adds elsewhere."""
    headers = signed_headers(
        KeyCredential.parse(CONTOSO),
        method=method,
        url=URL(url, encoded=True),
        at=parsedate_to_datetime(date),
    )
    assert headers.pop("x-ms-host") == "contoso.communication.azure.com"
    return headers


@pytest.mark.parametrize("method", ["GET", "DELETE", "get"])
def test_signature_agrees_with_the_official_sdk(method: str) -> None:
    """A download and a delete are signed as the official SDK signs them."""
    theirs = sdk_headers(method, str(CONTENT))

    assert theirs == our_headers(method, str(CONTENT), theirs["x-ms-date"])


@given(path=paths, query=paths)
def test_signature_agrees_for_any_path_and_query(path: str, query: str) -> None:
    """Whatever the encoding of path and query, both sign what goes on the wire."""
    url = f"https://us-storage.asm.skype.com/v1/{path}?{query}"

    theirs = sdk_headers("GET", url)

    assert theirs == our_headers("GET", url, theirs["x-ms-date"])


def test_signature_is_golden() -> None:
    """The same request at the same time bears the same headers for ever."""
    headers = signed_headers(
        KeyCredential.parse(CONTOSO), method="GET", url=CONTENT, at=AT
    )

    assert headers == {
        "x-ms-date": "Sun, 01 Mar 2026 12:00:00 GMT",
        "x-ms-content-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "x-ms-host": "contoso.communication.azure.com",
        "x-ms-return-client-request-id": "true",
        "Authorization": (
            "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256"
            "&Signature=icISwCLpDK2ztYu0SrFIcMRN2DQDtqRKJvXtbKvF04g="
        ),
    }


def test_signature_dates_in_utc() -> None:
    """A time in another zone is signed as the same moment in UTC."""
    elsewhere = AT.astimezone(timezone(timedelta(hours=9)))
    credential = KeyCredential.parse(CONTOSO)

    here = signed_headers(credential, method="GET", url=CONTENT, at=AT)

    assert here == signed_headers(credential, method="GET", url=CONTENT, at=elsewhere)


def test_signature_covers_the_body() -> None:
    """A body changes its hash header and with it the signature."""
    credential = KeyCredential.parse(CONTOSO)

    empty = signed_headers(credential, method="POST", url=CONTENT, at=AT)
    full = signed_headers(credential, method="POST", url=CONTENT, at=AT, body=b"{}")

    assert full["x-ms-content-sha256"] != empty["x-ms-content-sha256"]
    assert full["Authorization"] != empty["Authorization"]


@pytest.mark.parametrize(
    "text",
    [
        CONTOSO,
        f"AccessKey={KEY};Endpoint=https://contoso.communication.azure.com//",
        f" endpoint = https://contoso.communication.azure.com/ ; accesskey = {KEY} ;",
    ],
)
def test_credential_is_read_from_a_connection_string(text: str) -> None:
    """Order, case and stray blanks don't matter; the trailing slash is not signed."""
    credential = KeyCredential.parse(text)

    assert credential.resource == "contoso"
    assert credential.host == "contoso.communication.azure.com"
    assert credential.key == b"not a secret: a key for tests"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no https endpoint"),
        (f"endpoint=http://c.communication.azure.com/;accesskey={KEY}", "no https"),
        (f"endpoint=https://c.azure.com/path;accesskey={KEY}", "no https endpoint"),
        (f"endpoint=https://u@c.azure.com/;accesskey={KEY}", "no https endpoint"),
        ("endpoint=https://c.azure.com/", "no access key"),
        ("endpoint=https://c.azure.com/;accesskey=hush!hush", "not base64"),
        ("endpoint=https://c.azure.com/;accesskey=hüsh", "not base64"),
    ],
)
def test_credential_complains_without_the_key(text: str, complaint: str) -> None:
    """A bad connection string is explained, and its key is never quoted."""
    with pytest.raises(ValueError, match=complaint) as caught:
        KeyCredential.parse(text)

    assert KEY not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_credential_does_not_show_its_key() -> None:
    """Neither repr nor str of a credential holds the key."""
    shown = repr(KeyCredential.parse(CONTOSO))

    assert "contoso" in shown
    assert "secret" not in shown


def test_credentials_with_one_key_serve_every_resource() -> None:
    """With one connection string the topic does not matter, but a mismatch is known."""
    credentials = Credentials.parse(CONTOSO)

    assert credentials.for_resource(None).resource == "contoso"
    assert credentials.for_resource("other").resource == "contoso"
    assert credentials.is_guess("other")
    assert not credentials.is_guess("Contoso")
    assert not credentials.is_guess(None)


def test_credentials_choose_by_resource() -> None:
    """With several, the resource's name chooses, in any case."""
    credentials = Credentials.parse(f"{CONTOSO}\n  {FABRIKAM}")

    assert credentials.for_resource("FABRIKAM").resource == "fabrikam"
    assert credentials.for_resource("contoso").resource == "contoso"


@pytest.mark.parametrize("resource", [None, "", "adatum"])
def test_credentials_without_a_match_are_an_error(resource: str | None) -> None:
    """With several and none for the resource, the error names what is missing."""
    credentials = Credentials.parse(f"{CONTOSO} {FABRIKAM}")

    with pytest.raises(NoCredentialError, match=resource or "no ACS resource"):
        credentials.for_resource(resource)


def test_no_credential_names_the_resource() -> None:
    """An operator reads whose key is missing."""
    assert "'adatum'" in str(no_credential("adatum"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("  ", "no connection string"), (f"{CONTOSO} {CONTOSO}", "same ACS resource")],
)
def test_credentials_refuse_none_and_duplicates(text: str, complaint: str) -> None:
    """No key at all, or two for one resource, is a mistake in the settings."""
    with pytest.raises(ValueError, match=complaint):
        Credentials.parse(text)


def test_stand_in_on_loopback_may_be_plain_http() -> None:
    """A key signs and is not sent; nothing else may be without TLS."""
    credential = KeyCredential.parse("endpoint=http://127.0.0.1:7700/;accesskey=a2V5")

    assert (credential.host, credential.resource) == ("127.0.0.1:7700", "127")
    with pytest.raises(ValueError, match="no https endpoint"):
        KeyCredential.parse("endpoint=http://calls.example:80/;accesskey=a2V5")
