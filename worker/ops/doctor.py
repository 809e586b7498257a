"""What is wrong and how to mend it: findings of a list of checks."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How a check came out."""

    OK = "ok"
    NOTE = "note"
    """Worth a look; nothing is lost by it."""
    NOT_OK = "not ok"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `doctor`; part of `doctor --json`: additions only.

    None of it holds a key, a token, a code or a query.
    """

    check: str
    grade: Grade
    seen: str
    means: str = ""
    """What Event Grid would do about it."""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """All findings about one thing; JSON fields of `doctor --json`: additions only."""

    of: str
    is_reachable: bool
    needs_attention: bool
    findings: tuple[Finding, ...]


def examination(
    of: str, findings: Iterable[Finding], *, is_reachable: bool
) -> Examination:
    """Sum up: one finding that is not ok is enough."""
    told = tuple(findings)
    return Examination(
        of=of,
        is_reachable=is_reachable,
        needs_attention=any(each.grade is Grade.NOT_OK for each in told),
        findings=told,
    )
