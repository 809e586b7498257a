"""The seeker finds: else a test that finds nothing would prove nothing."""

import base64
import json
from urllib.parse import quote

import pytest

from tests import canaries
from tests.canaries import ALL, Canary, seen


@pytest.mark.parametrize("canary", ALL, ids=lambda canary: canary.name)
def test_canary_is_found_in_every_form(canary: Canary) -> None:
    """Alone, in a URL, in JSON within JSON, in a repr, and in base64 at every offset."""
    text = canary.text
    written = [
        f"before {text} after",
        f"?code={quote(text, safe='')}&x=1",
        json.dumps({"error": text}),
        json.dumps({"error": text}, ensure_ascii=False),
        repr({"x": text}),
        *(base64.b64encode(f"{'u' * n}:{text}!".encode()).decode() for n in range(3)),
    ]

    assert [each for each in written if not seen(each, [canary])] == []


def test_nothing_is_found_where_there_is_nothing() -> None:
    """What a worker says of itself is no canary."""
    assert seen('{"event": "delivery.accepted", "chunks": 1, "code": 200}') == []


def test_canaries_are_told_apart() -> None:
    """A find names the place that leaks."""
    names = [canary.name for canary in ALL]
    assert len(set(names)) == len(names)
    assert [each.partition(":")[0] for each in seen(canaries.PROXY_PASSWORD)][-1] == (
        "proxy password"
    )
