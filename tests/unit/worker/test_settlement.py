"""What becomes of a chunk whose attempt failed: one row for every error there is."""

import importlib
import math
import pkgutil
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worker
from tests.fakes.clock import START
from worker import deadline, errors
from worker.archives.blob_errors import NoBlobError, PastEndError
from worker.archives.object_names import ArchiveNameError
from worker.closing import DeleteOwedError
from worker.errors import (
    ConfigError,
    NoticeRefusedError,
    PermanentError,
    RetryableError,
    SourceNotFoundError,
    SourceUnavailableError,
    ThrottledError,
    WorkerError,
)
from worker.holding import HoldOwedError
from worker.pipeline import MetadataOwedError, SealOwedError
from worker.queues.storage.trouble import QueueBusyError
from worker.settlement import (
    LONGEST_DELAY,
    NEWER_FORMAT_DELAY,
    DeadLetter,
    Nothing,
    Release,
    Reschedule,
    Settlement,
    decide,
)
from worker.sources.answers import UnprovenDeleteError
from worker.stored import StoredFormatError

EXPIRES = START + timedelta(hours=10)
LATE = EXPIRES + deadline.LATE_GRACE
MICROSECOND = timedelta(microseconds=1)
AGAIN, DEAD, GONE, RELEASED, NOTHING = "again", "dead", "gone", "released", "nothing"

# What comes of it before the deadline, from the deadline on, and after the late grace.
TRIED = (AGAIN, AGAIN, DEAD)
REFUSED = (DEAD, DEAD, DEAD)
OUTCOMES: dict[type[WorkerError], tuple[str, str, str]] = {
    WorkerError: TRIED,
    RetryableError: TRIED,
    errors.ThrottledError: TRIED,
    errors.SourceUnavailableError: TRIED,
    errors.SourceAddressError: TRIED,
    errors.SourceAnswerError: TRIED,
    errors.TruncatedError: TRIED,
    errors.SourceChangedError: TRIED,
    errors.SourceNotFoundError: (AGAIN, GONE, GONE),
    errors.SourceForbiddenError: TRIED,
    errors.TokenUnavailableError: TRIED,
    errors.IdentityRefusedError: TRIED,
    errors.ExportNotFoundError: TRIED,
    errors.ExportForbiddenError: TRIED,
    errors.ArchiveUnavailableError: TRIED,
    errors.ArchiveFullError: TRIED,
    errors.ArchiveForbiddenError: TRIED,
    errors.ArchiveConflictError: TRIED,
    errors.IntegrityError: TRIED,
    errors.TopicUnavailableError: TRIED,
    errors.BugError: TRIED,
    DeleteOwedError: TRIED,
    MetadataOwedError: TRIED,
    SealOwedError: TRIED,
    HoldOwedError: TRIED,
    NoBlobError: TRIED,
    PastEndError: TRIED,
    PermanentError: REFUSED,
    errors.HostNotAllowedError: REFUSED,
    errors.NoCredentialError: REFUSED,
    errors.SourceExpiredError: REFUSED,
    errors.ArchiveLostError: REFUSED,
    NoticeRefusedError: REFUSED,
    ArchiveNameError: REFUSED,
    UnprovenDeleteError: REFUSED,
    errors.NewerFormatError: (RELEASED, RELEASED, RELEASED),
    StoredFormatError: TRIED,
    errors.AlreadyExistsError: TRIED,
    errors.LeaseLostError: (NOTHING, NOTHING, NOTHING),
    errors.MalformedEventError: TRIED,
    errors.QueueUnavailableError: TRIED,
    QueueBusyError: TRIED,
    errors.ConfigError: TRIED,
}


COMMANDS = (
    *("worker.cli.", "worker.replaying", "worker.redelivering"),
    *("worker.posting", "worker.endpoint", "worker.acs.", "worker.ops."),
    *("worker.own_checks.", "worker.archives.letter"),
)
"""What only an operator's command meets, never an attempt."""


