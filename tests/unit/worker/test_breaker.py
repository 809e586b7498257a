"""Systemic trouble pauses what is shared, tries again with one chunk, resumes by itself."""

from datetime import datetime, timedelta

import pytest

from tests.fakes.clock import ManualClock
from worker.breaker import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PROBE_PATIENCE,
    Breaker,
    Transition,
)
from worker.errors import (
    ArchiveForbiddenError,
    ArchiveFullError,
    ArchiveUnavailableError,
    RetryableError,
    SourceForbiddenError,
    SourceNotFoundError,
    TruncatedError,
)
from worker.model import ChunkKey

FORBIDDEN = SourceForbiddenError("403")
FULL = ArchiveFullError("no room")
SOON = FIRST_PAUSE / 10


class Bench:
    """A breaker, its clock, and chunks that fail."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.breaker = Breaker(self.clock.now)

    def fail(
        self, error: RetryableError, key: str = "k", resource: str | None = "calls"
    ) -> Transition | None:
        return self.breaker.failed(error, key=ChunkKey(key), resource=resource)

    def fail_distinct(
        self, error: RetryableError, count: int, resource: str | None = "calls"
    ) -> list[Transition | None]:
        return [self.fail(error, f"k{n}", resource) for n in range(count)]

    def succeed(
        self, resource: str | None = "calls", *, source_answered: bool = True
    ) -> list[Transition]:
        return self.breaker.succeeded(
            resource=resource, source_answered=source_answered
        )

    def admit(self, resource: str | None = "calls") -> datetime | None:
        return self.breaker.admit(resource=resource)

    def pass_pause(self) -> None:
        self.clock.advance(FIRST_PAUSE.total_seconds())


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def half_open(bench: Bench) -> Bench:
    """The credential of `calls` was paused, and the pause is over."""
    bench.fail_distinct(FORBIDDEN, 3)
    bench.pass_pause()
    return bench


@pytest.mark.parametrize(
    ("error", "streak", "target"),
    [
        (FORBIDDEN, 3, "credential:calls"),
        (SourceNotFoundError(), 10, "credential:calls"),
        (ArchiveUnavailableError(), 3, "archive"),
        (ArchiveForbiddenError(), 3, "archive"),
        (FULL, 1, "archive"),
    ],
)
def test_as_many_distinct_chunks_as_the_error_says_pause_its_target(
    bench: Bench, error: RetryableError, streak: int, target: str
) -> None:
    """The last of the streak makes the pause, and none before it."""
    *before, last = bench.fail_distinct(error, streak)

    assert before == [None] * (streak - 1)
    assert last == Transition(
        target=target,
        reason=error.reason,
        paused_until=bench.clock.now() + FIRST_PAUSE,
        paused_for=None,
    )


def test_same_chunk_counts_once(bench: Bench) -> None:
    """One chunk that fails again and again says nothing about the others."""
    assert [bench.fail(FORBIDDEN, "same") for _ in range(20)] == [None] * 20
    assert bench.admit() is None
    assert bench.breaker.comes_back(FORBIDDEN, resource="calls") is None


def test_success_between_starts_the_count_anew(bench: Bench) -> None:
    """A credential that worked meanwhile is not the trouble."""
    bench.fail_distinct(FORBIDDEN, 2)

    assert bench.succeed() == []
    assert bench.fail_distinct(FORBIDDEN, 2) == [None, None]


def test_another_reason_starts_the_count_anew(bench: Bench) -> None:
    """Only chunks that fail alike are a streak."""
    bench.fail_distinct(FORBIDDEN, 2)
    bench.fail(SourceNotFoundError(), "k3")

    assert bench.fail(FORBIDDEN, "k4") is None


def test_success_without_the_source_says_nothing_about_the_credential(
    bench: Bench,
) -> None:
    """A chunk that was archived already used the archive alone."""
    bench.fail_distinct(FORBIDDEN, 2)
    bench.fail_distinct(ArchiveUnavailableError(), 2)

    bench.succeed(source_answered=False)

    assert bench.fail(ArchiveUnavailableError(), "k3") is None
    assert bench.fail(FORBIDDEN, "k3") is not None


def test_unshared_trouble_never_pauses(bench: Bench) -> None:
    """A cut body is its chunk's own."""
    assert bench.fail_distinct(TruncatedError(), 50) == [None] * 50
    assert bench.breaker.comes_back(TruncatedError(), resource="calls") is None
    assert bench.admit() is None


def test_paused_target_admits_nothing_until_its_time(bench: Bench) -> None:
    """Chunks are told when to come back."""
    bench.fail_distinct(FORBIDDEN, 3)
    until = bench.clock.now() + FIRST_PAUSE

    assert bench.admit() == until
    again = bench.breaker.comes_back(FORBIDDEN, resource="calls")
    assert again == until + FIRST_PAUSE
    assert bench.breaker.paused_resources() == {"calls"}
    assert not bench.breaker.is_archive_paused()
    bench.clock.advance(FIRST_PAUSE.total_seconds() - 1)
    assert bench.admit() == bench.clock.now() + SOON
    assert bench.breaker.paused_resources() == {"calls"}


