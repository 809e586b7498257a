"""Events that lie: nothing unproven is deleted, and the true recording still comes home.

Whoever holds the key of the webhook can announce what they like; what that can't do is shown
here, what it can in deploy/adr/0012-what-the-key-can-do.md. Every world checks at each delete
that the archive has all of the document by then.
"""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from samples.acs import DEMO_CONNECTION_STRING
from tests import hostile
from tests.fakes.clock import START
from tests.fakes.queue import MemoryQueue
from tests.hostile import Json, World, event
from worker.model import ChunkState
from worker.stored import Manifest

RECORDING, LIE = "recording-true", "recording-false"
FIRST, SECOND = "0-eus-d1-first", "0-eus-d1-second"
VICTIM = "0-eus-d1-victim"
"""At the source, and never truly announced: what takes it away takes it unseen."""
LIAR = "0-eus-d1-liar"
"""At the source, with metadata that say it is the first chunk."""
NOWHERE = "0-eus-d1-nowhere"
FABRIKAM = DEMO_CONNECTION_STRING.replace("contoso", "fabrikam").replace("bm90", "aG90")
LONG_AGO = START - timedelta(days=300)
Lie = Callable[[World], Json]


@pytest.fixture
async def world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """One that holds the keys of two resources; all documents are of the first."""
    keys = f"{DEMO_CONNECTION_STRING} {FABRIKAM}"
    async with hostile.lied_to(
        tmp_path, monkeypatch, AZURE_COMMUNICATION_CONNECTION_STRING=keys
    ) as world:
        have_all(world)
        yield world


def have_all(world: World) -> None:
    for document in (FIRST, VICTIM):
        world.have(document)
    world.have(SECOND, index=1)
    world.have(LIAR, says=FIRST)


def truth(world: World) -> Json:
    """A recording of two chunks."""
    first = world.chunk(FIRST, 0, endReason="ChunkMaximumTimeExceeded")
    return event(first, world.chunk(SECOND, 1), recording=RECORDING)


def both(world: World) -> tuple[Json, Json]:
    """Its chunks as they truly are."""
    return world.chunk(FIRST, 0), world.chunk(SECOND, 1)


