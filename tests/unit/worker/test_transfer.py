"""Objects arrive whole, in blocks, whatever happens on the way."""

import asyncio
import hashlib
from random import Random

import pytest

from samples.faults import Fault
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import ManualClock
from tests.fakes.source import ScriptedSource
from worker.errors import (
    ArchiveUnavailableError,
    HostNotAllowedError,
    RetryableError,
    SourceAnswerError,
    SourceChangedError,
    SourceForbiddenError,
    SourceNotFoundError,
    ThrottledError,
    TruncatedError,
    WorkerError,
)
from worker.limits import MemoryBudget
from worker.model import BlockDigest
from worker.retry import DOWNLOAD
from worker.transfer import Fetched, TransferLimits, TransferStats, fetch

KIB = 1024
BLOCK = 64 * KIB
LOCATION = "https://us-storage.asm.skype.com/v1/objects/doc/content/video"
RANDOM = Random(7)  # noqa: S311 - test data
FIVE_RANGES = RANDOM.randbytes(4 * BLOCK + 100)
NAME = "content.mp4"

# One fault in the second request, which is the first for a part of its own.
FAULTS_OF_A_PART = [
    Fault.status(408),
    Fault.status(429, retry_after=3),
    Fault.status(500),
    Fault.status(503),
    Fault.status(503, retry_after=3),
    Fault.status(403),
    Fault.status(404),
    Fault.html_400(),
    Fault.cut_after(0),
    Fault.cut_after(1),
    Fault.cut_after(20 * KIB),
    Fault.empty(),
    Fault.short_body(),
    Fault.wrong_range(),
    Fault.wrong_total(),
    Fault.changed_last_modified(),
    Fault.ignore_ranges(),
    Fault.no_length(),
    Fault.slow(1),
]
# The same in the first, which opens the object; what it says of the object is believed.
FAULTS_OF_THE_OPENING = [
    Fault.status(429, retry_after=3),
    Fault.status(503),
    Fault.html_400(),
    Fault.cut_after(0),
    Fault.cut_after(20 * KIB),
    Fault.empty(),
    Fault.wrong_range(),
    Fault.ignore_ranges(),
    Fault.no_length(),
]


class Bench:
    """A source, an archive and what a transfer between them shares."""

    def __init__(self, *, blocks_of_memory: int = 8) -> None:
        self.clock = ManualClock(auto=True)
        self.source = ScriptedSource(clock=self.clock)
        self.archive = MemoryArchive(clock=self.clock, block_bytes=BLOCK)
        self.memory = MemoryBudget(blocks_of_memory * BLOCK)
        self.stats = TransferStats()
        self.source.put(LOCATION, FIVE_RANGES)

    async def fetch(
        self,
        *,
        name: str = NAME,
        ranges: int = 4,
        range_bytes: int = BLOCK,
        location: str = LOCATION,
    ) -> Fetched:
        """Bring the object and commit it."""
        async with self.archive.writer(name) as writer:
            fetched = await fetch(
                self.source,
                writer,
                location,
                resource=None,
                limits=TransferLimits(range_bytes=range_bytes, max_ranges=ranges),
                memory=self.memory,
                clock=self.clock,
                stats=self.stats,
            )
            await writer.commit(size=fetched.size_bytes)
        return fetched

    def asked(self) -> list[tuple[int, int]]:
        """The ranges asked for, in order."""
        return [(asked.offset, asked.length) for asked in self.source.requests]


def digests(data: bytes) -> tuple[BlockDigest, ...]:
    """What every block of the data hashes to."""
    blocks = ((at, data[at : at + BLOCK]) for at in range(0, len(data), BLOCK))
    return tuple(
        BlockDigest(offset=at, length=len(b), sha256=hashlib.sha256(b).hexdigest())
        for at, b in blocks
    )


@pytest.mark.parametrize("ranges", [1, 2, 4, 99])
@pytest.mark.parametrize(
    "size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 4 * BLOCK + 100]
)
async def test_transfer_brings_every_byte_once(size: int, ranges: int) -> None:
    """Any size arrives whole over any number of ranges, each asked for once."""
    bench = Bench(blocks_of_memory=100)
    data = FIVE_RANGES[:size]
    bench.source.put(LOCATION, data)

    fetched = await bench.fetch(ranges=ranges)

    assert bench.archive.objects[NAME] == data
    assert fetched.blocks == digests(data)
    assert (fetched.size_bytes, fetched.size_announced) == (size, True)
    assert sorted(offset for offset, _ in bench.asked()) == list(range(0, size, BLOCK))
    assert bench.stats.bytes == size
    assert bench.stats.ranges == len(bench.asked())
    assert (bench.stats.retries, bench.memory.in_use) == (0, 0)


