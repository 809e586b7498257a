"""Every metric, in one table: what is counted, timed and looked at.

Names, attributes and their values are an interface: additions only. No attribute holds what
comes from an event (an id, a host, a URL) or what a person typed: each has a few values,
which are this code's own.
"""

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "recording_worker."


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    UP_DOWN = "up-down counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Attribute:
    """What a metric is split by; without `values` the reasons of worker/errors.py."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One metric. `unit` is UCUM's (`s`, `By`), `bounds` are those of a histogram."""

    name: str
    kind: Kind
    description: str
    unit: str = ""
    attributes: tuple[Attribute, ...] = ()
    bounds: tuple[float, ...] = ()
    begins: tuple[tuple[str, ...], ...] = ()
    """Values of the attributes that a counter shows as 0 from the start, so that the first
    of a kind is an increase; all of them where `()` and each attribute has its values.
    """

    @property
    def prometheus(self) -> tuple[str, ...]:
        """What Prometheus calls its samples.

        https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
        """
        name = self.name.replace(".", "_")
        unit = _UNITS[self.unit]
        if unit and not name.endswith(f"_{unit}"):
            name = f"{name}_{unit}"
        return tuple(f"{name}{suffix}" for suffix in _SUFFIXES[self.kind])


_UNITS = {"": "", "s": "seconds", "By": "bytes"}
_SUFFIXES = {
    Kind.COUNTER: ("_total",),
    Kind.UP_DOWN: ("",),
    Kind.HISTOGRAM: ("_bucket", "_sum", "_count"),
    Kind.GAUGE: ("",),
}
NO_REASON = "none"
_MINUTE, _HOUR = 60.0, 3600.0
_ORIGINS = ("webhook", "inbox", "replay")
_REASON = Attribute("reason")

