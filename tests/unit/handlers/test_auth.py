"""Keys in the query or in a header."""

import pytest

from handlers.auth import KeyAuth, OpenAuth, Verdict

KEYS = KeyAuth(("old-key", "new-key"))


@pytest.mark.receiver_row(6)
@pytest.mark.parametrize(
    ("headers", "query", "known"),
    [
        ({}, {"code": "old-key"}, True),
        ({}, {"code": "new-key"}, True),
        ({"x-functions-key": "old-key"}, {}, True),
        ({"x-functions-key": "new-key"}, {"code": "wrong"}, True),
        ({"x-functions-key": "wrong"}, {"code": "old-key"}, True),
        ({}, {}, False),
        ({}, {"code": ""}, False),
        ({}, {"code": "wrong"}, False),
        ({}, {"code": "old-ke"}, False),
        ({}, {"code": "OLD-KEY"}, False),
        ({"x-functions-key": "\udcff"}, {"code": "\ud800é"}, False),
    ],
)
async def test_key_auth_knows_any_active_key(
    headers: dict[str, str], query: dict[str, str], *, known: bool
) -> None:
    """Any active key passes, in either place; everything else does not."""
    verdict = await KEYS.judge(headers, query)

    assert verdict is (Verdict.KNOWN if known else Verdict.STRANGER)


@pytest.mark.parametrize("offered", ["", "x"])
async def test_key_auth_without_keys_knows_nobody(offered: str) -> None:
    """Who wants everyone to pass must say so with OpenAuth."""
    assert await KeyAuth(()).judge({}, {"code": offered}) is Verdict.STRANGER
    assert await OpenAuth().judge({}, {}) is Verdict.KNOWN


async def test_key_auth_takes_a_key_beyond_ascii() -> None:
    """A key is text, whatever its alphabet."""
    auth = KeyAuth(("schlüssel",))

    assert await auth.judge({}, {"code": "schlüssel"}) is Verdict.KNOWN


def test_key_auth_does_not_hold_the_key_itself() -> None:
    """What is kept is a digest, so that no dump shows the key."""
    assert "old-key" not in repr(vars(KEYS))
