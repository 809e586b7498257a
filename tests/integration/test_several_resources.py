"""Several ACS resources in one worker: the trouble of one is none of the others'.

As it is wired, with a stand-in for each resource, and time that runs a hundred times faster.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from samples.acs import StandIn
from samples.acsmetadata import metadata_of
from tests import media
from tests.factories import a_chunk, a_delivery, an_announcement
from tests.fakes.clock import HurriedClock
from tests.identity import IdentityEndpoint, IssuedTokens
from worker import app, opening
from worker.attempt import NoObserver
from worker.errors import SourceForbiddenError
from worker.model import Chunk, ChunkState
from worker.opening import WholeQueue
from worker.settings import Settings
from worker.settings_rules import Use
from worker.sources import tokens

PATIENCE_S = 20
STREAK = SourceForbiddenError.streak
MORE_THAN_A_STREAK = STREAK + 2


def connection_string(resource: str, key: bytes = b"the key of a stand-in") -> str:
    accesskey = base64.b64encode(key).decode()
    return f"endpoint=https://{resource}.communication.azure.com;accesskey={accesskey}"


CONTOSO, FABRIKAM = connection_string("contoso"), connection_string("fabrikam")
WRONG_CONTOSO = connection_string("contoso", b"rotated since")
KEY_AND_TOKEN = {
    "AZURE_COMMUNICATION_CONNECTION_STRING": CONTOSO,
    "AZURE_COMMUNICATION_ENDPOINT": "https://fabrikam.communication.azure.com",
}


class Watching(NoObserver):
    """Knows which documents were tried and which came home; a test may wait for either."""

    def __init__(self) -> None:
        self.tried: set[str] = set()
        self.home: set[str] = set()
        self._more = asyncio.Event()

    def stage(self, chunk: Chunk, stage: str) -> None:
        if stage == "deleted":
            self.home.add(chunk.document_id)
            self._more.set()

    def explain(self, chunk: Chunk, note: str) -> None:  # noqa: ARG002 - any end of an attempt
        self.tried.add(chunk.document_id)
        self._more.set()

    async def wait_until_home(self, chunks: Collection[Chunk]) -> None:
        wanted = documents(chunks)
        await self._wait_until(lambda: wanted <= self.home)

    async def wait_until_tried(self, chunks: Collection[Chunk], *, count: int) -> None:
        wanted = documents(chunks)
        await self._wait_until(lambda: len(wanted & self.tried) >= count)

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._more.clear()
                await self._more.wait()


def documents(chunks: Collection[Chunk]) -> set[str]:
    return {chunk.document_id for chunk in chunks}


@dataclass(slots=True, kw_only=True)
class World:
    """Two resources with chunks to fetch, and the stores of one worker."""

    contoso: StandIn
    fabrikam: StandIn
    folder: Path
    queue: WholeQueue
    watching: Watching = field(default_factory=Watching)

    async def announce(
        self, acs: StandIn, resource: str, count: int, *, begin: int = 0
    ) -> list[Chunk]:
        chunks = []
        for number in range(begin, begin + count):
            name = f"{resource}-{number}"
            document_id = f"0-eus-d12-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
            content = media.mp4(media=Random(name).randbytes(2000))  # noqa: S311
            metadata = metadata_of(document_id, index=0, duration_ms=4000)
            acs.put(
                document_id,
                content=content,
                metadata=metadata.replace(
                    b"2026-02-03T09:15:27", b"2026-03-01T11:59:56"
                ),
            )
            chunk = a_chunk(
                document_id=document_id,
                host=f"http://{acs.global_host}",
                announcement=an_announcement(recording_id=name, resource=resource),
            )
            await self.queue.put(a_delivery(chunk))
            chunks.append(chunk)
        return chunks

    @asynccontextmanager
    async def working(self, **identities: str) -> AsyncIterator[None]:
        """A consumer at work, that has these credentials."""
        settings = self.settings(**identities)
        stopping = asyncio.Event()
        async with (
            opening.open_archive(settings) as archive,
            app.open_consumer(
                settings,
                queue=self.queue,
                archive=archive,
                nudge=asyncio.Event(),
                cut=asyncio.Event(),
                observer=self.watching,
            ) as consumer,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(consumer.run(stopping))
            try:
                yield
            finally:
                stopping.set()

    def settings(self, **identities: str) -> Settings:
        both = (self.contoso, self.fabrikam)
        hosts = [host for acs in both for host in (acs.global_host, acs.regional_host)]
        return Settings.load(
            {
                "WORKER_SOURCE_HOSTS": ",".join(hosts),
                "WORKER_ARCHIVE": f"file:{self.folder / 'archive'}",
                "WORKER_QUEUE": f"sqlite:{self.folder / 'queue.db'}",
                "WORKER_ARCHIVE_RESERVE_MIB": "0",
                "WORKER_INSTANCE": "test",
                **identities,
            },
            use=Use.CONSUME,
        )

    def answers(self) -> set[int]:
        """What both resources answered."""
        asked = (*self.contoso.requests, *self.fabrikam.requests)
        return {seen.status for seen in asked}

    async def states(self, chunks: Collection[Chunk]) -> set[ChunkState]:
        entries = [
            entry
            for chunk in chunks
            for entry in await self.queue.announced(chunk.recording)
        ]
        return {entry.state for entry in entries}


@pytest.fixture
async def world(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[World]:
    clock = HurriedClock()
    monkeypatch.setattr(app, "SystemClock", lambda: clock)
    monkeypatch.setattr(opening, "SystemClock", lambda: clock)
    # So long in the eyes of a worker in a hurry.
    monkeypatch.setattr(tokens, "RENEW_EVERY_SECONDS", 3600)
    settings = Settings.model_validate(
        {"WORKER_QUEUE": f"sqlite:{tmp_path / 'queue.db'}", "WORKER_INSTANCE": "test"}
    )
    async with (
        StandIn(connection_string=CONTOSO, now=clock.now) as contoso,
        StandIn(connection_string=FABRIKAM, now=clock.now) as fabrikam,
        opening.open_queue(settings, create=True) as queue,
    ):
        yield World(contoso=contoso, fabrikam=fabrikam, folder=tmp_path, queue=queue)


async def test_event_chooses_the_key_of_its_resource(world: World) -> None:
    """The topic says whose chunk it is; each stand-in takes its own key alone."""
    ours = await world.announce(world.contoso, "contoso", 2)
    theirs = await world.announce(world.fabrikam, "Fabrikam", 2)

    async with world.working(
        AZURE_COMMUNICATION_CONNECTION_STRING=f"{CONTOSO} {FABRIKAM}"
    ):
        await world.watching.wait_until_home([*ours, *theirs])

    assert 401 not in world.answers()


async def test_bad_key_pauses_its_own_resource_only(world: World) -> None:
    """The others' chunks come home meanwhile; with the right key so do its own."""
    late = await world.announce(world.contoso, "contoso", MORE_THAN_A_STREAK)
    ours = await world.announce(world.fabrikam, "fabrikam", 3)
    with capture_logs() as logs:
        async with world.working(
            AZURE_COMMUNICATION_CONNECTION_STRING=f"{WRONG_CONTOSO} {FABRIKAM}"
        ):
            await world.watching.wait_until_tried(late, count=STREAK)
            ours += await world.announce(world.fabrikam, "fabrikam", 3, begin=3)
            await world.watching.wait_until_home(ours)

    assert paused(logs) == {("credential:contoso", "source-forbidden")}
    assert await world.states(late) == {ChunkState.PENDING}
    assert world.watching.home == documents(ours)
    async with world.working(
        AZURE_COMMUNICATION_CONNECTION_STRING=f"{CONTOSO} {FABRIKAM}"
    ):
        await world.watching.wait_until_home(late)


