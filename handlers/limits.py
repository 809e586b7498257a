"""What the public endpoint gives senders: time, and room. deploy/SETTINGS.md has the same."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All in one place; times are kept to within `sweep_seconds`."""

    connections: int = 1000
    at_work: int = 500
    """Deliveries that wait for the storage; never more than half as many as connections."""
    head_bytes: int = 64 * KIB
    """Ten headers of 4 KB, which a subscription may add, a token, and what front ends add."""
    head_seconds: float = 10.0
    """From the opening, or from the first byte of a later request, to the end of its head."""
    idle_seconds: float = 3630.0
    """Front ends keep connections for up to an hour; who closes first loses requests of the
    other."""
    body_seconds: float = 10.0
    """What is left of the budget after that is for the storage."""
    budget_seconds: float = 25.0
    """From the first byte of a request to its answer: Event Grid waits 30 s for that."""
    late_seconds: float = 120.0
    """How long work may go on after its answer was given up; its turn is needed again."""
    sweep_seconds: float = 1.0

    @property
    def turns(self) -> int:
        """How many may be at work: fewer than connections, so that one can give way."""
        return min(self.at_work, self.connections // 2)
