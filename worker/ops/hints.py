"""What helps against a reason: commands, the first of which finds or mends the cause. Pure.

They are made of ids of our own alone, never of what an event says: they are for pasting.
"""

from worker.model import ChunkState, QueuedChunk

CONFIG = "recording-worker config --for consume"
WATCH = "recording-worker status --watch"
RECORDING = "recording-worker recordings show {recording}"
REDRIVE = "recording-worker queue redrive {row}"
REASONS: dict[str, str] = {
    # The far side's, and mostly over by itself.
    "throttled": WATCH,
    "source-unavailable": WATCH,
    "source-answer": WATCH,
    "source-changed": WATCH,
    "source-not-found": WATCH,
    "truncated": WATCH,
    "retryable": WATCH,
    "export-not-found": WATCH,
    "archive-unavailable": WATCH,
    "topic-unavailable": WATCH,
    # Who we are, and where we may go.
    "archive-forbidden": CONFIG,
    "archive-full": CONFIG,
    "archive-name": CONFIG,
    "export-forbidden": CONFIG,
    "host-not-allowed": CONFIG,
    "identity-refused": CONFIG,
    "no-credential": CONFIG,
    "source-address": CONFIG,
    "source-forbidden": CONFIG,
    "token-unavailable": CONFIG,
    # What of it is home, and how it was proven.
    "archive-conflict": RECORDING,
    "archive-lost": RECORDING,
    "delete-owed": RECORDING,
    "hold-owed": RECORDING,
    "integrity": RECORDING,
    "metadata-owed": RECORDING,
    "permanent": RECORDING,
    "seal-owed": RECORDING,
    "source-expired": RECORDING,
    "unproven-delete": RECORDING,
    # Ours.
    "announcement-lost": "recording-worker queue rebuild --dry-run",
    "bug": "recording-worker -v consume --until-empty",
    "newer-format": "recording-worker --version",
    "stored-format": "recording-worker --version",
}
HOPELESS = frozenset({"source-expired", "archive-name", "unproven-delete"})
"""To try these again changes nothing."""


def hints_for(queued: QueuedChunk) -> tuple[str, ...]:
    """For an entry that has a reason; a dead one is redriven once its cause is mended."""
    reason = queued.reason
    if reason is None or (queued.settled_at is not None and not _is_dead(queued)):
        return ()
    first = REASONS.get(reason, WATCH)
    wanted = [first]
    if _is_dead(queued):
        wanted = [first] if first is not WATCH else []
        wanted += [REDRIVE] if reason not in HOPELESS else []
    names = {"row": queued.row, "recording": queued.chunk.recording}
    return tuple(each.format(**names) for each in wanted)


def _is_dead(queued: QueuedChunk) -> bool:
    return queued.state is ChunkState.DEAD
