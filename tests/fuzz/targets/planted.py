"""A parser with a bug, which every fuzzer must find: who finds nothing here proves nothing."""

from tests.fuzz.target import Target


def check(data: bytes) -> None:
    """A bug behind two conditions, of which a fuzzer that is led meets one at a time."""
    if data[1:2] == b"3" and data[2:3] == b"-":
        raise LookupError("the planted bug")


PLANTED = Target(name="planted", check=check, seeds=lambda: [b"[1, 2, 3]", b"{}"])