async def test_transfer_cuts_long_ranges_into_blocks() -> None:
    """A range of several blocks is written block by block."""
    bench = Bench()

    fetched = await bench.fetch(range_bytes=2 * BLOCK)

    assert fetched.blocks == digests(FIVE_RANGES)
    assert [offset for offset, _ in sorted(bench.asked())] == [0, 2 * BLOCK, 4 * BLOCK]


@pytest.mark.parametrize("fault", FAULTS_OF_A_PART, ids=str)
async def test_transfer_survives_a_fault_of_a_part(fault: Fault) -> None:
    """With this fault once in a range, the same bytes arrive."""
    bench = Bench()
    bench.source.plan(LOCATION, Fault.slow(0), fault)

    fetched = await bench.fetch()

    assert bench.archive.objects[NAME] == FIVE_RANGES
    assert fetched.blocks == digests(FIVE_RANGES)
    assert bench.stats.bytes == len(FIVE_RANGES)
    assert bench.memory.in_use == 0


@pytest.mark.parametrize("fault", FAULTS_OF_THE_OPENING, ids=str)
async def test_transfer_survives_a_fault_of_the_opening(fault: Fault) -> None:
    """With this fault once in the first answer, the same bytes arrive."""
    bench = Bench()
    bench.source.plan(LOCATION, fault)

    fetched = await bench.fetch()

    assert bench.archive.objects[NAME] == FIVE_RANGES
    assert fetched.blocks == digests(FIVE_RANGES)
    assert bench.stats.bytes == len(FIVE_RANGES)
    assert fetched.size_announced is (fault != Fault.no_length())


async def test_transfer_goes_on_where_a_range_was_cut() -> None:
    """A range that is cut twice is asked for from where it stopped, each time."""
    bench = Bench()
    bench.source.put(LOCATION, FIVE_RANGES[: 3 * BLOCK])
    cut = Fault.cut_after(10 * KIB)
    bench.source.plan(LOCATION, cut, cut)

    fetched = await bench.fetch(ranges=1, range_bytes=3 * BLOCK)

    assert fetched.blocks == digests(FIVE_RANGES[: 3 * BLOCK])
    whole = 3 * BLOCK
    asked = [(at, whole - at) for at in (0, 10 * KIB, 20 * KIB)]
    assert bench.asked() == asked
    assert bench.stats.retries == 2


async def test_transfer_writes_no_block_twice_when_a_range_is_cut() -> None:
    """Blocks that were handed over before the cut are not sent again."""
    bench = Bench()
    bench.source.plan(LOCATION, Fault.cut_after(BLOCK + 5))

    await bench.fetch(ranges=1, range_bytes=5 * BLOCK)

    writes = [name for operation, name in bench.archive.calls if operation == "write"]
    assert len(writes) == 5
    assert bench.asked()[1][0] == BLOCK + 5


async def test_transfer_gives_up_on_a_range_that_always_fails() -> None:
    """The error of the range comes out itself, and the other ranges stop."""
    bench = Bench()
    bench.source.plan(LOCATION, Fault.slow(0), Fault.status(403).always())

    with pytest.raises(SourceForbiddenError):
        await bench.fetch()

    assert bench.memory.in_use == 0
    assert NAME not in bench.archive.objects


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.status(404), SourceNotFoundError),
        (Fault.cut_after(10), TruncatedError),
        (Fault.empty(), SourceAnswerError),
        (Fault.status(429), ThrottledError),
    ],
    ids=str,
)
async def test_transfer_gives_up_on_a_source_that_always_fails(
    fault: Fault, kind: type[WorkerError]
) -> None:
    """A source that never answers well ends the transfer with its own kind of error."""
    bench = Bench()
    bench.source.plan(LOCATION, fault.always())

    with pytest.raises(kind):
        await bench.fetch()

    assert bench.memory.in_use == 0