def test_other_resources_go_on(bench: Bench) -> None:
    """One expired key stops one resource; chunks that name none are a resource of their own."""
    bench.fail_distinct(FORBIDDEN, 3)

    assert bench.admit("other") is None
    assert bench.admit(None) is None
    bench.fail_distinct(FORBIDDEN, 3, resource=None)
    assert bench.breaker.paused_resources() == {"calls", ""}
    assert bench.admit("other") is None
    assert bench.breaker.comes_back(FORBIDDEN, resource="other") is None


def test_failures_of_two_resources_do_not_add_up(bench: Bench) -> None:
    """A streak belongs to one credential."""
    bench.fail_distinct(FORBIDDEN, 2)

    assert bench.fail_distinct(FORBIDDEN, 2, resource="other") == [None, None]


def test_full_archive_stops_every_resource(bench: Bench) -> None:
    """No chunk can be stored, so none is leased."""
    bench.fail(FULL)

    assert bench.breaker.is_archive_paused()
    assert bench.breaker.paused_resources() == frozenset()
    for resource in ("calls", "other", None):
        assert bench.admit(resource) == bench.clock.now() + FIRST_PAUSE
        again = bench.breaker.comes_back(FULL, resource=resource)
        assert again == bench.clock.now() + 2 * FIRST_PAUSE


def test_failures_of_any_resource_add_up_for_the_archive(bench: Bench) -> None:
    """The archive is shared by all."""
    bench.fail(ArchiveUnavailableError(), "k1", "one")
    bench.fail(ArchiveUnavailableError(), "k2", "two")

    assert bench.fail(ArchiveUnavailableError(), "k3", None) is not None


def test_failures_of_chunks_still_at_work_do_not_lengthen_the_pause(
    bench: Bench,
) -> None:
    """What was started before the pause may fail in it."""
    bench.fail_distinct(FORBIDDEN, 3)
    bench.clock.advance(10)

    assert bench.fail(FORBIDDEN, "k4") is None
    assert bench.admit() == bench.clock.now() + FIRST_PAUSE - timedelta(seconds=10)


def test_half_open_admits_one_probe(half_open: Bench) -> None:
    """After the pause one chunk tries; the others come back a little later."""
    assert half_open.breaker.paused_resources() == frozenset()
    assert half_open.admit() is None
    assert half_open.admit() == half_open.clock.now() + SOON
    assert half_open.breaker.paused_resources() == {"calls"}
    assert half_open.admit("other") is None


def test_archive_probe_holds_all_others(bench: Bench) -> None:
    """While one chunk tries whether there is room again, nothing else is leased."""
    bench.fail(FULL)
    bench.pass_pause()

    assert not bench.breaker.is_archive_paused()
    assert bench.admit("calls") is None
    assert bench.breaker.is_archive_paused()
    assert bench.admit("other") == bench.clock.now() + SOON


def test_chunk_kept_back_by_one_target_is_no_probe_of_another(bench: Bench) -> None:
    """Leave is given for all targets at once, or none of them is being probed."""
    bench.fail_distinct(FORBIDDEN, 3)
    bench.clock.advance(10)
    bench.fail(FULL, resource="other")
    bench.clock.advance(FIRST_PAUSE.total_seconds() - 10)

    # The credential is half-open, the archive is still paused.
    assert bench.admit("calls") is not None
    assert bench.breaker.paused_resources() == frozenset()
    bench.clock.advance(10)
    assert bench.admit("calls") is None


def test_failed_probe_doubles_the_pause_up_to_ten_minutes(half_open: Bench) -> None:
    """Each failed try waits longer for the next one."""
    pauses = []
    for number in range(6):
        assert half_open.admit() is None
        transition = half_open.fail(FORBIDDEN, f"new {number}")
        assert transition is not None
        assert transition.paused_until is not None
        pauses.append(transition.paused_until - half_open.clock.now())
        assert half_open.admit() is not None
        half_open.clock.advance(pauses[-1].total_seconds())

    assert [pause.total_seconds() for pause in pauses] == [60, 120, 240, 480, 600, 600]
    assert timedelta(minutes=10) == LONGEST_PAUSE


def test_successful_probe_resumes_and_says_for_how_long_it_was_paused(
    half_open: Bench,
) -> None:
    """The pause is counted from its beginning, failed probes included, and forgotten."""
    half_open.admit()
    half_open.fail(FORBIDDEN, "k0")
    half_open.clock.advance(60)
    half_open.admit()

    assert half_open.succeed() == [
        Transition(
            target="credential:calls",
            reason="source-forbidden",
            paused_until=None,
            paused_for=timedelta(seconds=90),
        )
    ]
    assert half_open.admit() is None
    assert half_open.admit() is None
    assert half_open.breaker.paused_resources() == frozenset()
    *_, again = half_open.fail_distinct(FORBIDDEN, 3)
    assert again is not None
    assert again.paused_until == half_open.clock.now() + FIRST_PAUSE