async def test_key_and_token_serve_their_own_resources(
    world: World, identity: IdentityEndpoint
) -> None:
    """One resource has a key, the other knows the machine; neither gets what is the other's."""
    by_key = await world.announce(world.contoso, "contoso", 2)
    by_token = await world.announce(world.fabrikam, "fabrikam", 2)
    world.fabrikam.tokens = IssuedTokens(identity)

    async with world.working(**KEY_AND_TOKEN):
        await world.watching.wait_until_home([*by_key, *by_token])

    assert len(identity.issued) == 1
    assert 401 not in world.answers()
    assert None not in {seen.signed_at for seen in world.contoso.requests}
    assert {seen.signed_at for seen in world.fabrikam.requests} == {None}


async def test_token_trouble_pauses_its_own_resource_only(
    world: World, identity: IdentityEndpoint
) -> None:
    """Chunks with a key come home meanwhile; once the identity is back, so do the others."""
    late = await world.announce(world.fabrikam, "fabrikam", MORE_THAN_A_STREAK)
    ours = await world.announce(world.contoso, "contoso", 3)
    world.fabrikam.tokens = IssuedTokens(identity)
    identity.status = 400
    with capture_logs() as logs:
        async with world.working(**KEY_AND_TOKEN):
            await world.watching.wait_until_tried(late, count=STREAK)
            ours += await world.announce(world.contoso, "contoso", 3, begin=3)
            await world.watching.wait_until_home(ours)
            assert world.watching.home == documents(ours)
            assert world.fabrikam.requests == []
            identity.status = 200
            await world.watching.wait_until_home(late)

    assert paused(logs) == {("credential:fabrikam", "identity-refused")}
    resumed = [line["scope"] for line in logs if line["event"] == "consumer.resumed"]
    assert resumed == ["credential:fabrikam"]


async def test_token_that_acs_refuses_pauses_its_own_resource_only(
    world: World, identity: IdentityEndpoint
) -> None:
    """An identity without a role at the resource is asked for one more token, not for many."""
    late = await world.announce(world.fabrikam, "fabrikam", MORE_THAN_A_STREAK)
    ours = await world.announce(world.contoso, "contoso", 3)
    with capture_logs() as logs:
        async with world.working(**KEY_AND_TOKEN):
            await world.watching.wait_until_tried(late, count=STREAK)
            await world.watching.wait_until_home(ours)

    assert paused(logs) == {("credential:fabrikam", "source-forbidden")}
    assert len(identity.issued) == 2


def paused(logs: Sequence[Mapping[str, object]]) -> set[tuple[object, object]]:
    """What was paused, and why."""
    return {
        (line["scope"], line["reason"])
        for line in logs
        if line["event"] == "consumer.paused"
    }