async def test_transfer_does_not_retry_what_is_permanent() -> None:
    """A location off the allow-list is asked for once and not at all."""
    bench = Bench()

    with pytest.raises(HostNotAllowedError):
        await bench.fetch(location="https://evil.example.com/v1/objects/doc")

    assert bench.source.requests == []
    assert bench.stats.retries == 0


async def test_transfer_stops_when_a_hop_leads_off_the_list() -> None:
    """A range that is sent elsewhere ends the whole transfer at once."""
    bench = Bench()
    elsewhere = Fault.redirect_to("https://evil.example.com/")
    bench.source.plan(LOCATION, Fault.slow(0), elsewhere)

    with pytest.raises(HostNotAllowedError):
        await bench.fetch()

    assert bench.stats.retries == 0


async def test_transfer_notices_an_object_that_changed_for_good() -> None:
    """Parts that disagree with the first answer to the end are not mixed with it."""
    bench = Bench()
    bench.source.plan(LOCATION, Fault.changed_last_modified())

    with pytest.raises(SourceChangedError):
        await bench.fetch()


async def test_transfer_starts_a_cut_stream_again() -> None:
    """A source without ranges is read from its start again, and progress goes back."""
    bench = Bench()
    moves: list[int] = []
    bench.stats.on_bytes = moves.append
    bench.stats.moved(5)  # of another object that shares these stats
    bench.source.plan(LOCATION, Fault.ignore_ranges().always())
    bench.source.fail_bodies(after=BLOCK + 9, times=2)

    fetched = await bench.fetch()

    assert bench.archive.objects[NAME] == FIVE_RANGES
    assert fetched.blocks == digests(FIVE_RANGES)
    assert moves.count(-BLOCK - 9) == 2
    assert sum(moves) == bench.stats.bytes == len(FIVE_RANGES) + 5
    assert (bench.stats.retries, bench.stats.ranges) == (2, 1)


async def test_transfer_tells_how_far_the_object_is() -> None:
    """Progress is of the object in hand, and the totals are of all of them."""
    bench = Bench()
    seen: list[tuple[int, int | None]] = []
    stats = bench.stats
    stats.on_bytes = lambda _: seen.append((stats.object_bytes, stats.object_size))

    await bench.fetch(name="one.mp4")
    await bench.fetch(name="two.mp4")

    size = len(FIVE_RANGES)
    assert seen[-1] == (size, size)
    assert seen.count((size, size)) == 2
    assert stats.bytes == 2 * size


async def test_transfer_of_a_stream_is_bounded() -> None:
    """A stream that is cut each time is given up after the policy's attempts."""
    bench = Bench()
    bench.source.plan(LOCATION, Fault.ignore_ranges().always())
    bench.source.fail_bodies(after=100, times=99)

    with pytest.raises(TruncatedError):
        await bench.fetch()

    assert len(bench.source.requests) == 5


async def test_transfer_of_an_empty_stream_is_refused() -> None:
    """Zero bytes are never an object, even if the source means them."""
    bench = Bench()
    bench.source.plan(LOCATION, Fault.no_length().always())
    bench.source.send_nothing = True

    with pytest.raises(SourceAnswerError):
        await bench.fetch()


async def test_transfer_does_not_trust_a_range_that_ends_in_silence() -> None:
    """A body that stops early without an error is cut all the same."""
    bench = Bench()
    bench.source.send_nothing = True

    with pytest.raises(TruncatedError):
        await bench.fetch()


async def test_transfer_retries_a_block_that_the_archive_refused() -> None:
    """A block that could not be written is kept and written again, not fetched again."""
    bench = Bench()
    bench.archive.fail_next(ArchiveUnavailableError("busy"), on="write", times=2)

    fetched = await bench.fetch(range_bytes=5 * BLOCK, ranges=1)

    assert fetched.blocks == digests(FIVE_RANGES)
    assert bench.stats.bytes == len(FIVE_RANGES)


