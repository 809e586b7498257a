"""Puts a worker under load by a process of its own, and counts what was acknowledged and lost."""

import asyncio
import json
import sqlite3
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import asdict

from tests.bench import events
from tests.bench.load import READY_LINE, Orders, Outcome
from tests.bench.processes import BenchError, Worker, running

Sent = tuple[Orders, Outcome]
LOOK_SECONDS = 0.1
MOST_SORTING_SECONDS = 900


async def sent(orders: Orders) -> Outcome:
    """What comes of the orders; BenchError if that is nothing at all."""
    async with _loading(orders) as load:
        said, _ = await load.communicate()
    outcome = _judged(said)
    if not outcome.measured:
        raise BenchError("nothing was acknowledged")
    return outcome


async def killed_under(worker: Worker, orders: Orders) -> Outcome:
    """What comes of the orders if the worker is killed -9 while it has its hands full."""
    async with _loading(orders) as load:
        if load.stdout is None:
            raise BenchError("the load has no output")
        if await load.stdout.readline() != READY_LINE.encode():
            raise BenchError("the load broke off")
        await worker.killed()
        said = await load.stdout.read()
    return _judged(said)


@asynccontextmanager
async def _loading(orders: Orders) -> AsyncIterator[Process]:
    module = [sys.executable, "-m", "tests.bench.load"]
    async with running(module, reads=json.dumps(asdict(orders))) as load:
        yield load


def _judged(said: bytes) -> Outcome:
    told = said.removeprefix(READY_LINE.encode())
    if not told:
        raise BenchError("the load broke off")
    return Outcome(**json.loads(told))


async def sorted_after(worker: Worker) -> float:
    """How many seconds it takes until nothing is deferred any more."""
    began = time.monotonic()
    with closing(sqlite3.connect(worker.queue_file)) as db:
        while db.execute("SELECT 1 FROM deferred LIMIT 1").fetchone():
            if time.monotonic() - began > MOST_SORTING_SECONDS:
                raise BenchError("what was deferred is never sorted")
            await asyncio.sleep(LOOK_SECONDS)
    return time.monotonic() - began


def lost(worker: Worker, sendings: Iterable[Sent]) -> int:
    """How many chunks were acknowledged and are not in the queue; the worker is gone."""
    with closing(sqlite3.connect(worker.queue_file)) as db:
        kept = {
            document for (document,) in db.execute("SELECT document_id FROM chunks")
        }
        for (body,) in db.execute("SELECT body FROM deferred"):
            kept |= events.documents(body)
    return sum(
        events.document("load", number) not in kept
        for orders, outcome in sendings
        for number in _acknowledged(orders, outcome)
    )


def _acknowledged(orders: Orders, outcome: Outcome) -> Iterator[int]:
    """The numbers of the events that were answered 200."""
    unheard = set(outcome.unheard)
    for delivery in range(outcome.sent):
        if delivery not in unheard:
            first = (orders.first + delivery) * orders.events
            yield from range(first, first + orders.events)
