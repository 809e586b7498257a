"""Bodies that come compressed: inflated bit by bit, and only for senders that are known.

aiohttp would inflate what strangers send before anyone could ask who they are, and take a
body whose compressed end is missing for whole.
"""

import zlib
from collections.abc import Iterator

STEP_BYTES = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_BARE = -zlib.MAX_WBITS
_ZLIB_METHOD = 8


class EncodingError(ValueError):
    """The encoding is not known, broken, or lacks its end."""


class Plain:
    """A body as it comes."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        """Nothing can be missing that HTTP would not miss."""


class Inflater:
    """gzip, or deflate with or without the header that it should have."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._stream = zlib.decompressobj(_GZIP) if is_gzip else None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` inflates to, STEP_BYTES at most at a time, as it is asked for.

        Raises EncodingError, also for what comes after the end.
        """
        if not data:
            return
        if self._stream is None:
            is_bare = data[0] & 0x0F != _ZLIB_METHOD
            self._stream = zlib.decompressobj(_BARE if is_bare else _ZLIB)
        stream = self._stream
        try:
            while piece := stream.decompress(data, STEP_BYTES):
                yield piece
                data = stream.unconsumed_tail
        except zlib.error as error:
            raise EncodingError("broken") from error
        if stream.unused_data:
            raise EncodingError("more than one stream")

    def finish(self) -> None:
        """Raise EncodingError if the end is missing."""
        if self._stream is None or not self._stream.eof:
            raise EncodingError("the end is missing")


Decoder = Plain | Inflater


def decoder(content_encoding: str) -> Decoder:
    """Choose what reads a body of this `Content-Encoding`; EncodingError for others."""
    said = (name.strip().lower() for name in content_encoding.split(","))
    match [name for name in said if name not in {"", "identity"}]:
        case []:
            return Plain()
        case ["gzip" | "x-gzip"]:
            return Inflater(is_gzip=True)
        case ["deflate"]:
            return Inflater(is_gzip=False)
        case _:
            raise EncodingError("an encoding that is not known here")