async def test_transfer_counts_what_it_took_when_the_archive_refuses() -> None:
    """A piece that was taken in part counts in part: the retry asks for the rest alone."""
    bench = Bench()
    # Cut there, the pieces that follow lie across the ends of the blocks.
    cut = Fault.cut_after(1000)
    bench.source.plan(LOCATION, cut)
    bench.archive.fail_next(ArchiveUnavailableError("busy"), on="write")

    fetched = await bench.fetch(range_bytes=5 * BLOCK, ranges=1)

    assert bench.archive.objects[NAME] == FIVE_RANGES
    assert fetched.blocks == digests(FIVE_RANGES)
    assert fetched.size_bytes == bench.stats.bytes == len(FIVE_RANGES)
    assert [offset for offset, _ in bench.asked()] == [0, 1000, BLOCK]


async def test_transfer_retries_the_last_block_too() -> None:
    """When only the write at the end of a range failed, nothing is asked for again."""
    bench = Bench()
    bench.source.put(LOCATION, FIVE_RANGES[:BLOCK])
    bench.archive.fail_next(ArchiveUnavailableError("busy"), on="write")

    fetched = await bench.fetch()

    assert fetched.blocks == digests(FIVE_RANGES[:BLOCK])
    assert bench.asked() == [(0, BLOCK)]


async def test_transfer_waits_as_long_as_the_source_asks() -> None:
    """Retry-After of a part is waited out by the clock that was given."""
    bench = Bench()
    bench.source.plan(LOCATION, Fault.slow(0), Fault.status(429, retry_after=9))

    await bench.fetch()

    assert max(bench.clock.sleeps) >= 9


async def test_transfer_uses_as_many_ranges_as_it_may() -> None:
    """The ranges run side by side, never more than allowed."""
    bench = Bench(blocks_of_memory=100)

    await bench.fetch(ranges=3)

    assert bench.source.most_at_once == 3


async def test_transfer_stays_within_the_memory_budget() -> None:
    """With memory for two blocks, no more than two ranges run, and all of it arrives."""
    bench = Bench(blocks_of_memory=2)

    await bench.fetch(ranges=8)

    assert bench.source.most_at_once == 2
    assert bench.archive.objects[NAME] == FIVE_RANGES


@pytest.mark.parametrize("blocks", [1, 2, 3, 5])
async def test_transfers_share_scarce_memory(blocks: int) -> None:
    """Transfers that compete for a few blocks of memory all come to their end."""
    bench = Bench(blocks_of_memory=blocks)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(bench.fetch(name=f"{number}.mp4", ranges=4))

    assert set(bench.archive.objects.values()) == {FIVE_RANGES}
    assert len(bench.archive.objects) == 4
    assert bench.memory.in_use == 0


async def test_transfer_lets_go_of_memory_that_others_wait_for() -> None:
    """A worker between two ranges makes room for whoever waits, and comes back."""
    bench = Bench(blocks_of_memory=2)
    granted = asyncio.Event()

    async def wait_for_room() -> None:
        async with bench.memory.hold(BLOCK):
            granted.set()
            assert bench.stats.ranges <= 2

    async with asyncio.TaskGroup() as group:
        transfer = group.create_task(bench.fetch(ranges=2))
        while bench.source.most_at_once != 2:  # noqa: ASYNC110 - the fake has no event
            await asyncio.sleep(0)
        group.create_task(wait_for_room())

    assert granted.is_set()
    assert transfer.result().blocks == digests(FIVE_RANGES)


async def test_transfer_is_cancelled_at_any_await() -> None:
    """Cancelled after any number of turns, a transfer leaves no memory taken."""
    for turns in range(15):
        bench = Bench()
        task = asyncio.create_task(bench.fetch())
        for _ in range(turns):
            await asyncio.sleep(0)

        task.cancel()
        await asyncio.wait([task])

        assert task.cancelled()
        assert bench.memory.in_use == 0


async def test_transfer_refuses_ranges_that_split_blocks() -> None:
    """A range must be whole blocks, else two workers would share one."""
    bench = Bench()

    with pytest.raises(ValueError, match="multiple"):
        await bench.fetch(range_bytes=BLOCK + 1)

    assert bench.source.requests == []


async def test_transfer_refuses_a_block_beyond_the_budget() -> None:
    """A block that the budget can never grant is refused before any request."""
    bench = Bench()
    bench.memory = MemoryBudget(BLOCK - 1)

    with pytest.raises(ValueError, match="exceeds"):
        await bench.fetch()

    assert bench.source.requests == []


