"""How much each row moves: in full, or just enough to see that it works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The defaults are what the bounds are stated for."""

    parallel_mib: int = 512
    rate_mib: float = 20
    memory_mib: tuple[int, int] = (256, 2048)
    """The small chunks and the large ones."""
    acks_seconds: float = 10
    connections: int = 50
    paced_seconds: float = 15
    paced_per_second: int = 1000
    load_seconds: float = 60
    load_per_second: tuple[int, int] = (1000, 20)
    """Deliveries of one event, and full ones."""
    load_events: int = 500
    """In a full one."""
    load_turn_seconds: float = 10
    load_turns: int = 3
    slow_connections: int = 500
    archived_chunks: int = 40
    """What the consumer has to do meanwhile: enough for the whole time."""
    archived_mib: int = 256
    starts: int = 10
    blob_mib: int = 256
    blob_turns: int = 4
    verify_mib: int = 256
    """Of one content; some of them are hashed."""
    verify_turns: int = 3
    listing_receipts: int = 100_000
    listing_turns: int = 2
    listing_blobs: int = 2000
    """In Azurite, which keeps no more without hours of filling it."""


SMOKE = Scale(
    parallel_mib=16,
    memory_mib=(4, 8),
    acks_seconds=0.5,
    connections=8,
    paced_seconds=0.5,
    paced_per_second=100,
    load_seconds=0.5,
    load_per_second=(20, 10),
    load_events=20,
    load_turn_seconds=0.2,
    load_turns=1,
    slow_connections=20,
    archived_chunks=8,
    starts=1,
    blob_mib=16,
    blob_turns=1,
    verify_mib=1,
    verify_turns=1,
    listing_receipts=100,
    listing_turns=1,
    listing_blobs=20,
)
