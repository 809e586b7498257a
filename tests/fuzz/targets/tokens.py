"""Tokens, what they claim, and the keys that an authority lists: nobody gets in by a fault."""

import json
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateNumbers,
    RSAPublicNumbers,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)
from jwt import PyJWK
from jwt.algorithms import RSAAlgorithm

from handlers import claims, jwks
from handlers.auth import AnyAuth, KeyAuth, Verdict
from handlers.claims import Check, Expected
from handlers.entra import TokenAuth
from tests.authority import (
    APPLICATION,
    EVENT_GRID,
    ROLE,
    TENANT,
    URI,
    V1_ISSUER,
    by_hand,
    claims_v1,
    claims_v2,
    signed,
)
from tests.fakes.clock import START, ManualClock
from tests.fuzz import mutations
from tests.fuzz.target import Target, ended, fields_of

AUTHORITY = "https://login.microsoftonline.com"
EXPECTED = Expected(
    authority=AUTHORITY,
    tenant=TENANT,
    audiences=frozenset({APPLICATION, URI}),
    callers=frozenset({EVENT_GRID}),
    role=ROLE,
)
KEYS = ("old-key", "new&key")
NOW = START.timestamp()

# A key of no other use: the same in every process, so that a run can be repeated.
_P = int(
    "e904d7fa400fac5331c6cdf672edd98567acc4418644d5a87b700be7460adeb5"
    "b46221438c9f31492a195cd9aa0520d797a46063bb3a19fe75851a9273fd7727"
    "24b238c6a1bce15bae64c07707484e7bf798f08f8cbf77bfc572632e2db4805c"
    "8a81f33431d666670ea99c828d14f043b2c1b39db84b38a863cf532579cb5159",
    16,
)
_Q = int(
    "c5cd73cd93fca8873c2c09e2290d29bfdeecf778ef31858ec7ae47a5c753b280"
    "6a4616bad66ad232388d5a525cd830c4d1d2905d407ca0886cb1cce49eec7b4e"
    "7c5d07ea079110f3e4292ecaf7385c7571e0d86241c11c0925a168882781523b"
    "3ef3ef3a903583367cc3bb7d508fb84b63d1753a9158ebed6c0046a02ed5a14f",
    16,
)
_D = pow(65537, -1, (_P - 1) * (_Q - 1))
PRIVATE = RSAPrivateNumbers(
    p=_P,
    q=_Q,
    d=_D,
    dmp1=rsa_crt_dmp1(_D, _P),
    dmq1=rsa_crt_dmq1(_D, _Q),
    iqmp=rsa_crt_iqmp(_P, _Q),
    public_numbers=RSAPublicNumbers(65537, _P * _Q),
).private_key()
PUBLIC: dict[str, Any] = RSAAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)
SIGNED = [
    signed(said, key=PRIVATE)
    for said in (claims_v1(), claims_v2(AUTHORITY), claims_v1(tid="other"))
]
_OURS = {token.rpartition(".")[0] for token in SIGNED[:2]}
_LISTED = {
    "keys": [
        {
            "kty": "RSA",
            "use": "sig",
            "kid": "key-0",
            "n": PUBLIC["n"],
            "e": PUBLIC["e"],
        },
        {"kty": "RSA", "kid": "key-1", "n": PUBLIC["n"], "e": "AQAB", "alg": "RS256"},
        {"kty": "EC", "kid": "key-2", "crv": "P-256", "x": "AA", "y": "AA"},
    ]
}


class OneKey:
    """Has the one key, as it was listed."""

    def __init__(self) -> None:
        listed = jwks.keys_in(json.dumps(_LISTED).encode(), tenant=TENANT)
        self._key = listed["key-0"]

    async def find(self, name: str) -> PyJWK | None:
        return self._key if name == "key-0" else None


_KEYS = OneKey()


def check_token(data: bytes) -> None:
    """`Authorization`, `x-functions-key` and `?code=`, a line each."""
    text = data.decode(errors="surrogateescape")
    bearer, key, code = fields_of(text, 3)
    headers = {"Authorization": bearer, "x-functions-key": key}
    # Anew for each input, for a token that was verified once is remembered.
    auth = AnyAuth([KeyAuth(KEYS), TokenAuth(EXPECTED, _KEYS, clock=ManualClock())])
    verdict = ended(auth.judge(headers, {"code": code}))
    assert verdict is ended(auth.judge(headers, {"code": code}))
    assert verdict in {Verdict.KNOWN, Verdict.STRANGER}
    has_key = key in KEYS or code in KEYS
    # Of a signature's last character two bits say nothing: it has several spellings.
    is_ours = bearer.partition(" ")[2].strip().rpartition(".")[0] in _OURS
    if verdict is Verdict.KNOWN:
        assert has_key or is_ours
    elif has_key:
        raise AssertionError("a key was not known")


def check_claims(data: bytes) -> None:
    """What a token says, once it is signed: of any type, and more or less than it should."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(said, dict):
        return
    failed = claims.failed_check(said, expected=EXPECTED, now=NOW)
    for check in Check:
        claims.said(said, check)
    if failed is None:
        assert said["tid"].casefold() == TENANT
        assert said["iss"].casefold() in {V1_ISSUER, f"{AUTHORITY}/{TENANT}/v2.0"}
        assert said["aud"].casefold() in {APPLICATION, URI}
        assert EVENT_GRID in {
            str(said.get("appid")).casefold(),
            str(said.get("azp")).casefold(),
        }
        assert ROLE in said["roles"]
        assert said["exp"] + claims.LEEWAY_SECONDS > NOW


def check_key_set(data: bytes) -> None:
    """What an authority sends: keys of RSA that are long enough, without their private half."""
    for name, key in jwks.keys_in(data, tenant=TENANT).items():
        assert 0 < len(name) <= jwks.MAX_KEY_NAME
        assert 2048 <= key.key.key_size <= 8192
        assert not hasattr(key.key, "private_numbers")
        assert key.algorithm_name == jwks.ALGORITHM


def _token_seeds() -> Iterable[bytes]:
    unsigned = by_hand({"alg": "none", "kid": "key-0"}, claims_v1(), b"")
    of_another = by_hand({"alg": "RS256", "kid": "key-0"}, claims_v1(), bytes(256))
    symmetric = by_hand({"alg": "HS256", "kid": "key-0"}, claims_v1())
    for token in (*SIGNED, unsigned, of_another, symmetric, "a.b.c"):
        yield f"Bearer {token}\n\n".encode()
    yield b"Basic YTpi\nold-key\n"
    yield b"\n\nnew&key"


def _claim_seeds() -> Iterable[bytes]:
    yield json.dumps(claims_v1()).encode()
    yield json.dumps(claims_v2(AUTHORITY)).encode()


def _key_seeds() -> Iterable[bytes]:
    yield json.dumps(_LISTED).encode()


TOKEN = Target(
    name="token", check=check_token, seeds=_token_seeds, mutate=mutations.of_lines
)
CLAIMS = Target(
    name="claims", check=check_claims, seeds=_claim_seeds, mutate=mutations.of_json
)
KEY_SET = Target(
    name="key-set", check=check_key_set, seeds=_key_seeds, mutate=mutations.of_json
)