LIES: dict[str, Lie] = {
    "content of one, delete of another": lambda world: event(
        world.chunk(FIRST, deleteLocation=world.acs.locations(VICTIM).delete),
        recording=LIE,
    ),
    "the same within the recording": lambda world: event(
        world.chunk(FIRST, deleteLocation=world.acs.locations(VICTIM).delete),
        recording=RECORDING,
    ),
    "an id with the locations of another": lambda world: event(
        world.chunk(VICTIM) | {"documentId": FIRST}, recording=RECORDING
    ),
    "another id with the locations of one": lambda world: event(
        world.chunk(FIRST) | {"documentId": VICTIM}, recording=RECORDING
    ),
    "content of another": lambda world: event(
        world.chunk(VICTIM, contentLocation=world.acs.locations(FIRST).content),
        recording=LIE,
    ),
    "metadata of another": lambda world: event(
        world.chunk(VICTIM, metadataLocation=world.acs.locations(FIRST).metadata),
        recording=LIE,
    ),
    "metadata that say another": lambda world: event(
        world.chunk(LIAR), recording=RECORDING
    ),
    "metadata in the place of the content": lambda world: event(
        world.chunk(VICTIM, contentLocation=world.acs.locations(VICTIM).metadata),
        recording=LIE,
        recordingFormatType=None,
    ),
    "the content in another view": lambda world: event(
        world.chunk(
            VICTIM, contentLocation=world.acs.locations(VICTIM).content + "?t=1"
        ),
        world.chunk(FIRST, contentLocation=world.acs.locations(FIRST).content + "?t=1"),
        recording=LIE,
    ),
    "the metadata in another view": lambda world: event(
        world.chunk(
            VICTIM, metadataLocation=world.acs.locations(VICTIM).metadata + "?t=1"
        ),
        recording=LIE,
    ),
    "a delete in another form": lambda world: event(
        world.chunk(VICTIM, deleteLocation=world.acs.locations(VICTIM).content),
        world.chunk(FIRST, deleteLocation=world.acs.locations(FIRST).delete + "?all=1"),
        recording=LIE,
    ),
    "no metadata": lambda world: event(
        world.chunk(VICTIM, metadataLocation=None),
        world.chunk(FIRST, metadataLocation=None),
        recording=RECORDING,
    ),
    "another recording": lambda world: event(*both(world), recording=LIE, call="evil"),
    "another call": lambda world: event(*both(world), recording=RECORDING, call="evil"),
    "another day": lambda world: event(
        *both(world), recording=RECORDING, started_at=LONG_AGO
    ),
    "a time long ago": lambda world: event(
        *both(world), recording=RECORDING, started_at=LONG_AGO, at=LONG_AGO
    ),
    "a resource whose key we lack": lambda world: event(
        *both(world), recording=RECORDING, resource="evil"
    ),
    "a resource with another key": lambda world: event(
        *both(world), recording=RECORDING, resource="fabrikam"
    ),
    "another format": lambda world: event(
        *both(world), recording=RECORDING, recordingFormatType="Wav"
    ),
    "another index": lambda world: event(world.chunk(FIRST, 7), recording=RECORDING),
    "changed places": lambda world: event(
        world.chunk(FIRST, 1), world.chunk(SECOND, 0), recording=RECORDING
    ),
    "an early end": lambda world: event(world.chunk(FIRST, 0), recording=RECORDING),
    "an end that never comes": lambda world: event(
        world.chunk(NOWHERE, 5), recording=RECORDING
    ),
    "a sibling in the user's own storage": lambda world: event(
        world.chunk(
            SECOND,
            contentLocation=f"https://a.blob.core.windows.net/v1/objects/{SECOND}/c",
        ),
        world.chunk(FIRST, 0),
        recording=RECORDING,
        storageType="AzureBlob",
    ),
    "a host off the list": lambda world: event(
        world.chunk(
            FIRST,
            contentLocation=f"https://evil.example/v1/objects/{FIRST}/content/video",
        ),
        recording=RECORDING,
    ),
}


async def assert_true_recording_is_home(world: World) -> Manifest:
    """Both chunks are in the archive, whole, and where the true event says; its manifest."""
    assert world.is_home(FIRST)
    assert world.is_home(SECOND)
    *_, manifest = world.manifests(hostile.folder_of(RECORDING))
    assert {FIRST, SECOND} <= {chunk.document_id for chunk in manifest.chunks}
    return manifest


async def assert_nothing_is_taken(world: World) -> None:
    """In the end all is settled, and what nobody truly announced is still at the source."""
    await world.work_off(minutes=30 * 60)
    assert await world.open_entries() == []
    assert world.acs.deleted <= {FIRST, SECOND}


@pytest.mark.parametrize("kind", LIES)
async def test_lie_that_is_first_costs_the_true_recording_nothing(
    world: World, kind: str
) -> None:
    """Whatever the lie came to before the truth is told, the recording comes home."""
    await world.deliver(LIES[kind](world))
    await world.work_off(minutes=1)
    await world.deliver(truth(world))

    await world.work_off(minutes=30)

    assert world.is_home(FIRST)
    assert world.is_home(SECOND)
    await assert_nothing_is_taken(world)
    await assert_true_recording_is_home(world)


@pytest.mark.parametrize("kind", LIES)
async def test_lie_in_the_queue_does_not_swallow_the_truth(
    world: World, kind: str
) -> None:
    """What waits as a lie says is not in the way of what waits as it truly is."""
    await world.deliver(LIES[kind](world))
    await world.deliver(truth(world))

    await world.work_off(minutes=30)

    assert world.is_home(FIRST)
    assert world.is_home(SECOND)
    await assert_nothing_is_taken(world)
    await assert_true_recording_is_home(world)


async def test_all_lies_at_once_take_nothing(world: World) -> None:
    """Behind the truth in the queue."""
    await world.deliver(truth(world), *(lie(world) for lie in LIES.values()))

    await world.work_off(minutes=30)

    assert world.is_home(FIRST)
    assert world.is_home(SECOND)
    await assert_nothing_is_taken(world)
    await assert_true_recording_is_home(world)


