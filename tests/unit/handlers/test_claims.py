"""Claims: each one must be right, in any case of its letters, and of the right type."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import claims as module
from handlers.claims import LEEWAY_SECONDS, Check, Expected, failed_check
from tests.authority import (
    APPLICATION,
    DAY,
    EVENT_GRID,
    ROLE,
    TENANT,
    URI,
    V1_ISSUER,
    claims_v1,
    claims_v2,
)
from tests.fakes.clock import START

PUBLIC = "https://login.microsoftonline.com"
NOW = START.timestamp()
ISSUED = int(NOW)
OTHER = "00000000-0000-0000-0000-000000000000"
EXPECTED = Expected(
    authority=PUBLIC,
    tenant=TENANT,
    audiences=frozenset({APPLICATION, URI}),
    callers=frozenset({EVENT_GRID}),
    role=ROLE,
)


def failed(claims: dict[str, Any], expected: Expected = EXPECTED) -> Check | None:
    return failed_check(claims, expected=expected, now=NOW)


@pytest.mark.parametrize("audience", [APPLICATION, URI])
def test_claims_of_both_versions_are_ours(audience: str) -> None:
    """Version 1.0 names issuer and caller in other words than 2.0."""
    assert failed(claims_v1(aud=audience)) is None
    assert failed(claims_v2(PUBLIC, aud=audience)) is None


def test_case_of_ids_does_not_matter() -> None:
    """A GUID is the same GUID in capitals, here and there."""
    expected = Expected(
        authority=PUBLIC,
        tenant=TENANT.upper(),
        audiences=frozenset({APPLICATION.upper()}),
        callers=frozenset({EVENT_GRID.upper()}),
    )

    assert failed(claims_v2(PUBLIC), expected) is None
    shouted = claims_v1(
        iss=V1_ISSUER.replace(TENANT, TENANT.upper()),
        aud=URI.upper(),
        tid=TENANT.upper(),
        appid=EVENT_GRID.upper(),
    )
    assert failed(shouted) is None


@pytest.mark.parametrize("wrong", [OTHER, "", None, 1, True, [], {}, [EVENT_GRID]])
@pytest.mark.parametrize(
    ("claim", "check"),
    [
        ("iss", Check.ISSUER),
        ("aud", Check.AUDIENCE),
        ("tid", Check.TENANT),
        ("appid", Check.CALLER),
        ("roles", Check.ROLE),
    ],
)
def test_one_wrong_claim_is_enough(claim: str, check: Check, wrong: object) -> None:
    """Another one's, empty, absent or of another type."""
    assert failed(claims_v1(**{claim: wrong})) is check


@pytest.mark.parametrize("wrong", ["", None, 1.5e12, True, [], "2000000000"])
def test_expiry_must_be_a_whole_number(wrong: object) -> None:
    """A token without an end would be one for ever."""
    assert failed(claims_v1(exp=wrong)) is Check.EXPIRY


@pytest.mark.parametrize("wrong", ["", 1.5, True, [], "0"])
def test_start_must_be_a_whole_number_if_there_is_one(wrong: object) -> None:
    """Entra sends one; the standard does not ask for it."""
    assert failed(claims_v1(nbf=wrong)) is Check.START
    assert failed(claims_v1(nbf=None)) is None


@pytest.mark.parametrize(
    ("times", "check"),
    [
        ({"exp": ISSUED - LEEWAY_SECONDS}, Check.EXPIRY),
        ({"exp": ISSUED - LEEWAY_SECONDS + 1}, None),
        ({"exp": 10**400}, None),
        ({"exp": -(10**400)}, Check.EXPIRY),
        ({"nbf": ISSUED + LEEWAY_SECONDS + 1}, Check.START),
        ({"nbf": ISSUED + LEEWAY_SECONDS}, None),
    ],
)
def test_clocks_may_differ_by_minutes(times: dict[str, int], check: Check) -> None:
    """A token serves a little before its start and after its end, and no longer."""
    assert failed(claims_v1(**times)) is check


def test_caller_of_either_version_must_be_allowed() -> None:
    """Where both are named, both must be: neither hides the other."""
    assert failed(claims_v1(appid=None)) is Check.CALLER
    assert failed(claims_v1(azp=EVENT_GRID)) is None
    assert failed(claims_v1(azp=OTHER)) is Check.CALLER
    assert failed(claims_v2(PUBLIC, appid=OTHER)) is Check.CALLER


def test_role_is_asked_for_only_where_one_is_named() -> None:
    """Entra puts roles in a token only once they are assigned."""
    without = Expected(
        authority=PUBLIC,
        tenant=TENANT,
        audiences=EXPECTED.audiences,
        callers=EXPECTED.callers,
    )

    assert failed(claims_v1(roles=None), without) is None
    assert failed(claims_v1(roles=[OTHER, ROLE])) is None
    assert failed(claims_v1(roles=[ROLE.lower()])) is Check.ROLE
    assert failed(claims_v1(roles=ROLE)) is Check.ROLE


@pytest.mark.parametrize(
    ("authority", "sts"),
    [
        (PUBLIC, "https://sts.windows.net"),
        ("https://login.microsoftonline.us", "https://sts.windows.net"),
        ("https://login.partner.microsoftonline.cn", "https://sts.chinacloudapi.cn"),
    ],
)
def test_each_cloud_has_its_issuers(authority: str, sts: str) -> None:
    """Version 2.0 names the authority, 1.0 a service of that cloud; no cloud's is another's."""
    expected = Expected(
        authority=authority,
        tenant=TENANT,
        audiences=EXPECTED.audiences,
        callers=EXPECTED.callers,
    )
    clouds = (PUBLIC, "https://login.microsoftonline.us", "https://login.example.cn")
    others = [cloud for cloud in clouds if cloud != authority]

    assert failed(claims_v1(iss=f"{sts}/{TENANT}/"), expected) is None
    assert failed(claims_v2(authority), expected) is None
    for other in others:
        assert failed(claims_v2(other), expected) is Check.ISSUER
    assert (
        failed(claims_v1(iss=f"https://sts.x.net/{TENANT}/"), expected) is Check.ISSUER
    )


@pytest.mark.parametrize(
    ("check", "found"),
    [
        (Check.ISSUER, V1_ISSUER),
        (Check.AUDIENCE, URI),
        (Check.TENANT, TENANT),
        (Check.CALLER, EVENT_GRID),
        (Check.ROLE, None),
        (Check.EXPIRY, None),
    ],
)
def test_operator_learns_what_was_said_instead(check: Check, found: str) -> None:
    """Whoever sets things up sees which id is missing from the settings."""
    assert module.said(claims_v1(), check) == found


def test_operator_learns_the_caller_of_a_newer_token() -> None:
    """Version 2.0 names it otherwise."""
    assert module.said(claims_v2(PUBLIC), Check.CALLER) == EVENT_GRID
    assert module.said({}, Check.CALLER) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.sampled_from(["exp", "nbf", "iss", "aud", "tid", "appid", "azp", "roles"]), JSON
)
def test_claims_of_any_type_are_judged(claim: str, said: object) -> None:
    """Whatever stands in a claim, there is an outcome."""
    claims = claims_v1(exp=ISSUED + DAY) | {claim: said}

    assert failed(claims) in {None, *Check}
