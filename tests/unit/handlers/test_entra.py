"""Tokens: who bears one of ours is known, and nothing else that can be sent passes or breaks."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import Mock

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from jwt import PyJWK
from structlog.testing import capture_logs

from handlers.auth import AnyAuth, KeyAuth, Verdict
from handlers.claims import LEEWAY_SECONDS, Check, Expected
from handlers.entra import MAX_REMEMBERED, MAX_TOKEN_CHARS, TokenAuth
from handlers.few_lines import LINES_A_SECOND
from handlers.signing_keys import KeysUnavailableError
from tests.authority import (
    APPLICATION,
    DAY,
    EVENT_GRID,
    ROLE,
    TENANT,
    URI,
    by_hand,
    claims_v1,
    claims_v2,
    jwk,
    rsa_key,
    signed,
)
from tests.fakes.clock import ManualClock

AUTHORITY = "https://login.microsoftonline.us"
OTHER = "00000000-0000-0000-0000-000000000000"
RS256 = {"alg": "RS256", "kid": "key-0"}
EXPECTED = Expected(
    authority=AUTHORITY,
    tenant=TENANT,
    audiences=frozenset({APPLICATION, URI}),
    callers=frozenset({EVENT_GRID}),
    role=ROLE,
)


@dataclass(slots=True, kw_only=True)
class SmallKeys:
    """Has one key, under the name of the first; `is_down`: none at all, and no telling."""

    key: PyJWK | None = field(default_factory=lambda: PyJWK(jwk(0)))
    is_down: bool = False
    asked: list[str] = field(default_factory=list)

    async def find(self, name: str) -> PyJWK | None:
        self.asked.append(name)
        if self.is_down:
            raise KeysUnavailableError
        return self.key if name == "key-0" else None


def auth(keys: SmallKeys | None = None, clock: ManualClock | None = None) -> TokenAuth:
    return TokenAuth(EXPECTED, keys or SmallKeys(), clock=clock or ManualClock())


def bearing(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


async def refusal(token: str) -> Mapping[str, Any]:
    """What is logged of a token that must not pass."""
    with capture_logs() as logs:
        verdict = await auth().judge(bearing(token), {})

    assert verdict is Verdict.STRANGER
    [line] = logs
    assert (line["event"], line["log_level"]) == ("token.refused", "warning")
    assert len(token) == 0 or token not in str(line)
    return line


@pytest.mark.parametrize("claims", [claims_v1(), claims_v2(AUTHORITY)])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", " Bearer "])
async def test_bearer_of_our_token_is_known(
    claims: dict[str, Any], scheme: str
) -> None:
    """In both versions, and however the scheme is written."""
    assert await auth().judge(bearing(signed(claims), scheme), {}) is Verdict.KNOWN


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"[:-1] + " x.y.z"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": by_hand(RS256, claims_v1())},
        {"X-Authorization": f"Bearer {by_hand(RS256, claims_v1())}"},
    ],
)
async def test_who_bears_no_token_is_a_stranger(headers: dict[str, str]) -> None:
    """Also while no keys can be had: there is nothing to check."""
    keys = SmallKeys(is_down=True)

    assert await auth(keys).judge(headers, {}) is Verdict.STRANGER
    assert keys.asked == []


async def test_token_in_the_query_is_not_looked_at() -> None:
    """Event Grid never sends one there, and URLs end in somebody's log."""
    query = {"access_token": signed(claims_v1())}

    assert await auth().judge({}, query) is Verdict.STRANGER


@pytest.mark.parametrize(
    ("claims", "check", "found"),
    [
        (claims_v1(exp=None), "expiry", None),
        (claims_v1(nbf=2**40), "start", None),
        (
            claims_v1(iss=f"https://sts.x.net/{OTHER}/"),
            "issuer",
            f"https://sts.x.net/{OTHER}/",
        ),
        (claims_v1(aud=OTHER), "audience", OTHER),
        (claims_v1(tid=OTHER), "tenant", OTHER),
        (claims_v1(appid=OTHER), "caller", OTHER),
        (claims_v2(AUTHORITY, azp=OTHER), "caller", OTHER),
        (claims_v1(roles=["Reader"]), "role", None),
    ],
)
async def test_refused_token_leaves_the_check_that_it_failed(
    claims: dict[str, Any], check: str, found: str | None
) -> None:
    """Whoever sets things up learns which setting does not fit, and nothing more."""
    line = await refusal(signed(claims))

    assert (line["check"], line["found"]) == (check, found)


