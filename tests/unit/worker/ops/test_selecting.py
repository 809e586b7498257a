"""Which entries are meant."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.factories import a_chunk, a_delivery, an_announcement
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from worker.model import ChunkState
from worker.ops.selecting import Selection

HOUR = timedelta(hours=1)


async def chosen(selection: Selection) -> set[str]:
    """Of three: `dead` of an expiry, `held` by a worker, `soon` to expire, in other calls."""
    clock = ManualClock()
    queue = MemoryQueue(clock=clock, worker="w1")
    await put(queue, "dead", hours=20)
    (lease,) = await queue.lease(1)
    await queue.dead_letter(lease, reason="source-expired", error="404")
    await put(queue, "held", hours=10)
    await queue.lease(1)
    clock.advance(HOUR.total_seconds())
    await put(queue, "soon", hours=2, at=clock)
    return {e.chunk.document_id async for e in queue.scan() if selection.takes(e)}


async def put(
    queue: MemoryQueue, name: str, *, hours: float, at: ManualClock | None = None
) -> None:
    now = at.now() if at else START
    chunk = a_chunk(
        document_id=name,
        announcement=an_announcement(call_id=f"call-{name}"),
        received_at=now,
        expires_at=START + hours * HOUR,
    )
    await queue.put(a_delivery(chunk))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), {"dead", "held", "soon"}),
        (Selection(state=ChunkState.DEAD), {"dead"}),
        (Selection(reasons=("throttled", "source-expired")), {"dead"}),
        (Selection(reasons=("throttled",)), set()),
        (Selection(call="call-so"), {"soon"}),
        (Selection(worker="w1"), {"held"}),
        (Selection(worker="w"), set()),
        (Selection(received_before=START), {"dead", "held"}),
        (Selection(expires_before=START + 10 * HOUR), {"held", "soon"}),
        (Selection(call="call-", expires_before=START + 2 * HOUR), {"soon"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
async def test_all_that_is_said_must_be_so(
    selection: Selection, expected: set[str]
) -> None:
    """By state, reason, call, worker, age and time left."""
    assert await chosen(selection) == expected


@pytest.mark.parametrize(
    ("selection", "is_empty"),
    [
        (Selection(), True),
        (Selection(state=ChunkState.DEAD), True),
        (Selection(reasons=("x",)), False),
        (Selection(call="x"), False),
        (Selection(worker="x"), False),
        (Selection(received_before=START), False),
        (Selection(expires_before=START), False),
    ],
    ids=str,
)
def test_state_alone_chooses_nothing(selection: Selection, *, is_empty: bool) -> None:
    """What changes something must be told more than that, or that all are meant."""
    assert selection.is_empty is is_empty


async def test_what_is_home_has_no_time_left_to_tell() -> None:
    """It can't expire any more."""
    queue = MemoryQueue(clock=ManualClock())
    await queue.put(a_delivery(a_chunk(expires_at=START + HOUR)))
    (lease,) = await queue.lease(1)
    await queue.complete(lease, ChunkState.DELETED, note="")
    (entry,) = await queue.list()

    assert not Selection(expires_before=START + 2 * HOUR).takes(entry)


async def test_call_may_be_a_server_call() -> None:
    """People hold either."""
    queue = MemoryQueue(clock=ManualClock())
    announcement = replace(an_announcement(), server_call_id="aHR0cHM6")
    await queue.put(a_delivery(a_chunk(announcement=announcement)))
    (entry,) = await queue.list()

    assert Selection(call="aHR0").takes(entry)
    assert not Selection(call="bHR0").takes(entry)
