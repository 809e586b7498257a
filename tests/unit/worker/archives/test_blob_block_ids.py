"""Block ids are a format: the service keeps them for a week, and successors read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.archives.blob_block_ids import (
    ID_CHARS,
    NO_ORIGIN,
    TAG_BYTES,
    BlockId,
    decode,
    origin_tag,
)
from worker.model import BlockDigest

SHA256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
GOLDEN = "AQAAAYAAAACAAAAsJrRraP_Gj_mbRTwdMEE0E0ItcGSDv6D5il6IYmbnruo0RJSg"
BLOCK = BlockDigest(offset=25165824, length=8388608, sha256=SHA256)
ORIGIN = "268435456 Sun, 01 Mar 2026 12:00:00 GMT /v1/objects/doc/content/video"


def test_golden_id() -> None:
    """The layout never changes: a worker of any version goes on with what another left."""
    block_id = BlockId(block=BLOCK, origin=origin_tag(ORIGIN))

    assert block_id.encode() == GOLDEN
    assert decode(GOLDEN) == block_id


@given(
    offset=st.integers(0, 2**48 - 1),
    length=st.integers(1, 2**32 - 1),
    sha256=st.binary(min_size=32, max_size=32),
    origin=st.binary(min_size=TAG_BYTES, max_size=TAG_BYTES),
)
def test_id_says_all_of_the_block(
    offset: int, length: int, sha256: bytes, origin: bytes
) -> None:
    """Whatever the block, its id has the one length that a blob's ids must share."""
    block = BlockDigest(offset=offset, length=length, sha256=sha256.hex())
    block_id = BlockId(block=block, origin=origin)
    text = block_id.encode()

    assert len(text) == ID_CHARS
    assert decode(text) == block_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00000001",
        GOLDEN[:-4],
        GOLDEN + "AAAA",
        GOLDEN[:-1] + "=",
        "é" * ID_CHARS,
        "Ag" + GOLDEN[2:],
        GOLDEN.replace("_", "/"),
        GOLDEN[:-1] + "\n",
    ],
    ids=["empty", "short", "cut", "long", "padded", "text", "newer", "other", "line"],
)
def test_foreign_ids_are_not_ours(text: str) -> None:
    """An id of another tool, or of a newer layout, says nothing."""
    assert decode(text) is None


NEARLY_IDS = st.text("AQgwz09-_+/", min_size=ID_CHARS - 2, max_size=ID_CHARS - 2).map(
    lambda rest: GOLDEN[:2] + rest
)


@given(st.text() | NEARLY_IDS)
def test_any_text_is_an_id_or_none(text: str) -> None:
    """Whoever writes blocks there: reading their ids never fails, and none is read as two."""
    block_id = decode(text)

    assert block_id is None or block_id.encode() == text


def test_origins_are_told_apart() -> None:
    """Another size, date or path is another origin; none is that of nobody."""
    tags = {origin_tag(text) for text in (ORIGIN, ORIGIN + "2", "9" + ORIGIN, "")}

    assert len(tags) == 4
    assert NO_ORIGIN not in tags