DELIVERIES = Instrument(
    name="recording_worker.deliveries",
    kind=Kind.COUNTER,
    description="Deliveries, by what the log says of them: accepted, rejected, deferred "
    "(counted once more when it is sorted), refused (Event Grid's, but with a bad credential "
    "or at a wrong place)",
    attributes=(
        Attribute("origin", _ORIGINS),
        Attribute("outcome", ("accepted", "rejected", "deferred", "refused")),
        Attribute(
            "reason",
            (
                NO_REASON,
                "malformed",
                "unavailable",
                "unauthorized",
                "no-such-path",
                "no-such-method",
                "bad-credential",
                "cannot-authenticate",
                "wrong-place",
                "starting",
                "draining",
                "too-large",
                "too-many-bytes",
                "too-many-deliveries",
                "unreadable",
                "unparsable",
                "bad-callback",
                "slow-body",
                "timeout",
                "bug",
            ),
        ),
    ),
    begins=(
        *((origin, "accepted", NO_REASON) for origin in _ORIGINS),
        *((origin, "rejected", "malformed") for origin in _ORIGINS),
        *((origin, "rejected", "unavailable") for origin in _ORIGINS),
        ("webhook", "refused", "bad-credential"),
        ("webhook", "refused", "cannot-authenticate"),
        ("webhook", "refused", "wrong-place"),
    ),
)
EVENTS = Instrument(
    name="recording_worker.events",
    kind=Kind.COUNTER,
    description="What was in accepted deliveries: new chunks, chunks known already, "
    "chunks left in the user's own storage, events ignored, events put into quarantine",
    attributes=(
        Attribute(
            "outcome", ("chunk", "duplicate", "exported", "ignored", "quarantined")
        ),
    ),
)
DELIVERY_DURATION = Instrument(
    name="recording_worker.delivery.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    description="How long it took to sort a delivery and make it durable; deferred: to make it "
    "durable as it came",
    attributes=(Attribute("outcome", ("accepted", "rejected", "deferred")),),
    bounds=(
        *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
        *(1.0, 2.5, 5.0, 10.0, 25.0),
    ),
)
CALLBACKS = Instrument(
    name="recording_worker.callbacks",
    kind=Kind.COUNTER,
    description="Callbacks of Call Automation",
    attributes=(
        Attribute(
            "type",
            (
                "RecordingStateChanged",
                "StartRecordingFailed",
                "CallTransferAccepted",
                "CallTransferFailed",
                "other",
            ),
        ),
    ),
)
SUBSCRIPTIONS_DELETED = Instrument(
    name="recording_worker.subscriptions.deleted",
    kind=Kind.COUNTER,
    description="Deliveries that said that the event subscription was deleted",
)
CHUNKS = Instrument(
    name="recording_worker.chunks",
    kind=Kind.COUNTER,
    description="Attempts at chunks, by how they ended; one that waits for its siblings "
    "ends as archived more than once",
    attributes=(
        Attribute(
            "outcome",
            (
                "archived",
                "deleted",
                "erased",
                "rescheduled",
                "dead",
                "released",
                "lost",
            ),
        ),
        _REASON,
    ),
    begins=(("archived", NO_REASON), ("deleted", NO_REASON)),
)
BYTES = Instrument(
    name="recording_worker.bytes",
    kind=Kind.COUNTER,
    unit="By",
    description="Bytes that came from the source, and bytes proven in the archive, "
    "counted when an attempt ends",
    attributes=(Attribute("direction", ("downloaded", "archived")),),
)
CHUNK_DURATION = Instrument(
    name="recording_worker.chunk.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    description="How long the steps of an attempt took; index is a chunk's in the "
    "user's own storage",
    attributes=(Attribute("step", ("total", "download", "verify", "index", "delete")),),
    bounds=(
        *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
        *(_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE),
        *(_HOUR, 2 * _HOUR, 6 * _HOUR),
    ),
)
CHUNK_MARGIN = Instrument(
    name="recording_worker.chunk.margin",
    kind=Kind.HISTOGRAM,
    unit="s",
    description="How long before its expiry at the source a chunk was archived; 0: after it",
    bounds=(
        *(0.0, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
        *(hours * _HOUR for hours in (1, 2, 4, 6, 8, 12, 16, 20, 22, 23, 24, 48)),
    ),
)
RETRIES = Instrument(
    name="recording_worker.retries",
    kind=Kind.COUNTER,
    description="Retries within an attempt, by what was tried and why it failed",
    attributes=(
        Attribute("policy", ("download", "delete_source", "archive", "queue")),
        _REASON,
    ),
)
LEASES = Instrument(
    name="recording_worker.leases",
    kind=Kind.UP_DOWN,
    description="Chunks that this process is working on",
)
LEASES_LOST = Instrument(
    name="recording_worker.leases.lost",
    kind=Kind.COUNTER,
    description="Chunks that another worker took while this one was at work",
)
DEAD_LETTERS = Instrument(
    name="recording_worker.dead_letters",
    kind=Kind.COUNTER,
    description="Chunks given up, and messages that lead to none, for a human to decide",
    attributes=(_REASON,),
    begins=(
        ("source-expired",),
        ("no-credential",),
        ("host-not-allowed",),
        ("archive-lost",),
    ),
)
QUEUE_CHUNKS = Instrument(
    name="recording_worker.queue.chunks",
    kind=Kind.GAUGE,
    description="Chunks in the queue; every process that works on it says the same",
    attributes=(
        Attribute("state", ("pending", "leased", "archived", "deleted", "dead")),
    ),
)
QUEUE_OLDEST_AGE = Instrument(
    name="recording_worker.queue.oldest_age",
    kind=Kind.GAUGE,
    unit="s",
    description="How long the pending chunk whose deadline comes first has been queued; "
    "0 if none waits",
)
QUEUE_EXPIRY = Instrument(
    name="recording_worker.queue.expiry",
    kind=Kind.GAUGE,
    unit="s",
    description="Time until the most endangered chunk, pending or leased, expires at the "
    "source; absent if there is none",
)
QUEUE_AT_RISK = Instrument(
    name="recording_worker.queue.at_risk",
    kind=Kind.GAUGE,
    description="Chunks with less than WORKER_AT_RISK_HOURS left",
)
QUEUE_LOOKED = Instrument(
    name="recording_worker.queue.looked",
    kind=Kind.GAUGE,
    unit="s",
    description="Unix time of the last look at the queue that succeeded; absent before it",
)
QUEUE_DEFERRED = Instrument(
    name="recording_worker.queue.deferred",
    kind=Kind.GAUGE,
    description="Deliveries that are kept as they came and yet to be sorted",
)
PAUSED = Instrument(
    name="recording_worker.paused",
    kind=Kind.GAUGE,
    description="1 while no chunk is begun, by an operator's word or for trouble that "
    "several chunks share",
    attributes=(Attribute("scope", ("operator", "credential", "archive")),),
)
VERIFICATIONS = Instrument(
    name="recording_worker.verifications",
    kind=Kind.COUNTER,
    description="Runs of `recordings verify`",
    attributes=(Attribute("outcome", ("intact", "problems")),),
)
CHECKS = Instrument(
    name="recording_worker.checks",
    kind=Kind.COUNTER,
    description="Runs of `status --check`",
    attributes=(Attribute("outcome", ("fine", "attention", "unknown")),),
)

ALL = (
    DELIVERIES,
    EVENTS,
    DELIVERY_DURATION,
    CALLBACKS,
    SUBSCRIPTIONS_DELETED,
    CHUNKS,
    BYTES,
    CHUNK_DURATION,
    CHUNK_MARGIN,
    RETRIES,
    LEASES,
    LEASES_LOST,
    DEAD_LETTERS,
    QUEUE_CHUNKS,
    QUEUE_OLDEST_AGE,
    QUEUE_EXPIRY,
    QUEUE_AT_RISK,
    QUEUE_LOOKED,
    QUEUE_DEFERRED,
    PAUSED,
    VERIFICATIONS,
    CHECKS,
)


def prometheus_names() -> frozenset[str]:
    """Every sample that `/metrics` may show of these."""
    return frozenset(name for each in ALL for name in each.prometheus)
