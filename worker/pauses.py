"""Whether an operator paused all work: numbered documents in the archive, the highest counts.

So any number of workers on any machine agree, and nothing is edited.
"""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass

import structlog

from worker import names
from worker.errors import NewerFormatError, PermanentError, RetryableError
from worker.ports import Archive, Clock
from worker.stored import Control, StoredFormatError, decode

LOOK_SECONDS = 1.0
FULL_LOOK_SECONDS = 60.0
"""How often all documents are listed: what a container's lifecycle rules removed counts no more,
and whoever says something then begins at lower numbers."""
PATIENCE_SECONDS = 5.0
"""For one look: an archive that hangs must not hold up a worker that is to stop."""
_NUMBER = re.compile(rf"{names.CONTROL}(\d{{6,}})\.json", re.ASCII)
_TROUBLE = (
    RetryableError,
    PermanentError,
    NewerFormatError,
    TimeoutError,
)
log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The document that counts; number 0 and None: nobody ever paused."""

    number: int = 0
    control: Control | None = None

    @property
    def pause(self) -> Control | None:
        """The pause that is on, if one is."""
        return self.control if self.control and self.control.paused else None


async def latest(archive: Archive) -> Latest:
    """Look through all of them; one that is damaged says nothing. Raises NewerFormatError."""
    number = 0
    async for name in archive.list(names.CONTROL):
        match = _NUMBER.fullmatch(name)
        number = max(number, int(match[1])) if match else number
    for each in range(number, 0, -1):
        control = _said(await archive.read(names.control_name(each)) or b"")
        if control is not None:
            return Latest(number=number, control=control)
    return Latest(number=number)


async def behind(archive: Archive, known: Latest) -> Latest:
    """What came behind a known one: mostly nothing, for the price of one read."""
    while True:
        data = await archive.read(names.control_name(known.number + 1))
        if data is None:
            return known
        control = _said(data) or known.control
        known = Latest(number=known.number + 1, control=control)


def _said(data: bytes) -> Control | None:
    with suppress(StoredFormatError):
        return decode(Control, data)
    return None


@dataclass(slots=True, kw_only=True)
class Pauses:
    """Follows what operators say, and tells when it changes.

    What can't be read changes nothing: a pause must not begin or end by that.
    """

    archive: Archive
    clock: Clock
    look_seconds: float = LOOK_SECONDS
    _known: Latest | None = None
    _looked_s: float | None = None
    _listed_s: float | None = None

    async def is_paused(self) -> bool:
        """As of the last look, which is not older than `look_seconds`."""
        now_s = self.clock.monotonic()
        if self._looked_s is None or now_s - self._looked_s >= self.look_seconds:
            self._looked_s = now_s
            await self._look()
        return self._known is not None and self._known.pause is not None

    async def _look(self) -> None:
        before = self._known
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                known = before if before and not self._is_list_due() else None
                self._known = await self._asked(known)
        except _TROUBLE as error:
            log.debug("consumer.pause_unknown", error=str(error))
        else:
            self._tell(before.pause if before else None, self._known.pause)

    def _is_list_due(self) -> bool:
        now_s = self.clock.monotonic()
        return self._listed_s is None or now_s - self._listed_s >= FULL_LOOK_SECONDS

    async def _asked(self, known: Latest | None) -> Latest:
        if known is not None:
            return await behind(self.archive, known)
        listed = await latest(self.archive)
        self._listed_s = self.clock.monotonic()
        return listed

    def _tell(self, before: Control | None, pause: Control | None) -> None:
        if pause is not None and before is None:
            log.warning(
                "consumer.paused",
                scope="operator",
                reason=pause.reason,
                by=pause.by,
                since=pause.at.isoformat(),
            )
        elif before is not None and pause is None:
            after_s = round((self.clock.now() - before.at).total_seconds(), 3)
            log.info("consumer.resumed", scope="operator", after_s=after_s)
