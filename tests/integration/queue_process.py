"""What the tests of several processes run in each of them: `queue_process.py VERB PATH`.

Each says `ready` and waits for a line of input before it opens the queue. `put` prints
`ack DOCUMENT` behind each durable put, until it is killed. `lease` prints `leased ROW` for
each lease until nothing is due, but waits for a line of input behind the first. `open` does
no more than that.
"""

import asyncio
import itertools
import secrets
import sys
from pathlib import Path
from random import Random

from tests.factories import a_chunk, a_delivery
from worker.clock import SystemClock
from worker.queues.sqlite import SqliteQueue

WRITERS = 4


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def next_line() -> None:
    await asyncio.to_thread(sys.stdin.readline)


async def put(queue: SqliteQueue) -> None:
    async with asyncio.TaskGroup() as writers:
        for _ in range(WRITERS):
            writers.create_task(put_for_ever(queue))


async def put_for_ever(queue: SqliteQueue) -> None:
    for _ in itertools.count():
        document = secrets.token_hex(8)
        await queue.put(a_delivery(a_chunk(document_id=document)))
        say("ack", document)


async def lease(queue: SqliteQueue) -> None:
    (first,) = await queue.lease(1)
    say("leased", first.row)
    await next_line()
    while leases := await queue.lease(2):
        for leased in leases:
            say("leased", leased.row)


async def open_only(queue: SqliteQueue) -> None:
    await queue.ready()


async def main(verb: str, path: Path) -> None:
    say("ready")
    await next_line()
    queue = SqliteQueue(
        path,
        clock=SystemClock(),
        worker=verb,
        random=Random(1),  # noqa: S311 - jitter
    )
    async with queue:
        await {"put": put, "lease": lease, "open": open_only}[verb](queue)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