def every_error(kind: type[WorkerError] = WorkerError) -> Iterator[type[WorkerError]]:
    """The class and all below it that an attempt can meet."""
    is_commands = kind.__module__.startswith(COMMANDS)
    if kind.__module__.startswith("worker.") and not is_commands:
        yield kind
    for below in kind.__subclasses__():
        yield from every_error(below)


def an_error(kind: type[WorkerError]) -> WorkerError:
    if kind is ConfigError:
        return ConfigError(["what happened"])
    if kind is NoticeRefusedError:
        return NoticeRefusedError("what happened", for_good=True)
    return kind("what happened")


def settle(
    error: WorkerError,
    *,
    left: timedelta = timedelta(hours=5),
    delay_seconds: float = 30,
    archived: bool = False,
) -> Settlement:
    """Decide on an error that happens `left` before the deadline."""
    return decide(
        error,
        now=EXPIRES - left,
        expires_at=EXPIRES,
        delay_seconds=delay_seconds,
        archived=archived,
    )


def waited(
    settlement: Settlement, *, left: timedelta = timedelta(hours=5)
) -> timedelta:
    """How long a rescheduled chunk waits."""
    assert isinstance(settlement, Reschedule)
    return settlement.not_before - (EXPIRES - left)


def outcome(settlement: Settlement) -> str:
    match settlement:
        case Reschedule():
            return AGAIN
        case DeadLetter(reason="source-expired", error=error) if "after" in error:
            return GONE
        case DeadLetter():
            return DEAD
        case Release():
            return RELEASED
        case _:
            return NOTHING


def test_every_error_has_its_row() -> None:
    """A new kind of failure is not merged before someone says what becomes of the chunk."""
    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    assert set(every_error()) == set(OUTCOMES)


@pytest.mark.parametrize("kind", OUTCOMES, ids=lambda kind: kind.__name__)
def test_outcome_is_as_in_the_table(kind: type[WorkerError]) -> None:
    """Before the deadline, from it on, and once the grace for other trouble is over."""
    before, after, late = OUTCOMES[kind]
    error = an_error(kind)
    grace = deadline.LATE_GRACE

    assert outcome(settle(error, left=MICROSECOND)) == before
    assert outcome(settle(error, left=timedelta())) == after
    assert outcome(settle(error, left=-grace + MICROSECOND)) == after
    assert outcome(settle(error, left=-grace)) == late


