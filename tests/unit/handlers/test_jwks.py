"""A set of keys: what signs our tenant's tokens is taken, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.jwks import MAX_KEY_NAME, keys_in
from tests.authority import TENANT, jwk, rsa_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def taken(*keys: object) -> set[str]:
    """The names of those that are taken from a set."""
    return set(keys_in(json.dumps({"keys": keys}).encode(), tenant=TENANT))


def test_every_key_that_signs_is_taken() -> None:
    """Under its own name, with what it is for said or not."""
    plain = {"kty": "RSA", "kid": "plain", "n": jwk(1)["n"], "e": "AQAB"}

    assert taken(jwk(0), jwk(1, alg="RS256"), plain) == {"key-0", "key-1", "plain"}


@pytest.mark.parametrize(
    "other",
    [
        {"kty": "EC"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": None},
        {"kty": ["RSA"]},
        {"use": "enc"},
        {"use": ["sig"]},
        {"alg": "RS512"},
        {"alg": "none"},
        {"kid": None},
        {"kid": ""},
        {"kid": 5},
        {"kid": "k" * (MAX_KEY_NAME + 1)},
        {"n": None},
        {"n": 5},
        {"n": ""},
        {"n": "?"},
        {"n": "é"},
        {"n": "AQAB"},
        {"n": "_" * 3000},
        {"e": None},
        {"e": "Ag"},
        {"issuer": "https://login.microsoftonline.com/9188040d-6c67/v2.0"},
        {"issuer": ["https://login.microsoftonline.com/{tenantid}/v2.0"]},
    ],
)
def test_what_is_no_signing_key_of_ours_is_left_out(other: dict[str, Any]) -> None:
    """The keys beside it are taken all the same."""
    assert taken(jwk(0, **other), jwk(1)) == {"key-1"}


def test_short_key_is_left_out() -> None:
    """Below 2,048 bits a signature proves too little."""
    assert taken(jwk(0, bits=1024), jwk(1)) == {"key-1"}


@pytest.mark.parametrize(
    "issuer",
    [
        None,
        "https://login.microsoftonline.com/{tenantid}/v2.0",
        f"https://login.microsoftonline.com/{TENANT.upper()}/v2.0",
    ],
)
def test_key_may_be_for_every_tenant_or_for_ours(issuer: str | None) -> None:
    """Others sign for personal accounts alone."""
    assert taken(jwk(0, issuer=issuer)) == {"key-0"}


def test_first_of_two_keys_with_one_name_is_taken() -> None:
    """Nobody can put a key in the place of another by listing it later."""
    body = json.dumps({"keys": [jwk(0), jwk(1, kid="key-0")]}).encode()

    key = keys_in(body, tenant=TENANT)["key-0"]

    assert key.key.public_numbers() == rsa_key(0).public_key().public_numbers()


def test_private_half_is_not_read() -> None:
    """What should not be there at all makes no signing key of ours."""
    body = json.dumps({"keys": [jwk(0, d="AQAB")]}).encode()

    key = keys_in(body, tenant=TENANT)["key-0"]

    assert not hasattr(key.key, "private_numbers")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff", b"[]", b"null", b"{}", b'{"keys": 5}', b'{"keys": null}'),
        *(
            b'{"keys": [5, null, [], ""]}',
            b"[" * 200_000,
            b'{"keys": ' + b"9" * 5000 + b"}",
        ),
    ],
)
def test_garbage_has_no_keys(body: bytes) -> None:
    """A body that is no set is as good as an empty one."""
    assert keys_in(body, tenant=TENANT) == {}


@given(st.dictionaries(st.sampled_from([*jwk(0), "alg", "d", "x5c"]), JSON))
def test_key_of_any_shape_is_taken_or_left(other: dict[str, Any]) -> None:
    """Whatever an authority lists, reading it never fails."""
    assert "key-1" in taken(jwk(0) | other, jwk(1))