@pytest.mark.parametrize("odd", ["a b", "x" * 200, "<script>", "line\nbreak", 5, ["a"]])
async def test_odd_claim_is_not_shown(odd: object) -> None:
    """Only what looks like an id or a URI may stand in a log."""
    line = await refusal(signed(claims_v1(aud=odd)))

    assert (line["check"], line["found"]) == ("audience", None)


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (lambda: "", Check.SHAPE),
        (lambda: "x", Check.SHAPE),
        (lambda: "a.b", Check.SHAPE),
        (lambda: "a.b.c", Check.SHAPE),
        (lambda: "a.b.c.d", Check.SHAPE),
        (lambda: f"{signed(claims_v1())} x", Check.SHAPE),
        (lambda: f"{signed(claims_v1())}=", Check.SHAPE),
        (lambda: "é.é.é", Check.SHAPE),
        (lambda: "\udcff.\udcff.\udcff", Check.SHAPE),
        (lambda: signed(claims_v1(groups="g" * MAX_TOKEN_CHARS)), Check.SHAPE),
        (lambda: by_hand({**RS256, "kid": 5}, claims_v1()), Check.SHAPE),
        (lambda: by_hand({**RS256, "crit": ["exp"]}, claims_v1()), Check.SHAPE),
        (
            lambda: by_hand({**RS256, "crit": ["b64"], "b64": False}, claims_v1()),
            Check.SHAPE,
        ),
        (lambda: by_hand({"kid": "key-0"}, claims_v1()), Check.ALGORITHM),
        (
            lambda: by_hand({"alg": "none", "kid": "key-0"}, claims_v1()),
            Check.ALGORITHM,
        ),
        (
            lambda: by_hand({"alg": "None", "kid": "key-0"}, claims_v1(), b"_"),
            Check.ALGORITHM,
        ),
        (
            lambda: by_hand({"alg": "rs256", "kid": "key-0"}, claims_v1()),
            Check.ALGORITHM,
        ),
        (
            lambda: by_hand({"alg": ["RS256"], "kid": "key-0"}, claims_v1()),
            Check.ALGORITHM,
        ),
        (
            lambda: by_hand({"alg": "PS256", "kid": "key-0"}, claims_v1()),
            Check.ALGORITHM,
        ),
        (lambda: by_hand({"alg": "RS256"}, claims_v1()), Check.KEY),
        (lambda: by_hand({**RS256, "kid": "k" * 300}, claims_v1()), Check.KEY),
        (lambda: signed(claims_v1(), kid="key-1"), Check.KEY),
        (lambda: signed(claims_v1(), kid=None), Check.KEY),
        (lambda: by_hand(RS256, claims_v1()), Check.SIGNATURE),
        (lambda: signed(claims_v1(), key=rsa_key(1)), Check.SIGNATURE),
        (lambda: signed(claims_v1(sub=5)), Check.SHAPE),
    ],
)
async def test_what_is_no_token_of_ours_is_refused(
    make: Callable[[], str], check: Check
) -> None:
    """Garbage, other algorithms, other keys, other people's extensions."""
    line = await refusal(make())

    assert line["check"] == check.value


async def test_signature_by_the_public_key_as_a_secret_is_refused() -> None:
    """The classic confusion: what everyone knows would sign for everyone."""
    public = rsa_key(0).public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = by_hand({"alg": "HS256", "kid": "key-0"}, claims_v1(), b"")[:-1]
    mac = hmac.digest(pem, unsigned.encode(), hashlib.sha256)
    token = f"{unsigned}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    assert (await refusal(token))["check"] == Check.ALGORITHM.value


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
async def test_other_algorithms_with_the_right_key_are_refused(algorithm: str) -> None:
    """Entra signs with RS256 alone."""
    key = rsa_key(0)
    token = jwt.encode(claims_v1(), key, algorithm, headers={"kid": "key-0"})

    assert (await refusal(token))["check"] == Check.ALGORITHM.value


@pytest.mark.parametrize("body", [b"[]", b"5", b"{", b"\xff", b"[" * 9000])
async def test_signed_body_that_holds_no_claims_is_refused(body: bytes) -> None:
    """A right signature over the wrong thing is still no token."""
    token = jwt.PyJWS().encode(body, rsa_key(0), "RS256", headers={"kid": "key-0"})

    assert (await refusal(token))["check"] == Check.SHAPE.value


async def test_token_that_cannot_be_checked_is_undecided() -> None:
    """Without the authority's keys nobody can say whose it is."""
    keys = SmallKeys(is_down=True)

    verdict = await auth(keys).judge(bearing(signed(claims_v1())), {})

    assert verdict is Verdict.UNABLE


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_any_change_breaks_a_token(part: int) -> None:
    """One letter in header, claims or signature."""
    parts = signed(claims_v1()).split(".")
    text = parts[part]
    parts[part] = text[:9] + ("A" if text[9] != "A" else "B") + text[10:]

    await refusal(".".join(parts))