@pytest.mark.parametrize("kind", OUTCOMES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("left_hours", [5, 0, -1, -24, -1000])
def test_archived_chunk_never_dies(kind: type[WorkerError], left_hours: float) -> None:
    """Once its bytes are safe, whatever fails is tried again and said to be archived."""
    settlement = settle(an_error(kind), left=timedelta(hours=left_hours), archived=True)

    assert not isinstance(settlement, DeadLetter)
    assert isinstance(settlement, Nothing | Release) or (
        isinstance(settlement, Reschedule) and settlement.archived
    )


@pytest.mark.parametrize("kind", OUTCOMES, ids=lambda kind: kind.__name__)
def test_nothing_that_a_retry_can_mend_is_given_up_before_the_deadline(
    kind: type[WorkerError],
) -> None:
    """There is no attempt cap: only what no retry can fix is dead before its time."""
    is_dead = isinstance(settle(an_error(kind), left=MICROSECOND), DeadLetter)

    assert is_dead == issubclass(kind, PermanentError)


def test_settlement_says_why() -> None:
    """Reason and message of the error reach whoever looks at the queue."""
    again = settle(SourceUnavailableError("no route"))
    refused = settle(errors.HostNotAllowedError("host 'evil'"))
    late = settle(SourceUnavailableError("no route"), left=-deadline.LATE_GRACE)
    gone = settle(SourceNotFoundError("404"), left=timedelta())

    assert isinstance(again, Reschedule)
    assert (again.reason, again.error) == ("source-unavailable", "no route")
    assert not again.archived
    assert refused == DeadLetter(reason="host-not-allowed", error="host 'evil'")
    assert late == DeadLetter(
        reason="source-unavailable", error="given up after the deadline: no route"
    )
    assert gone == DeadLetter(
        reason="source-expired", error="404 after 2026-03-01 22:00:00Z"
    )


def test_newer_format_is_left_to_a_newer_worker() -> None:
    """It comes back after a delay, and no attempt is spent."""
    settlement = settle(errors.NewerFormatError(), left=timedelta(hours=5))

    assert settlement == Release(
        not_before=EXPIRES - timedelta(hours=5) + NEWER_FORMAT_DELAY
    )


def test_backoff_is_waited_and_capped() -> None:
    """The chunk comes back after its backoff, and never later than ten minutes."""
    error = SourceUnavailableError()

    assert waited(settle(error, delay_seconds=30)) == timedelta(seconds=30)
    assert waited(settle(error, delay_seconds=9999)) == LONGEST_DELAY
    assert timedelta(minutes=10) == LONGEST_DELAY


def test_what_the_far_side_asked_for_counts_if_it_is_longer() -> None:
    """Retry-After lengthens the wait, never shortens it, and has the same cap."""

    def throttled(retry_after: float | None) -> timedelta:
        return waited(settle(ThrottledError(retry_after=retry_after)))

    assert throttled(None) == timedelta(seconds=30)
    assert throttled(5) == timedelta(seconds=30)
    assert throttled(90) == timedelta(seconds=90)
    assert throttled(86_400) == LONGEST_DELAY
    assert throttled(math.inf) == LONGEST_DELAY
    assert throttled(-5) == timedelta(seconds=30)


@given(
    left=st.timedeltas(MICROSECOND, timedelta(days=2)),
    delay_seconds=st.floats(0, 1e9),
    retry_after=st.none() | st.floats(0, 1e9),
)
def test_reschedule_leaves_time_for_another_try(
    left: timedelta, delay_seconds: float, retry_after: float | None
) -> None:
    """While time is left the chunk comes back before it is over, whoever asked for what."""
    error = ThrottledError(retry_after=retry_after)

    wait = waited(settle(error, left=left, delay_seconds=delay_seconds), left=left)

    assert timedelta() <= wait <= min(left, LONGEST_DELAY)
    assert wait <= max(left / 2, timedelta(seconds=1))


def test_chunk_close_to_its_deadline_is_tried_more_often_but_does_not_spin() -> None:
    """Half of the time that is left, and at the least a second."""

    def wait(left_seconds: float, delay_seconds: float = 600) -> timedelta:
        left = timedelta(seconds=left_seconds)
        error = SourceUnavailableError()
        return waited(settle(error, left=left, delay_seconds=delay_seconds), left=left)

    assert wait(60) == timedelta(seconds=30)
    assert wait(60, delay_seconds=5) == timedelta(seconds=5)
    assert wait(1.5) == timedelta(seconds=1)
    assert wait(0.25) == timedelta(seconds=0.25)
    assert wait(0) == LONGEST_DELAY
    assert wait(-60) == LONGEST_DELAY


def test_archived_chunk_is_not_hurried_by_its_deadline() -> None:
    """Its bytes are safe: the backoff alone decides."""
    left = timedelta(minutes=1)
    error = SourceUnavailableError()

    settlement = settle(error, left=left, delay_seconds=600, archived=True)

    assert waited(settlement, left=left) == LONGEST_DELAY


def test_reschedule_after_an_error_carries_it() -> None:
    """A chunk that is put off says for how long and why."""
    settlement = Reschedule.after(12, SourceUnavailableError("no route"), now=START)

    assert settlement == Reschedule(
        not_before=START + timedelta(seconds=12),
        reason="source-unavailable",
        error="no route",
        archived=False,
    )
