"""The limit on open files is raised as far as it goes, and no further."""

import resource
from collections.abc import Iterator

import pytest

from worker.descriptors import most_descriptors

LOW = 300


@pytest.fixture(autouse=True)
def limits() -> Iterator[tuple[int, int]]:
    """What they are; put back in the end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LOW, before[1]))
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_soft_limit_is_raised_to_what_is_wanted() -> None:
    """The hard one stays as it is."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    assert most_descriptors(LOW + 100) == LOW + 100
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (LOW + 100, hard)


def test_soft_limit_is_never_lowered() -> None:
    """Who has more keeps it; what is wanted is enough."""
    assert most_descriptors(LOW - 100) == LOW - 100
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == LOW


def test_hard_limit_is_as_far_as_it_goes(limits: tuple[int, int]) -> None:
    """Beyond it nobody may go without rights that a worker should not have."""
    most = 2**60 if limits[1] == resource.RLIM_INFINITY else limits[1]

    assert most_descriptors(2**60) <= most


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_limit_that_cannot_be_raised_is_lived_with(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """The system says no: then there are fewer places."""

    def refuse(*_limits: object) -> None:
        raise error("not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(resource, "setrlimit", refuse)
        assert most_descriptors(LOW + 100) == LOW


def test_unlimited_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to raise."""
    no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with monkeypatch.context() as patch:
        patch.setattr(resource, "getrlimit", lambda _what: no_limit)
        assert most_descriptors(LOW + 100) == LOW + 100