async def test_token_that_passed_is_verified_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Event Grid bears the same one for hours; its claims are looked at each time."""
    decode = Mock(wraps=jwt.decode)
    monkeypatch.setattr("handlers.entra.jwt.decode", decode)
    clock = ManualClock()
    tokens, headers = auth(clock=clock), bearing(signed(claims_v1()))

    verdicts = {await tokens.judge(headers, {}) for _ in range(5)}
    clock.advance(DAY + LEEWAY_SECONDS)

    assert verdicts == {Verdict.KNOWN}
    assert decode.call_count == 1
    assert await tokens.judge(headers, {}) is Verdict.STRANGER


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_token_that_passed_is_refused_once_its_key_is_gone(
    *, is_replaced: bool
) -> None:
    """What is remembered is worth no more than the key it was verified with."""
    keys = SmallKeys()
    tokens, headers = auth(keys), bearing(signed(claims_v1()))
    assert await tokens.judge(headers, {}) is Verdict.KNOWN

    keys.key = PyJWK(jwk(1)) if is_replaced else None

    assert await tokens.judge(headers, {}) is Verdict.STRANGER


async def test_token_that_passed_is_undecided_without_keys() -> None:
    """Keys that became too old to be believed take with them what they proved."""
    keys = SmallKeys()
    tokens, headers = auth(keys), bearing(signed(claims_v1()))
    assert await tokens.judge(headers, {}) is Verdict.KNOWN

    keys.is_down = True

    assert await tokens.judge(headers, {}) is Verdict.UNABLE


async def test_only_a_few_that_passed_are_remembered() -> None:
    """Memory does not grow with tokens, and those that were refused take no place in it."""
    tokens = auth()
    for number in range(MAX_REMEMBERED + 5):
        ours = bearing(signed(claims_v1(jti=str(number))))
        theirs = bearing(signed(claims_v1(jti=str(number), aud=OTHER)))
        assert await tokens.judge(ours, {}) is Verdict.KNOWN
        assert await tokens.judge(theirs, {}) is Verdict.STRANGER

    assert len(tokens._passed) == MAX_REMEMBERED
    assert await tokens.judge(bearing(signed(claims_v1(jti="0"))), {}) is Verdict.KNOWN


HEADER = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.sampled_from(["RS256", "none", "HS256", 5, None, ["RS256"]]),
        "kid": st.sampled_from(["key-0", "", "x", 5, None]),
        "typ": st.sampled_from(["JWT", 5]),
        "crit": st.sampled_from([[], ["b64"], ["x"], [5], "b64", 5, [[]]]),
        "b64": st.booleans(),
        "zip": st.just("DEF"),
        "jwk": st.just(jwk(1)),
    },
)


@given(
    st.text(max_size=60)
    | st.builds(by_hand, HEADER, st.just(claims_v1()), st.binary(max_size=300))
    | st.builds(by_hand, HEADER, st.dictionaries(st.text(), st.integers()))
    | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}", fullmatch=True)
    | st.builds(
        lambda header, body: f"{header.hex()}.{body.hex()}.AA", st.binary(), st.binary()
    ),
    st.booleans(),
)
async def test_any_text_as_a_token_has_a_verdict(token: str, is_down: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever is sent: never an exception, and never known."""
    verdict = await auth(SmallKeys(is_down=is_down)).judge(bearing(token), {})

    assert verdict in {Verdict.STRANGER, Verdict.UNABLE}


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
async def test_any_signed_claim_has_a_verdict(said: object) -> None:
    """An authority that went mad does not take the endpoint with it."""
    token = signed(claims_v1(jti=json.dumps(said)) | {"aud": said, "exp": said})

    assert await auth().judge(bearing(token), {}) is Verdict.STRANGER


@pytest.mark.parametrize(
    ("key", "is_token_ours", "verdict"),
    [
        ("key", None, Verdict.KNOWN),
        ("key", False, Verdict.KNOWN),
        ("", True, Verdict.KNOWN),
        ("old", True, Verdict.KNOWN),
        ("old", False, Verdict.STRANGER),
        ("old", None, Verdict.STRANGER),
        ("", None, Verdict.STRANGER),
    ],
)
async def test_either_credential_suffices(
    key: str, *, is_token_ours: bool | None, verdict: Verdict
) -> None:
    """Keys and tokens side by side: while one replaces the other, both work."""
    both = AnyAuth([KeyAuth(["key"]), auth()])
    token = signed(claims_v1(), key=rsa_key(0 if is_token_ours else 1))
    headers = {} if is_token_ours is None else bearing(token)

    assert await both.judge({"x-functions-key": key} | headers, {}) is verdict


async def test_key_suffices_while_tokens_cannot_be_checked() -> None:
    """And a wrong key makes nobody a stranger who bears a token that may be right."""
    both = AnyAuth([auth(SmallKeys(is_down=True)), KeyAuth(["key"])])
    token = bearing(signed(claims_v1()))

    assert await both.judge({"x-functions-key": "key"} | token, {}) is Verdict.KNOWN
    assert await both.judge({"x-functions-key": "old"} | token, {}) is Verdict.UNABLE


async def test_flood_of_refused_tokens_costs_a_few_lines_a_second() -> None:
    """Anyone can send one; and those of one kind leave the others their lines."""
    clock = ManualClock()
    judge = auth(clock=clock).judge
    foreign = bearing(signed(claims_v1(aud="api://elsewhere")))

    with capture_logs() as logs:
        for _ in range(50):
            await judge(bearing("no.to.ken"), {})
        await judge(foreign, {})
        clock.advance(1)
        await judge(bearing("no.to.ken"), {})

    said = [(line["check"], line.get("unsaid")) for line in logs]
    assert said[:-2] == [("shape", None)] * LINES_A_SECOND
    assert said[-2:] == [("audience", None), ("shape", 50 - LINES_A_SECOND)]
