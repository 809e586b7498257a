"""Answers that come too late, dead letters on a disk, and a clock that runs: for real."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from samples.grid.clock import PacedClock
from samples.grid.conduct import Conduct
from samples.grid.dead_letters import DirectoryContainer
from samples.grid.dispatcher import Dispatcher
from samples.grid.pending import Attempted, Happening
from samples.grid.verdicts import Fate
from tests.fakes.clock import START, ManualClock
from tests.grid import an_event, answer, serving

WITHIN_S = 0.05
"""How long these tests wait for an answer; Event Grid waits for 30 s."""


HANGS_AT = 4
"""The attempt at 1 min 40 s; the next one is 5 min after it."""
SENT_AT = START + timedelta(seconds=100)


@dataclass(slots=True, kw_only=True)
class HangsOnce:
    """Answers 503, but for one request that hangs until it is let go."""

    late_status: int = 200
    hangs_at: int = HANGS_AT
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def __call__(self, _request: web.BaseRequest, _body: bytes) -> web.Response:
        self.asked += 1
        if self.asked == self.hangs_at:
            await self.let_go.wait()
            return web.Response(status=self.late_status)
        return web.Response(status=200 if self.let_go.is_set() else 500)


@dataclass(slots=True, kw_only=True)
class Ears:
    """Hears what happens, and says when an answer came late."""

    heard: list[Happening] = field(default_factory=list)
    late: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, told: Happening) -> None:
        self.heard.append(told)
        if isinstance(told, Attempted) and told.is_late:
            self.late.set()


async def late_by(
    passed: timedelta, *, status: int = 200, **conduct: Any
) -> tuple[int, list[Happening]]:
    """Let an answer come so much after its request; how often was asked again, then?"""
    hanging, ears = HangsOnce(late_status=status), Ears()
    async with (
        serving(hanging) as endpoint,
        endpoint.grid(answer_seconds=WITHIN_S) as grid,
    ):
        dispatcher = Dispatcher(
            grid,
            clock=ManualClock(auto=True),
            conduct=Conduct(jitter=0, **conduct),
            tell=ears,
        )
        dispatcher.publish([an_event()])
        await dispatcher.run(until=SENT_AT + passed)
        assert hanging.asked == HANGS_AT
        hanging.let_go.set()
        await ears.late.wait()
        await dispatcher.run()
    return hanging.asked - HANGS_AT, ears.heard


async def test_success_within_three_minutes_spares_the_retry() -> None:
    """The event is taken out of the retries, though its delivery had timed out."""
    asked_again, heard = await late_by(timedelta(seconds=35))

    *_, timed_out, late = heard
    assert asked_again == 0
    assert isinstance(timed_out, Attempted)
    assert isinstance(late, Attempted)
    assert timed_out.outcome.verdict.outcome == "TimedOut"
    assert late.outcome.verdict.fate is Fate.DELIVERED


async def test_success_after_three_minutes_does_not() -> None:
    """It comes too late to be noticed: the event is delivered again."""
    asked_again, _ = await late_by(timedelta(seconds=181))

    assert asked_again == 1


async def test_late_failure_spares_nothing() -> None:
    """Only a success is one."""
    asked_again, _ = await late_by(timedelta(seconds=35), status=500)

    assert asked_again == 1


async def test_late_success_may_go_unnoticed() -> None:
    """On a best effort basis: duplicates may still be received."""
    asked_again, _ = await late_by(timedelta(seconds=35), notices_late=0.0)

    assert asked_again == 1


async def test_answer_in_time_is_an_answer() -> None:
    """Waiting for late answers changes nothing for those in time."""
    heard: list[Any] = []
    async with serving(answer(status=204)) as endpoint, endpoint.grid() as grid:
        outcome = await grid.deliver([an_event()], late=heard.append)

    assert outcome.status == 204
    assert heard == []


async def test_leaving_ends_what_is_unanswered() -> None:
    """Nobody hears of a request that outlived its stand-in."""
    hanging, heard = HangsOnce(hangs_at=1), list[Any]()
    async with serving(hanging) as endpoint:
        async with endpoint.grid(answer_seconds=WITHIN_S) as grid:
            outcome = await grid.deliver([an_event()], late=heard.append)
        hanging.let_go.set()

    assert outcome.verdict.outcome == "TimedOut"
    assert heard == []


async def test_dead_letters_lie_in_a_folder_as_in_a_container(tmp_path: Path) -> None:
    """The name of a blob is a path below the folder."""
    clock = ManualClock(auto=True)
    async with serving(answer(status=400)) as endpoint, endpoint.grid() as grid:
        dispatcher = Dispatcher(
            grid, clock=clock, container=DirectoryContainer(tmp_path)
        )
        dispatcher.publish([an_event()])
        await dispatcher.run()

    (blob,) = await asyncio.to_thread(lambda: list(tmp_path.rglob("*.json")))
    (letter,) = json.loads(await asyncio.to_thread(blob.read_bytes))
    assert blob.parent == tmp_path / "RECORDINGS/2026/3/1/12"
    assert letter["id"] == "event-0"


async def test_real_time_may_be_paced() -> None:
    """For those who watch: an hour in an instant, in its order."""
    clock = PacedClock(1e7)
    began = clock.now()

    await clock.sleep(3600)

    assert clock.now() - began >= timedelta(minutes=59)
