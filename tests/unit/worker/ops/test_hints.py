"""What helps against a reason."""

import re
from dataclasses import replace

import pytest
import typer

from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import START, ManualClock
from tests.fakes.queue import MemoryQueue
from tests.unit.worker.test_settlement import every_error
from worker.cli.root import app
from worker.errors import PermanentError, RetryableError
from worker.model import ChunkState, QueuedChunk
from worker.ops.hints import REASONS, REDRIVE, WATCH, hints_for
from worker.queues.storage.leasing import LOST

ATTEMPTED = {
    kind.reason
    for kind in every_error()
    if issubclass(kind, RetryableError | PermanentError)
}
NOT_OF_CHUNKS = {"queue-busy", "notice-refused", "event-grid"}


async def an_entry(reason: str | None, state: ChunkState) -> QueuedChunk:
    queue = MemoryQueue(clock=ManualClock())
    await queue.put(a_delivery(a_chunk()))
    (entry,) = await queue.list()
    settled_at = None if state is ChunkState.PENDING else START
    return replace(entry, reason=reason, state=state, settled_at=settled_at)


def test_every_reason_of_an_attempt_has_a_hint() -> None:
    """Whatever a chunk can be rescheduled or dead for."""
    assert REASONS.keys() >= ATTEMPTED - NOT_OF_CHUNKS
    assert {"stored-format", "newer-format", LOST} <= REASONS.keys()


@pytest.mark.parametrize("hint", sorted({*REASONS.values(), REDRIVE}))
def test_hint_is_a_command_that_there_is(hint: str) -> None:
    """Its verbs, and its options."""
    command = typer.main.get_command(app)
    program, *words = hint.split()
    assert program == "recording-worker"
    while words and hasattr(command, "commands"):
        word = words.pop(0)
        if word in command.commands:
            command = command.commands[word]
        else:
            assert word in {"-v", "--version"}
    offered = {name for each in command.params for name in each.opts}
    assert {word for word in words if word.startswith("-")} <= offered


async def test_dead_chunk_is_redriven_once_the_cause_is_mended() -> None:
    """First what was wrong, then the chunk itself, by an id of ours."""
    entry = await an_entry("no-credential", ChunkState.DEAD)

    assert hints_for(entry) == (
        "recording-worker config --for consume",
        f"recording-worker queue redrive {entry.row}",
    )


async def test_what_was_the_far_sides_is_just_tried_again() -> None:
    """There is nothing to mend here."""
    entry = await an_entry("throttled", ChunkState.DEAD)

    assert hints_for(entry) == (f"recording-worker queue redrive {entry.row}",)


async def test_what_is_gone_is_not_redriven() -> None:
    """It shows what of the recording is home."""
    entry = await an_entry("source-expired", ChunkState.DEAD)

    recording = entry.chunk.recording
    assert hints_for(entry) == (f"recording-worker recordings show {recording}",)


@pytest.mark.parametrize(
    ("reason", "state", "hints"),
    [
        (None, ChunkState.PENDING, ()),
        ("throttled", ChunkState.PENDING, (WATCH,)),
        ("what nobody knows", ChunkState.PENDING, (WATCH,)),
        ("throttled", ChunkState.DELETED, ()),
    ],
)
async def test_who_is_at_work_or_done_needs_little(
    reason: str | None, state: ChunkState, hints: tuple[str, ...]
) -> None:
    """A reason of a chunk at work heals mostly by itself; what is done has none."""
    assert hints_for(await an_entry(reason, state)) == hints


async def test_hint_says_nothing_of_what_an_event_says() -> None:
    """It is pasted into a shell."""
    for reason in REASONS:
        for hint in hints_for(await an_entry(reason, ChunkState.DEAD)):
            assert re.fullmatch(r"recording-worker [a-z0-9 -]+", hint)
