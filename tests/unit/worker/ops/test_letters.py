"""Dead letters fed in again, each version of a blob once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START
from worker.errors import ArchiveUnavailableError, QueueUnavailableError
from worker.model import Letter
from worker.ops import letters
from worker.ops.letters import LetterReplay, LetterRow, Taken
from worker.stored import ReplayedBlob, decode

HOUR = timedelta(hours=1)


@dataclass
class Box:
    """A container in memory; a body of None is gone."""

    bodies: dict[str, bytes | None]
    etag: str = '"0x1"'
    container: str = "https://account.blob.core.windows.net/letters"

    async def written(
        self, *, since: datetime | None, until: datetime | None
    ) -> AsyncIterator[Letter]:
        for number, (name, body) in enumerate(self.bodies.items()):
            at = START + number * HOUR
            if (since is None or at >= since) and (until is None or at < until):
                yield Letter(
                    name=name,
                    etag=self.etag,
                    size_bytes=len(body or b""),
                    written_at=at,
                )

    async def read(self, letter: Letter) -> bytes | None:
        return self.bodies[letter.name]


@dataclass
class Endpoint:
    """Takes all but what says no; unavailable once it has taken so many."""

    to: str = "queue"
    took: list[str] = field(default_factory=list)
    until: int = 100

    async def take(self, name: str, body: bytes) -> Taken:
        if len(self.took) >= self.until:
            raise QueueUnavailableError("disk I/O error")
        self.took.append(name)
        is_taken = body != b"no"
        return Taken(
            is_taken=is_taken,
            status=200 if is_taken else 400,
            events=len(body),
            chunks=1,
            error=None if is_taken else "malformed",
        )


def a_box() -> Box:
    return Box({f"A/{n}.json": b"x" * (n + 1) for n in range(3)})


def a_replay(
    box: Box,
    taker: Endpoint,
    archive: MemoryArchive | None = None,
    *,
    again: bool = False,
) -> LetterReplay:
    return LetterReplay(
        letters=box, archive=archive, taker=taker, again=again, by="ann", now=START
    )


async def replayed(
    replay: LetterReplay,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    dry_run: bool = False,
) -> list[LetterRow]:
    rows = replay.run(since=since, until=until, dry_run=dry_run)
    return [row async for row in rows]


async def test_every_blob_is_fed_in_and_remembered() -> None:
    """Who, when, where to, and what it held; its name in the archive says nothing of it."""
    taker, archive = Endpoint(), MemoryArchive()

    rows = await replayed(a_replay(a_box(), taker, archive))

    assert [row.outcome for row in rows] == ["replayed"] * 3
    assert [(row.events, row.chunks, row.status) for row in rows][1] == (2, 1, 200)
    assert taker.took == ["A/0.json", "A/1.json", "A/2.json"]
    assert all(name.startswith("replayed/") for name in archive.objects)
    records = [decode(ReplayedBlob, data) for data in archive.objects.values()]
    assert [record.blob for record in records] == taker.took
    assert {(each.by, each.at, each.to) for each in records} == {
        ("ann", START, "queue")
    }


async def test_second_run_passes_by_what_was_taken() -> None:
    """But for a blob that was written anew."""
    taker, archive, box = Endpoint(), MemoryArchive(), a_box()
    await replayed(a_replay(box, taker, archive))

    rows = await replayed(a_replay(box, taker, archive))
    anew = await replayed(a_replay(replace(box, etag='"0x2"'), taker, archive))

    assert [row.outcome for row in rows] == ["known"] * 3
    assert [row.outcome for row in anew] == ["replayed"] * 3
    assert len(taker.took) == 6


async def test_again_means_what_was_taken_before_too() -> None:
    """The record of the first time stays."""
    taker, archive = Endpoint(), MemoryArchive()
    await replayed(a_replay(a_box(), taker, archive))

    rows = await replayed(a_replay(a_box(), taker, archive, again=True))

    assert [row.outcome for row in rows] == ["replayed"] * 3
    assert (len(taker.took), len(archive.objects)) == (6, 3)


async def test_only_those_of_the_time_are_meant() -> None:
    """Until is no more."""
    taker = Endpoint()

    rows = await replayed(
        a_replay(a_box(), taker), since=START + HOUR, until=START + 2 * HOUR
    )

    assert [row.blob for row in rows] == ["A/1.json"]
    assert await replayed(a_replay(a_box(), taker), since=START + 9 * HOUR) == []


async def test_dry_run_reads_and_remembers_nothing() -> None:
    """It tells which are known."""
    taker, archive, box = Endpoint(), MemoryArchive(), a_box()
    first = Box({"A/0.json": b"x"})
    await replayed(a_replay(first, taker, archive))
    box.bodies["A/1.json"] = None

    rows = await replayed(a_replay(box, taker, archive), dry_run=True)

    assert [row.outcome for row in rows] == ["known", "would-replay", "would-replay"]
    assert (len(taker.took), len(archive.objects)) == (1, 1)


async def test_what_is_refused_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor what is gone, or too large: the next run tells it again."""
    monkeypatch.setattr(letters, "MAX_BLOB_BYTES", 5)
    taker, archive = Endpoint(), MemoryArchive()
    box = Box({"no.json": b"no", "gone.json": None, "huge.json": b"6" * 6, "a": b"x"})

    for _ in range(2):
        rows = await replayed(a_replay(box, taker, archive))
        told = [row.outcome for row in rows]
        assert told[:3] == ["refused", "gone", "too-large"]
        assert [row.is_left for row in rows] == [True, True, True, False]
        assert (rows[0].status, rows[0].error) == (400, "malformed")
    assert len(archive.objects) == 1


async def test_run_that_was_cut_short_goes_on_where_it_was() -> None:
    """What was taken is remembered by then, one by one."""
    taker, archive, box = Endpoint(until=2), MemoryArchive(), a_box()
    with pytest.raises(QueueUnavailableError):
        await replayed(a_replay(box, taker, archive))
    taker.until = 100

    rows = await replayed(a_replay(box, taker, archive))

    assert [row.outcome for row in rows] == ["known", "known", "replayed"]


async def test_run_that_was_cut_before_it_remembered_feeds_in_twice() -> None:
    """That changes nothing: the queue knows it."""
    taker, archive, box = Endpoint(), MemoryArchive(), a_box()
    archive.fail_next(ArchiveUnavailableError("away"), on="create")
    with pytest.raises(ArchiveUnavailableError):
        await replayed(a_replay(box, taker, archive))

    rows = await replayed(a_replay(box, taker, archive))

    assert [row.outcome for row in rows] == ["replayed"] * 3
    assert taker.took[:2] == ["A/0.json", "A/0.json"]


async def test_without_an_archive_nothing_is_remembered() -> None:
    """As from a laptop that has none."""
    taker = Endpoint()

    for _ in range(2):
        rows = await replayed(a_replay(a_box(), taker))
        assert [row.outcome for row in rows] == ["replayed"] * 3
