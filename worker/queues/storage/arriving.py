"""Who is named by deliveries that were acknowledged but are not fanned out yet.

Their chunks have no names of their own; only the deliveries themselves tell. Mostly there are
none or few; after an outage there are many, and each is read once.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from worker.model import Chunk
from worker.ports import Clock
from worker.queues.storage.ledger import Ledger
from worker.queues.storage.names import PartName, Ref, documents_of
from worker.queues.storage.parallel import in_parallel
from worker.stored import StoredFormatError

BACK = timedelta(hours=48)
AHEAD = timedelta(hours=1)
"""Clocks differ."""
KNOWN_SECONDS = 10.0
"""How long one look counts: what comes just behind a look is not seen either."""


@dataclass(slots=True, kw_only=True)
class Arriving:
    """Looks through deliveries not more often than need be."""

    ledger: Ledger
    clock: Clock
    known: dict[PartName, dict[str, list[Ref]]] = field(default_factory=dict)
    looked_s: float | None = None
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def forget(self) -> None:
        """Look again: something came."""
        self.looked_s = None

    async def naming(self, document_id: str) -> Sequence[Chunk]:
        """Raises NewerFormatError: what can't be read may name it, too."""
        async with self.one_at_a_time:
            now_s = self.clock.monotonic()
            if self.looked_s is None or now_s - self.looked_s >= KNOWN_SECONDS:
                await self._look()
                self.looked_s = now_s
        refs = [
            ref for part in self.known.values() for ref in part.get(document_id, ())
        ]
        chunks = [await self.ledger.parts.chunk(ref) for ref in refs]
        return [chunk for chunk in chunks if chunk is not None]

    async def _look(self) -> None:
        now = self.clock.now()
        unfanned = self.ledger.unfanned(now - BACK, now + AHEAD)
        names = [name async for name, _ in unfanned]
        known = {name: self.known[name] for name in names if name in self.known}

        async def read(name: PartName) -> None:
            known[name] = await self._documents(name)

        await in_parallel([name for name in names if name not in known], read)
        self.known = known

    async def _documents(self, name: PartName) -> dict[str, list[Ref]]:
        found: dict[str, list[Ref]] = {}
        with suppress(StoredFormatError):
            part = await self.ledger.parts.part(name)
            for ref, chunk in part.refs() if part else ():
                for document_id in documents_of(chunk):
                    found.setdefault(document_id, []).append(ref)
        return found