@pytest.mark.parametrize(("range_bytes", "max_ranges"), [(0, 1), (1, 0)])
def test_limits_need_a_range(range_bytes: int, max_ranges: int) -> None:
    """Limits without room for anything are a mistake."""
    with pytest.raises(ValueError, match="at least one"):
        TransferLimits(range_bytes=range_bytes, max_ranges=max_ranges)


async def test_transfer_lets_a_bug_come_out_itself() -> None:
    """An error that nobody mapped is not wrapped in a group either."""
    bench = Bench()
    bench.source.plan(LOCATION, Fault.slow(0), ZeroDivisionError("bug"))

    with pytest.raises(ZeroDivisionError):
        await bench.fetch()


async def test_transfer_reports_retries_to_its_stats() -> None:
    """Every retry counts once, whichever range it was for."""
    bench = Bench()
    bench.source.plan(LOCATION, RetryableError("a"), RetryableError("b"))

    await bench.fetch()

    assert bench.stats.retries == 2


async def cut_short(bench: Bench, *, after: int) -> None:
    """A transfer that brings `after` ranges and is given up, its blocks uncommitted."""
    refused = [Fault.status(403)] * DOWNLOAD.attempts
    bench.source.plan(LOCATION, *[Fault.slow(0)] * after, *refused)
    with pytest.raises(SourceForbiddenError):
        await bench.fetch(ranges=1)
    bench.source.requests.clear()
    bench.stats = TransferStats()


@pytest.mark.parametrize("ranges", [1, 4])
async def test_transfer_goes_on_where_an_earlier_one_ended(ranges: int) -> None:
    """Ranges whose blocks are in the archive already are not fetched again."""
    bench = Bench()
    await cut_short(bench, after=3)

    fetched = await bench.fetch(ranges=ranges)

    assert bench.archive.objects[NAME] == FIVE_RANGES
    assert fetched.blocks == digests(FIVE_RANGES)
    assert fetched.size_bytes == len(FIVE_RANGES)
    # Opening asks for the first range, before it is known what is there.
    assert [offset for offset, _ in bench.asked()] == [0, 3 * BLOCK, 4 * BLOCK]
    assert bench.stats.bytes == BLOCK + 100
    assert bench.stats.object_bytes == len(FIVE_RANGES)
    assert bench.memory.in_use == 0


async def test_transfer_of_what_is_all_there_fetches_nothing() -> None:
    """A worker that ended just before its commit leaves nothing to be fetched."""
    bench = Bench()
    bench.archive.fail_next(ArchiveUnavailableError("gone"), on="commit")
    with pytest.raises(ArchiveUnavailableError):
        await bench.fetch()
    bench.stats = TransferStats()
    seen: list[int] = []
    bench.stats.on_bytes = seen.append

    fetched = await bench.fetch()

    assert fetched.blocks == digests(FIVE_RANGES)
    assert (bench.stats.bytes, seen) == (0, [len(FIVE_RANGES)])


async def test_transfer_fetches_ranges_again_that_are_not_whole() -> None:
    """Of a range of several blocks, all must be there."""
    bench = Bench()
    await cut_short(bench, after=3)

    fetched = await bench.fetch(range_bytes=2 * BLOCK)

    assert fetched.blocks == digests(FIVE_RANGES)
    assert bench.asked()[1:] == [(2 * BLOCK, 2 * BLOCK), (4 * BLOCK, 100)]


async def test_transfer_takes_over_nothing_of_an_object_that_changed() -> None:
    """Blocks of what lay there before are not mixed with what lies there now."""
    bench = Bench()
    await cut_short(bench, after=3)
    changed = bytes(reversed(FIVE_RANGES))
    bench.clock.advance(1)
    bench.source = ScriptedSource(clock=bench.clock)
    bench.source.put(LOCATION, changed)

    fetched = await bench.fetch()

    assert bench.archive.objects[NAME] == changed
    assert fetched.blocks == digests(changed)
    assert bench.stats.bytes == len(changed)


async def test_transfer_of_one_block_asks_for_nothing_held() -> None:
    """A small object costs no question."""
    bench = Bench()
    bench.source.put(LOCATION, FIVE_RANGES[:BLOCK])

    await bench.fetch()

    assert "held" not in [operation for operation, _ in bench.archive.calls]
