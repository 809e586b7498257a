"""How a process stands: what metrics and health say of it, without asking anybody."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from worker import __version__
from worker.ports import Clock
from worker.sight import Sight

if TYPE_CHECKING:
    # Start-up cost: `status` has none.
    from worker.consumer import Consumer

STALLED_AFTER = timedelta(minutes=5)
"""A loop that came round longer ago is stuck: no call of a queue takes that long."""


class State(StrEnum):
    """A word for all of it, the first that is true; deploy/METRICS.md explains them."""

    STALLED = "stalled"
    DRAINING = "draining"
    """It ends by itself, whatever else is wrong: nobody has to look at it again."""
    QUEUE_UNREACHABLE = "queue-unreachable"
    STARTING = "starting"
    PAUSED = "paused"
    OVERLOOKING = "overlooking"
    """Chunks are due, and for minutes this process was given none: see Vigil."""
    OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueHealth:
    """Part of `GET /health`: additions only."""

    reachable: bool | None
    """Whether the last look at it succeeded; None: there was none yet."""
    looked_at: datetime | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerHealth:
    """Part of `GET /health`: additions only."""

    alive: bool
    turned_at: datetime | None
    leased_at: datetime | None
    paused: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """JSON fields of `GET /health`: additions only. No name that a person or an event gave,
    but for the instance's.
    """

    status: State
    verb: str
    version: str
    instance: str
    started_at: datetime
    queue: QueueHealth
    consumer: ConsumerHealth | None
    """None where nothing is consumed, or not yet."""

    @property
    def is_well(self) -> bool:
        """A pause is somebody's wish, and a drain an end in order."""
        return self.status in {State.DRAINING, State.PAUSED, State.OK}


@dataclass(slots=True, kw_only=True)
class Standing:
    """What is known of one process; `consumer` comes once there is one."""

    verb: str
    instance: str
    clock: Clock
    consumes: bool
    sight: Sight
    consumer: "Consumer | None" = None
    started_at: datetime = field(init=False)
    _started_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_at = self.clock.now()
        self._started_s = self.clock.monotonic()

    @property
    def paused(self) -> frozenset[str] | None:
        """Scopes in which nothing is begun now; None: no consumer, none to be paused."""
        if self.consumer is None:
            return None
        scopes = self.consumer.breaker.paused_scopes()
        return scopes | {"operator"} if self.consumer.pulse.is_halted else scopes

    @property
    def is_stalled(self) -> bool:
        """Whether the consumer's loop is stuck; so is one that never began."""
        if self.consumer is None:
            began, is_draining = None, not self.consumes
        else:
            pulse = self.consumer.pulse
            began, is_draining = pulse.turned_s, pulse.is_draining
        since_s = self.clock.monotonic() - (self._started_s if began is None else began)
        return not is_draining and since_s > STALLED_AFTER.total_seconds()

    @property
    def queue_problem(self) -> str | None:
        """Of the last look, or of the loop, which asks oftener; None: there is none."""
        own = None if self.consumer is None else self.consumer.pulse.queue_problem
        return self.sight.problem or own

    def report(self) -> HealthReport:
        sight, problem = self.sight, self.queue_problem
        is_known = problem is not None or sight.looked_at is not None
        return HealthReport(
            status=self._state(),
            verb=self.verb,
            version=__version__,
            instance=self.instance,
            started_at=self.started_at,
            queue=QueueHealth(
                reachable=problem is None if is_known else None,
                looked_at=sight.looked_at,
                problem=problem,
            ),
            consumer=self._consumer_health(),
        )

    def _consumer_health(self) -> ConsumerHealth | None:
        if self.consumer is None:
            return None
        pulse = self.consumer.pulse
        return ConsumerHealth(
            alive=not self.is_stalled,
            turned_at=pulse.turned_at,
            leased_at=pulse.leased_at,
            paused=tuple(sorted(self.paused or ())),
        )

    def _state(self) -> State:
        if self.is_stalled:
            return State.STALLED
        if self.consumer is not None and self.consumer.pulse.is_draining:
            return State.DRAINING
        if self.queue_problem is not None:
            return State.QUEUE_UNREACHABLE
        if self.sight.looked_at is None or (self.consumes and self.consumer is None):
            return State.STARTING
        if self.paused:
            return State.PAUSED
        is_overlooking = (
            self.consumer is not None and self.consumer.vigil.is_overlooking
        )
        return State.OVERLOOKING if is_overlooking else State.OK
