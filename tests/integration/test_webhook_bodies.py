"""How bodies may come: compressed, in pieces, invited; and what no body may do."""

import gzip
import io
import zlib
from collections.abc import Callable

import pytest

from tests.unit.handlers.bodies import a_body, a_grid_event
from tests.webhook import EVENTS, KEY, Endpoint

MIB = 1024 * 1024
PLAIN = a_body(a_grid_event())
GZIPPED = gzip.compress(PLAIN)
Encode = Callable[[bytes], bytes]


def raw_deflate(body: bytes) -> bytes:
    """What some senders take for deflate: without its header."""
    return zlib.compress(body)[2:-4]


async def post_encoded(endpoint: Endpoint, body: bytes, encoding: str) -> int:
    """Deliver bytes that are said to be encoded; return the status."""
    async with endpoint.client.post(
        EVENTS,
        data=io.BytesIO(body),
        params={"code": KEY},
        headers={"Content-Encoding": encoding},
    ) as answer:
        return answer.status


@pytest.mark.parametrize(
    ("encode", "encoding"),
    [
        (gzip.compress, "gzip"),
        (gzip.compress, "X-GZIP"),
        (gzip.compress, "identity, gzip"),
        (zlib.compress, "deflate"),
        (raw_deflate, "deflate"),
        (bytes, "identity"),
        (bytes, ""),
    ],
)
async def test_delivery_may_be_compressed(
    endpoint: Endpoint, encode: Encode, encoding: str
) -> None:
    """A compressed body is received as what it says."""
    body = a_body(a_grid_event(novelty="x" * 200_000))

    assert await post_encoded(endpoint, encode(body), encoding) == 200
    assert endpoint.queue.deliveries[0].body == body


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        pytest.param(b"no gzip at all", "gzip", id="no-gzip"),
        pytest.param(b"no deflate", "deflate", id="no-deflate"),
        pytest.param(GZIPPED[:-4], "gzip", id="short-gzip"),
        pytest.param(zlib.compress(PLAIN)[:-4], "deflate", id="short-deflate"),
        pytest.param(GZIPPED + b"more", "gzip", id="more-behind"),
        pytest.param(gzip.compress(GZIPPED), "gzip, gzip", id="twice"),
        pytest.param(PLAIN, "br", id="br"),
        pytest.param(PLAIN, "zstd", id="zstd"),
        pytest.param(PLAIN, "aes128gcm", id="aes128gcm"),
        pytest.param(gzip.compress(b""), "gzip", id="nothing-in-gzip"),
        pytest.param(b"", "gzip", id="nothing-as-gzip"),
        pytest.param(b"", "identity", id="nothing"),
    ],
)
async def test_delivery_that_cannot_be_read_must_come_again(
    endpoint: Endpoint, body: bytes, encoding: str
) -> None:
    """Broken, cut short, of an unknown encoding or empty: part of it is not kept for all."""
    assert await post_encoded(endpoint, body, encoding) == 503

    assert endpoint.turned_away() == {"unreadable": 1}
    assert endpoint.queue.deliveries == []
    assert endpoint.archive.objects == {}


@pytest.mark.parametrize(
    ("encode", "encoding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")]
)
async def test_bomb_is_turned_away(
    endpoint: Endpoint, encode: Encode, encoding: str
) -> None:
    """A body that inflates beyond the limit is turned away by what it inflates to."""
    bomb = encode(b"x" * (32 * MIB))

    assert await post_encoded(endpoint, bomb, encoding) == 503
    assert endpoint.turned_away() == {"too-large": 1}
