"""Retries: of what, how often, how long apart."""

import asyncio
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.fakes.clock import ManualClock
from worker import retry
from worker.errors import (
    HostNotAllowedError,
    RetryableError,
    SourceUnavailableError,
    ThrottledError,
    WorkerError,
)
from worker.retry import RetryPolicy

POLICY = RetryPolicy("test", attempts=4, give_up_after=60)


class MostRandom(Random):
    """Chance that always says the most."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - the signature of Random
        return b


class LeastRandom(Random):
    """Chance that always says the least."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - the signature of Random
        return a


class Flaky:
    """Raises the errors in order, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)
        self.calls = 0
        self.failed = asyncio.Event()

    async def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            self.failed.set()
            raise self._errors.pop(0)
        return "answer"


async def run(policy: RetryPolicy, clock: ManualClock, call: Flaky) -> str:
    """One use of a policy, with the usual chance."""
    answer: str = await policy.retrying(clock=clock)(call)
    return answer


async def test_retry_waits_longer_each_time() -> None:
    """A retryable error is tried again, with waits that double up to the longest."""
    clock = ManualClock(auto=True)
    policy = RetryPolicy("test", attempts=9, give_up_after=60, longest_wait=1.0)
    flaky = Flaky(*[SourceUnavailableError() for _ in range(5)])

    answer: str = await policy.retrying(clock=clock, random=MostRandom())(flaky)

    assert answer == "answer"
    assert clock.sleeps == pytest.approx([0.2, 0.4, 0.8, 1.0, 1.0])


async def test_retry_gives_up_after_its_attempts() -> None:
    """The last error comes out as it is."""
    clock = ManualClock(auto=True)
    last = SourceUnavailableError("last")
    errors = [SourceUnavailableError() for _ in range(3)]
    flaky = Flaky(*errors, last)

    with pytest.raises(SourceUnavailableError) as caught:
        await POLICY.retrying(clock=clock)(flaky)

    assert caught.value is last
    assert (flaky.calls, len(clock.sleeps)) == (4, 3)


async def test_retry_gives_up_after_its_time() -> None:
    """A wait that would end past the time is not begun, by the clock that was given."""
    clock = ManualClock(auto=True)
    policy = RetryPolicy("test", attempts=99, give_up_after=25)
    flaky = Flaky(*[ThrottledError(retry_after=10) for _ in range(9)])

    with pytest.raises(ThrottledError):
        await policy.retrying(clock=clock, random=LeastRandom())(flaky)

    assert clock.sleeps == [10, 10]


async def test_retry_never_comes_before_the_source_asked() -> None:
    """Retry-After is waited out, with jitter on top."""
    clock = ManualClock(auto=True)
    flaky = Flaky(ThrottledError(retry_after=7))

    await POLICY.retrying(clock=clock, random=MostRandom())(flaky)

    assert clock.sleeps == pytest.approx([7.2])


async def test_retry_does_not_sleep_out_a_long_retry_after() -> None:
    """What the source wants later than our longest wait is the queue's business."""
    clock = ManualClock(auto=True)
    flaky = Flaky(ThrottledError(retry_after=POLICY.longest_wait + 1))

    with pytest.raises(ThrottledError):
        await POLICY.retrying(clock=clock)(flaky)

    assert (flaky.calls, clock.sleeps) == (1, [])


@pytest.mark.parametrize(
    "error", [HostNotAllowedError("no"), WorkerError("no"), ValueError("bug")]
)
async def test_retry_leaves_other_errors_alone(error: Exception) -> None:
    """Permanent errors and bugs come out at once."""
    clock = ManualClock(auto=True)
    flaky = Flaky(error)

    with pytest.raises(type(error)) as caught:
        await POLICY.retrying(clock=clock)(flaky)

    assert caught.value is error
    assert flaky.calls == 1


async def test_retry_lets_cancellation_pass() -> None:
    """A cancelled call is not tried again."""
    flaky = Flaky(asyncio.CancelledError())

    with pytest.raises(asyncio.CancelledError):
        await POLICY.retrying(clock=ManualClock(auto=True))(flaky)

    assert flaky.calls == 1


async def test_retry_is_cancelled_while_it_waits() -> None:
    """A wait between two tries ends with the task."""
    clock = ManualClock()
    flaky = Flaky(SourceUnavailableError())
    task = asyncio.create_task(run(POLICY, clock, flaky))
    await flaky.failed.wait()
    await asyncio.sleep(0)
    assert len(clock.sleeps) == 1

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_retry_is_reported() -> None:
    """Each retry is one warning and one call, with the error that caused it."""
    seen: list[BaseException] = []
    flaky = Flaky(ThrottledError("busy", retry_after=1))

    with capture_logs() as logs:
        await POLICY.retrying(
            clock=ManualClock(auto=True), random=LeastRandom(), on_retry=seen.append
        )(flaky)

    assert [str(error) for error in seen] == ["busy"]
    assert logs == [
        {
            "event": "retry.scheduled",
            "log_level": "warning",
            "policy": "test",
            "attempt": 1,
            "wait_s": 1,
            "reason": "throttled",
            "error": "busy",
        }
    ]


async def test_retry_keeps_concurrent_uses_apart() -> None:
    """Tasks that share a policy count their attempts each for itself."""
    calls = [Flaky(*[RetryableError(str(n))] * (n % 5)) for n in range(100)]
    clock = ManualClock(auto=True)

    results = [asyncio.create_task(run(POLICY, clock, call)) for call in calls]
    await asyncio.wait(results)

    failed = [str(result.exception()) for result in results if result.exception()]
    assert failed == [str(n) for n in range(100) if n % 5 == 4]


def test_policies_fit_under_the_lease() -> None:
    """Every policy is bounded in attempts and in time."""
    policies = {
        policy.name: (policy.attempts, policy.give_up_after)
        for policy in (retry.DOWNLOAD, retry.DELETE_SOURCE)
    }

    assert policies == {"download": (5, 120), "delete_source": (3, 30)}


def test_backoff_doubles_up_to_ten_minutes() -> None:
    """A reschedule waits longer each time, and never more than ten minutes."""
    waits = [retry.backoff(n, random=MostRandom()) for n in (0, 1, 2, 3, 9, 10, 10**9)]

    assert waits == [2, 2, 4, 8, 512, 600, 600]


@given(attempts=st.integers(), seed=st.integers())
def test_backoff_has_a_floor(attempts: int, seed: int) -> None:
    """Whatever chance says, a reschedule waits at least half of its backoff."""
    wait = retry.backoff(attempts, random=Random(seed))  # noqa: S311 - no secret

    assert retry.backoff(attempts, random=MostRandom()) / 2 <= wait <= 600
