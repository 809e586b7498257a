"""The documents that the stand-in has, and the faults planned for them."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from samples import answers
from samples.answers import Answer
from samples.content import Content, MemoryContent
from samples.faults import Fault, FaultKind, spoil

Part = Literal["content", "metadata", "delete"]
OBJECTS = "/v1/objects/"
_PARTS: dict[tuple[str, str], Part] = {
    ("GET", "content/video"): "content",
    ("GET", "content/acsmetadata"): "metadata",
    ("DELETE", "content/deletedata"): "delete",
    ("DELETE", ""): "delete",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a request is about. `part` is None for a path or method not known."""

    document_id: str
    part: Part | None

    @classmethod
    def of(cls, method: str, path: str) -> "Target":
        """Read `/v1/objects/{documentId}[/content/…]`; a query is left out of account."""
        path, _, _ = path.partition("?")
        if not path.startswith(OBJECTS):
            return cls(document_id="", part=None)
        document_id, _, rest = path.removeprefix(OBJECTS).partition("/")
        return cls(document_id=unquote(document_id), part=_PARTS.get((method, rest)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One document. A file stands for its bytes until it is first asked for."""

    content: Content | Path
    metadata: Content | Path | None
    last_modified: str
    expires_at: datetime | None = None
    """None: it is kept until it is deleted."""


class Objects:
    """Documents by id, and what shall go wrong with them."""

    def __init__(self) -> None:
        self.deleted: set[str] = set()
        self._stored: dict[str, StoredObject] = {}
        self._plans: dict[tuple[str, Part], deque[Fault]] = defaultdict(deque)

    def put(self, document_id: str, stored: StoredObject) -> None:
        self.deleted.discard(document_id)
        self._stored[document_id] = stored

    def forget_expired(self, now: datetime) -> None:
        """Let go of what was kept for long enough; nobody deleted it."""
        self._stored = {
            document_id: stored
            for document_id, stored in self._stored.items()
            if stored.expires_at is None or now < stored.expires_at
        }

    def plan(self, document_id: str, part: Part, faults: Iterable[Fault]) -> None:
        self._plans[document_id, part] = deque(faults)

    def redirected(self, target: Target) -> Answer | None:
        """Return the answer of a planned redirect, if that is what comes next."""
        plan = self._plan_of(target)
        if not plan or plan[0].kind is not FaultKind.REDIRECT_TO:
            return None
        return answers.redirect(_take(plan).url)

    async def answer(self, target: Target, range_header: str | None) -> Answer:
        """Answer as the service does, or as the next planned fault has it."""
        plan = self._plan_of(target)
        fault = _take(plan) if plan else None
        if target.part == "delete":
            plain = self._deleted(target.document_id, fault)
        else:
            plain = await self._read(target, range_header)
        if fault is None:
            return plain
        return spoil(plain, fault, document_id=target.document_id)

    def _plan_of(self, target: Target) -> deque[Fault] | None:
        if target.part is None:
            return None
        return self._plans.get((target.document_id, target.part))

    def _deleted(self, document_id: str, fault: Fault | None) -> Answer:
        if fault is not None and not fault.lets_delete:
            return answers.empty(200)
        if self._stored.pop(document_id, None) is None:
            # Recorded: a delete of what is gone has no body, unlike a read.
            return answers.empty(404)
        self.deleted.add(document_id)
        return answers.empty(200)

    async def _read(self, target: Target, range_header: str | None) -> Answer:
        stored = self._stored.get(target.document_id)
        part = _part_of(stored, target.part) if stored else None
        if stored is None or part is None:
            return answers.not_found(target.document_id)
        return answers.object_answer(
            await _loaded(part),
            range_header=range_header,
            last_modified=stored.last_modified,
        )


def _take(plan: deque[Fault]) -> Fault:
    return plan[0] if plan[0].is_persistent else plan.popleft()


def _part_of(stored: StoredObject, part: Part | None) -> Content | Path | None:
    if part is None:
        return None
    return stored.content if part == "content" else stored.metadata


async def _loaded(part: Content | Path) -> Content:
    if isinstance(part, Path):
        return MemoryContent(await asyncio.to_thread(part.read_bytes))
    return part