async def test_lies_about_what_is_home_change_nothing_of_it(world: World) -> None:
    """A recording that is complete and deleted stays as it is, whatever is said of it."""
    await world.deliver(truth(world))
    await world.work_off(minutes=1)
    assert world.acs.deleted == {FIRST, SECOND}
    (complete,) = world.manifests(hostile.folder_of(RECORDING))
    before = {name: (world.archive / name).read_bytes() for name in world.files()}

    await world.deliver(*(lie(world) for lie in LIES.values()))
    await assert_nothing_is_taken(world)

    assert complete.complete
    assert (
        before.items()
        <= {name: (world.archive / name).read_bytes() for name in world.files()}.items()
    )
    await assert_true_recording_is_home(world)


async def test_lies_to_a_queue_that_lets_chunks_go_take_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where chunks leave a recording to their siblings, none leaves it to a lie."""
    clock = hostile.SteppedClock()
    queue = MemoryQueue(clock=clock, lease_seconds=3600, keeps_waiting=False)
    async with hostile.lied_to(
        tmp_path, monkeypatch, clock=clock, queue=queue
    ) as world:
        have_all(world)
        await world.deliver(*(lie(world) for lie in LIES.values()), truth(world))

        await world.work_off(minutes=30)

        assert world.is_home(FIRST)
        assert world.is_home(SECOND)
        await assert_nothing_is_taken(world)
        await assert_true_recording_is_home(world)


async def test_lie_alone_leaves_the_document_at_the_source(world: World) -> None:
    """What is announced with someone else's delete location is archived, flagged, and kept."""
    where = world.acs.locations(VICTIM)
    await world.deliver(
        event(world.chunk(FIRST, deleteLocation=where.delete), recording=LIE)
    )

    await world.work_off(minutes=30)

    (receipt,) = hostile.receipts_of(world.archive, FIRST)
    assert receipt.flags == ("delete-location-not-of-document",)
    assert [seen for seen in world.acs.requests if seen.method == "DELETE"] == []


@pytest.mark.parametrize(
    ("kind", "flag"),
    [
        ("metadata that say another", "metadata-names-another-document"),
        ("the content in another view", "content-of-unknown-form"),
        ("the metadata in another view", "metadata-of-unknown-form"),
        ("a delete in another form", "delete-location-of-unknown-form"),
    ],
)
async def test_what_is_flagged_says_why(world: World, kind: str, flag: str) -> None:
    """Whoever looks at the receipt sees what was odd, and that the source is kept."""
    await world.deliver(LIES[kind](world))

    await world.work_off(minutes=30)

    documents = (FIRST, VICTIM, LIAR)
    receipts = [
        receipt
        for document in documents
        for receipt in hostile.receipts_of(world.archive, document)
    ]
    assert receipts
    assert all(flag in receipt.flags for receipt in receipts)
    assert world.acs.deleted == set()


async def test_false_end_is_mended_by_the_truth(world: World) -> None:
    """Complete too early for a while: what is deleted by then is proven, and the rest comes."""
    await world.deliver(event(world.chunk(FIRST, 0), recording=RECORDING))
    await world.work_off(minutes=1)
    (early,) = world.manifests(hostile.folder_of(RECORDING))
    assert early.complete
    assert world.acs.deleted == {FIRST}

    await world.deliver(truth(world))
    await world.work_off(minutes=30)

    late = await assert_true_recording_is_home(world)
    assert late.complete
    assert world.acs.deleted == {FIRST, SECOND}


async def test_recording_that_a_lie_keeps_open_is_closed_as_incomplete(
    world: World,
) -> None:
    """It says what is missing; its sources expire by themselves, and nothing waits for ever."""
    await world.deliver(truth(world), LIES["an end that never comes"](world))

    await assert_nothing_is_taken(world)

    manifest = await assert_true_recording_is_home(world)
    assert not manifest.complete
    assert [gap.index for gap in manifest.missing] == [2, 5]
    (entry,) = await world.entries(NOWHERE)
    assert (entry.state, entry.reason) == (ChunkState.DEAD, "source-expired")
