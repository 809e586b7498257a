"""What is wrong and how to mend it: findings of a list of checks, told as they come."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Protocol, runtime_checkable


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
    """What comes of it: what Event Grid would do, or the worker."""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """All findings about one thing; JSON fields of `doctor --json`: additions only."""

    of: str
    is_reachable: bool
    needs_attention: bool
    findings: tuple[Finding, ...]


@runtime_checkable
class ProbedQueue(Protocol):
    """A queue that can be tried without anybody taking the probe for a chunk."""

    async def round_trip(self) -> bool:
        """Put something in and take it out; False: this identity may only put in.

        Raises QueueUnavailableError.
        """
        ...


Check = Callable[[], Coroutine[Any, Any, Sequence[Finding]]]
Tell = Callable[[Finding], None]


class NobodyThereError(Exception):
    """No other check makes sense; `finding` says why."""

    def __init__(self, finding: Finding, *, is_reachable: bool) -> None:
        super().__init__(finding.seen)
        self.finding = finding
        self.is_reachable = is_reachable


async def examine(of: str, checks: Iterable[Check], *, tell: Tell) -> Examination:
    """Make all checks, one after the other, until one says that nobody is there.

    Each finding is told at once: a check may take its time. One that is not ok is enough to
    need attention.
    """
    findings: list[Finding] = []

    def add(finding: Finding) -> None:
        findings.append(finding)
        tell(finding)

    is_reachable = True
    try:
        for check in checks:
            for finding in await check():
                add(finding)
    except NobodyThereError as error:
        add(error.finding)
        is_reachable = error.is_reachable
    return Examination(
        of=of,
        is_reachable=is_reachable,
        needs_attention=any(each.grade is Grade.NOT_OK for each in findings),
        findings=tuple(findings),
    )


@asynccontextmanager
async def side_by_side(checks: Iterable[Check]) -> AsyncIterator[Sequence[Check]]:
    """The same checks, begun: for those that need nothing of each other.

    All together take as long as the longest, and are told in their order.
    """
    async with asyncio.TaskGroup() as group:
        begun = [group.create_task(check()) for check in checks]
        yield [partial(_ended, task) for task in begun]


async def _ended(task: asyncio.Task[Sequence[Finding]]) -> Sequence[Finding]:
    return await task


def passed(check: str, seen: str, means: str = "") -> Finding:
    """Nothing to do here."""
    return Finding(check=check, grade=Grade.OK, seen=seen, means=means)


def noted(check: str, seen: str, hint: str = "") -> Finding:
    """Worth a look."""
    return Finding(check=check, grade=Grade.NOTE, seen=seen, hint=hint)


def failed(check: str, seen: str, hint: str = "", *, means: str = "") -> Finding:
    """Somebody has to mend this."""
    return Finding(check=check, grade=Grade.NOT_OK, seen=seen, means=means, hint=hint)


def skipped(check: str, seen: str, hint: str = "") -> Finding:
    """It was not looked at, and why."""
    return Finding(check=check, grade=Grade.SKIPPED, seen=seen, hint=hint)