def test_archive_resumes_with_any_chunk_that_goes_through(bench: Bench) -> None:
    """A chunk of another resource proves that there is room again."""
    bench.fail(FULL, resource="calls")

    [resumed] = bench.succeed("other", source_answered=False)

    assert resumed.target == "archive"
    assert not bench.breaker.is_archive_paused()


def test_success_elsewhere_does_not_resume_a_credential(half_open: Bench) -> None:
    """Another resource's key says nothing about this one."""
    half_open.admit()

    assert half_open.succeed("other") == []
    assert half_open.breaker.paused_resources() == {"calls"}


def test_probe_that_fails_for_another_reason_ends_the_pause(half_open: Bench) -> None:
    """A 404 needs a key that works: the trouble was the key's, and it is over."""
    assert half_open.admit() is None

    half_open.fail(SourceNotFoundError())

    assert half_open.admit() is None
    assert half_open.breaker.paused_resources() == frozenset()


def test_probe_that_failed_before_the_pause_says_nothing_new(half_open: Bench) -> None:
    """Three bad chunks can't keep their credential paused: the next chunk is tried."""
    assert half_open.admit() is None

    assert half_open.fail(FORBIDDEN, "k0") is None

    assert half_open.breaker.is_half_open()
    assert half_open.admit() is None


def test_slow_probe_lets_another_through_after_a_while(half_open: Bench) -> None:
    """A chunk of hours is no reason for all others to wait for hours."""
    assert half_open.admit() is None
    assert half_open.admit() is not None
    assert not half_open.breaker.is_half_open()

    half_open.clock.advance(PROBE_PATIENCE.total_seconds())

    assert half_open.admit() is None
    assert half_open.admit() is not None


def test_target_whose_chunks_are_gone_is_not_half_open_for_ever(
    half_open: Bench,
) -> None:
    """Nobody is left to probe it, and the order of the others must not suffer."""
    assert half_open.breaker.is_half_open()

    half_open.clock.advance((2 * FIRST_PAUSE + PROBE_PATIENCE).total_seconds())

    assert not half_open.breaker.is_half_open()
    assert half_open.admit() is None


def test_drained_probe_makes_way_for_the_next(half_open: Bench) -> None:
    """A probe without a verdict doesn't hold its resource for ever."""
    half_open.admit()

    half_open.breaker.gave_up_probe(resource="calls")

    assert half_open.breaker.paused_resources() == frozenset()
    assert half_open.admit() is None
    assert half_open.admit() is not None


@pytest.mark.parametrize(
    "error",
    [TruncatedError(), ArchiveUnavailableError()],
    ids=["own", "of the archive"],
)
def test_probe_that_fails_in_another_way_makes_way_for_the_next(
    half_open: Bench, error: RetryableError
) -> None:
    """Trouble of another kind is no verdict on the credential."""
    half_open.admit()

    assert half_open.fail(error) is None
    assert half_open.admit() is None


def test_probe_of_both_targets_ends_for_both(bench: Bench) -> None:
    """A chunk that probes credential and archive and finds the key bad frees the archive."""
    bench.fail_distinct(FORBIDDEN, 3)
    bench.fail(FULL)
    bench.pass_pause()

    assert bench.admit("calls") is None
    assert bench.breaker.is_archive_paused()
    assert bench.breaker.paused_resources() == {"calls"}
    assert bench.fail(FORBIDDEN) is not None
    assert not bench.breaker.is_archive_paused()
    assert bench.admit("other") is None
    assert bench.breaker.is_archive_paused()


def test_end_of_a_probe_elsewhere_leaves_this_one(half_open: Bench) -> None:
    """Another resource's chunk that fails in its own way ends no probe but its own."""
    half_open.admit()

    half_open.fail(TruncatedError(), resource="other")
    half_open.breaker.gave_up_probe(resource="other")

    assert half_open.breaker.paused_resources() == {"calls"}


def test_scopes_are_paused_until_a_chunk_goes_through() -> None:
    """Half-open too: nothing but a probe is begun. No scope names whose credential it is."""
    bench = Bench()
    before = bench.breaker.paused_scopes()
    bench.fail_distinct(FORBIDDEN, FORBIDDEN.streak)
    bench.fail_distinct(FULL, FULL.streak)
    paused = bench.breaker.paused_scopes()
    bench.pass_pause()
    half_open = bench.breaker.paused_scopes()
    bench.succeed()

    assert before == frozenset()
    assert paused == half_open == {"credential", "archive"}
    assert bench.breaker.paused_scopes() == frozenset()


def test_scope_whose_chunks_are_all_gone_is_not_paused_for_good() -> None:
    """Nobody is left to go through, and nobody waits: an alert has to end."""
    bench = Bench()
    bench.fail_distinct(FORBIDDEN, FORBIDDEN.streak)
    bench.clock.advance(3 * FIRST_PAUSE.total_seconds())
    bench.clock.advance(PROBE_PATIENCE.total_seconds())

    assert bench.breaker.paused_scopes() == frozenset()
