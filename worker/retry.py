"""Retries inside one attempt: seconds, under the lease. Hours are the queue's business.

A policy is a frozen value; `retrying` makes a fresh tenacity object for each use, because
one that is shared between tasks mixes up their attempts. Time and chance come in, so that
a simulation decides both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random, SystemRandom

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from worker.errors import (
    ArchiveUnavailableError,
    BugError,
    RetryableError,
    WorkerError,
)
from worker.ports import Clock
from worker.telemetry import meters
from worker.telemetry.instruments import RETRIES

log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

SYSTEM_RANDOM = SystemRandom()
MAX_BACKOFF_SECONDS = 600.0
FIRST_BACKOFF_SECONDS = 2.0
FLOOR_SHARE = 0.5
"""A reschedule waits at least this share of its backoff: a chunk must not spin."""

OnRetry = Callable[[BaseException], None]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how long, and how far apart. Waits are in seconds, with full jitter."""

    name: str
    attempts: int
    give_up_after: float
    first_wait: float = 0.2
    longest_wait: float = 20.0
    retried: type[RetryableError] = RetryableError
    """What is worth another try at once; the rest is left to the queue."""

    def retrying(
        self,
        *,
        clock: Clock,
        random: Random = SYSTEM_RANDOM,
        on_retry: OnRetry | None = None,
    ) -> AsyncRetrying:
        """Make a retrying call, for one use: `await policy.retrying(clock=clock)(fn)`.

        `fn` is an `async def` itself: tenacity doesn't await what a lambda returns.
        Retries `retried` only; the last error is raised as it is. A Retry-After longer
        than `longest_wait` is not slept out but raised at once, for the queue to honour.
        """
        use = _Use(policy=self, clock=clock, random=random, on_retry=on_retry)
        return AsyncRetrying(
            retry=retry_if_exception(use.is_worth_a_retry),
            stop=use.must_stop,
            wait=use.wait,
            before_sleep=use.report,
            sleep=clock.sleep,
            reraise=True,
        )


DOWNLOAD = RetryPolicy("download", attempts=5, give_up_after=120)
DELETE_SOURCE = RetryPolicy("delete_source", attempts=3, give_up_after=30)
ARCHIVE = RetryPolicy(
    "archive", attempts=4, give_up_after=60, retried=ArchiveUnavailableError
)


class _Use:
    """One use of a policy: what tenacity asks, answered by our clock and our chance."""

    def __init__(
        self,
        *,
        policy: RetryPolicy,
        clock: Clock,
        random: Random,
        on_retry: OnRetry | None,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._random = random
        self._on_retry = on_retry
        self._started = clock.monotonic()

    def is_worth_a_retry(self, error: BaseException) -> bool:
        if not isinstance(error, self._policy.retried):
            return False
        return (error.retry_after or 0) <= self._policy.longest_wait

    def wait(self, state: RetryCallState) -> float:
        """Never sooner than the source asked, and jittered even then."""
        policy = self._policy
        ceiling = policy.first_wait * 2 ** (state.attempt_number - 1)
        jittered = self._random.uniform(0, min(ceiling, policy.longest_wait))
        error = _error_of(state)
        asked = error.retry_after if isinstance(error, RetryableError) else None
        return (asked or 0) + jittered

    def must_stop(self, state: RetryCallState) -> bool:
        if state.attempt_number >= self._policy.attempts:
            return True
        spent = self._clock.monotonic() - self._started
        return spent + state.upcoming_sleep >= self._policy.give_up_after

    def report(self, state: RetryCallState) -> None:
        error = _error_of(state)
        reason = error.reason if isinstance(error, WorkerError) else None
        meters.add(RETRIES, policy=self._policy.name, reason=reason or BugError.reason)
        log.warning(
            "retry.scheduled",
            policy=self._policy.name,
            attempt=state.attempt_number,
            wait_s=round(state.upcoming_sleep, 3),
            reason=reason,
            error=str(error),
        )
        if self._on_retry is not None and error is not None:
            self._on_retry(error)


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def backoff(attempts: int, *, random: Random = SYSTEM_RANDOM) -> float:
    """Seconds that a rescheduled chunk waits after its `attempts`-th attempt.

    Doubles up to MAX_BACKOFF_SECONDS, jittered above a floor.
    """
    doublings = min(max(attempts, 1) - 1, 32)  # 2**32 is past any ceiling
    ceiling = min(FIRST_BACKOFF_SECONDS * 2**doublings, MAX_BACKOFF_SECONDS)
    return random.uniform(ceiling * FLOOR_SHARE, ceiling)
