"""What is left of an object is found out range by range."""

import pytest

from worker.model import BlockDigest, SourceFacts
from worker.resuming import origin_of, rest_of

LOCATION = "https://us-storage.asm.skype.com/v1/objects/doc/content/video"


def block(offset: int, length: int = 10) -> BlockDigest:
    return BlockDigest(offset=offset, length=length, sha256="")


def facts(*, size: int | None = 45, last_modified: str | None = "today") -> SourceFacts:
    return SourceFacts(
        host="us-storage.asm.skype.com",
        size_bytes=size,
        last_modified=last_modified,
        date=None,
        ranged=True,
        headers={},
    )


@pytest.mark.parametrize(
    ("found", "missing", "held"),
    [
        ([], [0, 20, 40], []),
        ([block(0), block(10)], [20, 40], [0, 10]),
        ([block(10), block(0)], [20, 40], [0, 10]),
        ([block(0), block(20), block(30)], [0, 40], [20, 30]),
        ([block(40, 5)], [0, 20], [40]),
        ([block(40, 10)], [0, 20, 40], []),
        ([block(0, 5), block(10)], [0, 20, 40], []),
        ([block(0), block(10), block(50)], [20, 40], [0, 10]),
    ],
    ids=["none", "one", "unordered", "half", "last", "long", "short", "behind"],
)
def test_range_is_held_if_all_its_blocks_are(
    found: list[BlockDigest], missing: list[int], held: list[int]
) -> None:
    """Blocks count where they make up a whole range, to the byte."""
    rest = rest_of(45, found, range_bytes=20, block_bytes=10)

    assert list(rest.missing) == missing
    assert [each.offset for each in rest.held] == held


def test_origin_says_size_date_and_path() -> None:
    """The same bytes have the same origin, whatever regional host serves them."""
    elsewhere = LOCATION.replace("us-", "eu-")

    assert origin_of(LOCATION, facts()) == "45 today /v1/objects/doc/content/video"
    assert origin_of(LOCATION, facts()) == origin_of(elsewhere, facts())


@pytest.mark.parametrize("told", [facts(size=None), facts(last_modified=None)])
def test_origin_needs_size_and_date(told: SourceFacts) -> None:
    """Without them nobody knows whether the same bytes still lie there."""
    assert origin_of(LOCATION, told) is None
