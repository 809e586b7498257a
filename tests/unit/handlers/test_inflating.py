"""Compressed bodies, in whatever pieces they come."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import inflating
from handlers.inflating import STEP_BYTES, EncodingError


def raw_deflate(body: bytes) -> bytes:
    """Without the header and the checksum of zlib."""
    return zlib.compress(body)[2:-4]


def inflated(encoding: str, *parts: bytes) -> bytes:
    """All that comes out, once the end has come."""
    decoder = inflating.decoder(encoding)
    body = b"".join(piece for part in parts for piece in decoder.feed(part))
    decoder.finish()
    return body


CODERS = st.sampled_from(
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)]
)


@given(body=st.binary(), coder=CODERS, cut=st.integers(0, 50))
def test_body_is_inflated_wherever_it_is_cut(
    body: bytes, coder: tuple[str, type[bytes]], cut: int
) -> None:
    """Split after any byte, even within the header, or not at all."""
    encoding, encode = coder
    sent = encode(body)

    assert inflated(encoding, sent[:cut], b"", sent[cut:]) == body


@given(body=st.binary(), coder=CODERS, lost=st.integers(1, 20))
def test_body_without_its_end_is_never_whole(
    body: bytes, coder: tuple[str, type[bytes]], lost: int
) -> None:
    """However little is missing."""
    encoding, encode = coder

    with pytest.raises(EncodingError):
        inflated(encoding, encode(body)[:-lost])


@given(sent=st.binary(), encoding=st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_have_an_answer(sent: bytes, encoding: str) -> None:
    """They inflate to something, or they are an EncodingError."""
    try:
        inflated(encoding, sent)
    except EncodingError:
        return


@given(name=st.text())
def test_any_encoding_has_an_answer(name: str) -> None:
    """It is known, or it is an EncodingError."""
    try:
        inflating.decoder(name)
    except EncodingError:
        return


def test_bomb_is_inflated_no_further_than_it_is_asked_for() -> None:
    """A megabyte that comes from a kilobyte comes in small steps."""
    decoder = inflating.decoder("gzip")
    pieces = decoder.feed(gzip.compress(bytes(1024 * 1024)))

    assert len(next(pieces)) == STEP_BYTES
    assert len(next(pieces)) == STEP_BYTES
