"""Texts that may be seen nowhere, and how to look for them in whatever was printed.

Each stands where a secret or something personal stands in real life. All are made up.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

_SHORTEST_BASE64 = 8
_ALIGNMENTS = 3
"""Base64 of a text depends on where it begins within the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A text, and the part of it that gives it away however it is escaped."""

    name: str
    text: str
    core: str = ""

    def forms(self) -> Iterator[str]:
        """As it is, as in a URL, as in JSON, as in Python, and in base64."""
        yield from (self.text, quote(self.text, safe=""), quote_plus(self.text))
        yield from (json.dumps(self.text)[1:-1], repr(self.text)[1:-1])
        for part in {self.text, self.core or self.text}:
            yield part
            yield from _base64_forms(part.encode())


def _base64_forms(data: bytes) -> Iterator[str]:
    for before in range(_ALIGNMENTS):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(bytes(before) + data).decode().rstrip("=")
            # The first and the last characters depend on what stands beside it.
            inner = whole[(before * 8 + 5) // 6 : len(whole) - 1]
            if len(inner) >= _SHORTEST_BASE64:
                yield inner


def _token(*parts: Mapping[str, str]) -> str:
    words = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in parts
    ]
    return ".".join([*words, "c2lnbmVkLWJ5LXRoZS1vd2wtb2YtdGVzdHM"])


WEBHOOK_KEY = "kestrel+of/the&webhook=1"
ROTATED_KEY = "kestrel-that-was-before"
OTHER_KEY = "kestrel-the-second"
ACCESS_KEY = base64.b64encode(b"heron: access key of the ACS resource").decode()
NOTIFY_KEY = "lapwing-key-of-the-topic"
PROXY_USER = "siskin-of-the-proxy"
PROXY_PASSWORD = "siskin p@ss:word"
CLIENT_SECRET = "goshawk~secret.of-the-app"
IDENTITY_HEADER = "goshawk-header-of-the-identity"
TOKEN = _token({"typ": "JWT", "alg": "RS256"}, {"appid": "owl-app", "oid": "owl-oid"})
VALIDATION_CODE = "DIPPER-512d-38b6-validation-code"
VALIDATION_PATH = "dipper-of-the-validation-url"
CALLBACK_PATH = "dipper-of-the-callback"
LOCATION_TOKEN = "wren-signature-of-the-location"
REDIRECT_TOKEN = "wren-of-the-redirect"
RAW_ID = "8:acs:5f2d8e0a-6c1b-4f0e-9a57-3d1c7b9e2f40_00000012-avocet"
PHONE = "+14255550123"
DISPLAY_NAME = 'Zoë "Bittern" Fieldfare'
NICKNAME = "Whimbrel-of-the-event"

ALL = (
    Canary(name="webhook key", text=WEBHOOK_KEY, core="kestrel"),
    Canary(name="rotated key", text=ROTATED_KEY),
    Canary(name="second key", text=OTHER_KEY),
    Canary(name="access key", text=ACCESS_KEY),
    Canary(name="topic key", text=NOTIFY_KEY, core="lapwing"),
    Canary(name="proxy user", text=PROXY_USER),
    Canary(name="proxy password", text=PROXY_PASSWORD),
    Canary(name="client secret", text=CLIENT_SECRET, core="goshawk"),
    Canary(name="identity header", text=IDENTITY_HEADER),
    Canary(name="token", text=TOKEN),
    Canary(name="token's claims", text=TOKEN.split(".")[1], core="owl-app"),
    Canary(name="token's signature", text=TOKEN.split(".")[2]),
    Canary(name="validation code", text=VALIDATION_CODE, core="DIPPER"),
    Canary(name="validation URL", text=VALIDATION_PATH),
    Canary(name="callback URL", text=CALLBACK_PATH),
    Canary(name="location's token", text=LOCATION_TOKEN),
    Canary(name="redirect's token", text=REDIRECT_TOKEN),
    Canary(name="participant", text=RAW_ID, core="avocet"),
    Canary(name="phone number", text=PHONE, core="4255550123"),
    Canary(name="display name", text=DISPLAY_NAME, core="Fieldfare"),
    Canary(name="nickname", text=NICKNAME),
)


def seen(text: str, among: Iterable[Canary] = ALL) -> list[str]:
    """Which canaries are in a text, by name, each with the form that was found."""
    return [
        f"{canary.name}: {form}"
        for canary in among
        if (form := next((each for each in canary.forms() if each in text), None))
    ]
