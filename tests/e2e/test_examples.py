"""The example at the end of each `--help` does what it says, on a world made of the samples.

Commands are found by walking the real command line, so that none is forgotten. An example runs
as it is and ends with 0, unless NEEDS says what it needs: names that stand for others, a state
to begin with, another end. Who adds a verb adds a line there, if its example needs one.
"""

import secrets
import shlex
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
import typer

from samples import events_dir
from samples.control.service import ControlStandIn
from tests.azurite import Azurite
from tests.e2e import events, worker_process
from tests.e2e.stores import AzuriteStores, FolderStores, Stores
from tests.e2e.worker_process import Ended
from tests.e2e.world import WatchfulStandIn, World
from worker.cli.root import app

PROGRAM = "recording-worker"
MARK = "Example: "
ROOT = PROGRAM
HOME = ("demo/02-six-chunks.event-grid.json",)
"""What is brought home before any example runs; its start is what is waited for longest."""
DEAD = "hostile/foreign-host.event-grid.json"
"""What ends dead."""
LONG_AGO = datetime(2026, 2, 3, tzinfo=UTC)
FOREIGN = b"https://files.example"
"""Where no chunk may lie: no one is asked, and it is dead at once."""

Preparation = Callable[[World], AbstractAsyncContextManager[Mapping[str, str]]]


@asynccontextmanager
async def nothing(_world: World) -> AsyncIterator[Mapping[str, str]]:
    """As it is."""
    yield {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an example needs to run here."""

    prepared: Preparation = nothing
    """Makes what it acts on; yields what words of the example stand for here."""
    codes: frozenset[int] = frozenset({0})
    """How it may end; 3 where attention is what is to be seen."""
    is_ready: str | None = None
    """The log event that says it runs; it is then ended by SIGTERM."""
    is_bare: bool = False
    """It runs with no settings, in a folder of its own."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Beside those of the world."""


def brought_home(word: str) -> Preparation:
    """A recording of its own, of one chunk, that is home; `word` stands for its documentId.

    Its recordingId is the same, its call `call-` and that: for verbs that change a recording.
    """

    @asynccontextmanager
    async def prepared(world: World) -> AsyncIterator[Mapping[str, str]]:
        document = f"0-eus-d1-{secrets.token_hex(6)}"
        body, _ = events.fresh_chunk(world.acs, document)
        await bring_home(world, document, body)
        yield {word: document}

    return prepared


def a_dead_chunk(word: str) -> Preparation:
    """A chunk of its own that is dead; `word` stands for its documentId."""

    @asynccontextmanager
    async def prepared(world: World) -> AsyncIterator[Mapping[str, str]]:
        document = f"0-eus-d1-{secrets.token_hex(6)}"
        body = events.announcement(world.acs, document, started_at=LONG_AGO)
        body = body.replace(f"http://{world.acs.global_host}".encode(), FOREIGN)
        await bring_home(world, document, body, code=3)
        yield {word: document}

    return prepared


def a_held_recording(word: str) -> Preparation:
    """The same under legal hold; Azurite itself knows none."""

    @asynccontextmanager
    async def prepared(world: World) -> AsyncIterator[Mapping[str, str]]:
        async with brought_home(word)(world) as names:
            held = await world.run(
                *("recordings", "hold", names[word], "--reason", "case 4711")
            )
            assert held.code in {0, 3}, held.err
            yield names

    return prepared


async def bring_home(world: World, name: str, *bodies: bytes, code: int = 0) -> None:
    """Replay these deliveries to their end."""
    saved = world.folder / f"saved-{name}"
    saved.mkdir()
    for number, body in enumerate(bodies):
        (saved / f"{number:02}.json").write_bytes(body)
    ended = await world.run("replay", str(saved))
    assert ended.code == code, ended.err


@asynccontextmanager
async def a_summary(world: World) -> AsyncIterator[Mapping[str, str]]:
    """Azure Monitor counts one recording, which is home."""
    document = f"0-eus-d1-{secrets.token_hex(6)}"
    body, _ = events.fresh_chunk(world.acs, document)
    await bring_home(world, document, body)
    rows = f"RecordingId,ChunkCount\n{document},1\n"
    (world.folder / "summary.csv").write_text(rows)
    yield {}


@asynccontextmanager
async def an_endpoint(world: World) -> AsyncIterator[Mapping[str, str]]:
    """A webhook of this world, asked from beside it."""
    async with world.running("webhook") as webhook:
        yield {"https://YOUR-HOST/api/events": await webhook.url()}
        assert await webhook.stop() == 0


@asynccontextmanager
async def resumed_afterwards(world: World) -> AsyncIterator[Mapping[str, str]]:
    """Others have chunks to bring home."""
    yield {}
    ended = await world.run("resume")
    assert ended.code == 0, ended.err


@asynccontextmanager
async def settings_in_a_file(world: World) -> AsyncIterator[Mapping[str, str]]:
    """As the environment has them."""
    lines = (f"{name}={value}\n" for name, value in world.environment.items())
    (world.folder / "worker.env").write_text("".join(lines))
    yield {}


CONTROL: dict[str, str] = {}
"""The settings that lead to the stand-in for the control API, while one runs."""
RECORDING = "eyJQbGF0Zm9ybSI6IjEifQ=="


def a_control(*words: str) -> Preparation:
    """The control API of ACS, with a call, a recording of it, and a room; `words` stand for
    the room."""

    @asynccontextmanager
    async def prepared(_world: World) -> AsyncIterator[Mapping[str, str]]:
        async with ControlStandIn() as control:
            control.calls.add("c1", "8:acs:a")
            recording = control.recordings.start({"callConnectionId": "c1"})
            control.recordings.going_on[RECORDING] = recording
            room = control.rooms.create({"participants": {"8:acs:a": {}}})
            CONTROL["AZURE_COMMUNICATION_CONNECTION_STRING"] = control.connection_string
            yield dict.fromkeys(words, room.id)

    return prepared


def media_of(word: str, part: str) -> Preparation:
    """What ACS has of a chunk that is home; `word` stands for where that is."""

    @asynccontextmanager
    async def prepared(world: World) -> AsyncIterator[Mapping[str, str]]:
        async with brought_home("document")(world) as found:
            document = found["document"]
            world.acs.put(document, content=b"media", metadata=b"{}")
            yield {word: getattr(world.acs.locations(document), part)}

    return prepared


AT_CONTROL = Need(prepared=a_control(), settings=CONTROL)
IN_ROOM = Need(prepared=a_control("99001"), settings=CONTROL)
NEEDS: dict[str, Need] = {
    ROOT: Need(codes=frozenset({3})),
    "status": Need(codes=frozenset({3})),
    "consume": Need(codes=frozenset({3})),
    "serve": Need(prepared=settings_in_a_file, is_ready="worker.started"),
    "webhook": Need(is_ready="worker.started"),
    "replay": Need(is_bare=True),
    "doctor": Need(prepared=an_endpoint),
    "pause": Need(prepared=resumed_afterwards),
    "queue show": Need(prepared=a_dead_chunk("0-eus-d1-a1b2c3")),
    "queue rebuild": Need(codes=frozenset({0, 1})),
    "queue release": Need(codes=frozenset({0, 1})),
    "recordings audit": Need(prepared=brought_home("0-eus-d1-a1b2c3")),
    "recordings reconcile": Need(prepared=a_summary),
    "recordings show": Need(prepared=brought_home("0-eus-d1-a1b2c3")),
    "acs recording start": IN_ROOM,
    "acs recording state": AT_CONTROL,
    "acs recording stop": AT_CONTROL,
    "acs recording pause": AT_CONTROL,
    "acs recording resume": AT_CONTROL,
    "acs recording download": Need(prepared=media_of("CONTENT-LOCATION", "content")),
    "acs recording delete": Need(prepared=media_of("DELETE-LOCATION", "delete")),
    "acs room create": AT_CONTROL,
    "acs room get": IN_ROOM,
    "acs room update": IN_ROOM,
    "acs room list": AT_CONTROL,
    "acs room delete": IN_ROOM,
    "acs room participants list": IN_ROOM,
    "acs room participants add": IN_ROOM,
    "acs room participants remove": IN_ROOM,
    "acs call transfer": AT_CONTROL,
    "recordings export": Need(prepared=brought_home("0-eus-d1-a1b2c3")),
    "recordings hold": Need(
        prepared=brought_home("0-eus-d1-a1b2c3"), codes=frozenset({0, 3})
    ),
    "recordings erase": Need(prepared=brought_home("0-eus-d1-a1b2c3")),
    "recordings unhold": Need(
        prepared=a_held_recording("0-eus-d1-a1b2c3"), codes=frozenset({0, 3})
    ),
}
"""By command. Take one of the preparations, or write one that makes what the example acts on:
examples run in any order, and one that changes something must not change it for another."""


@dataclass(frozen=True, slots=True)
class Example:
    """One line of a `--help`."""

    command: str
    line: str

    @property
    def need(self) -> Need:
        return NEEDS.get(self.command, Need())

    def arguments(self, stand_for: Mapping[str, str]) -> list[str]:
        """What follows the program's name, with what its words stand for."""
        unused = [word for word in stand_for if word not in self.line]
        assert unused == [], f"not in the example of {self.command!r}: {self.line}"
        line = self.line
        for word, here in stand_for.items():
            line = line.replace(word, shlex.quote(here))
        program, *arguments = shlex.split(line)
        assert program == PROGRAM
        return arguments


def commands(
    command: object = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, object]]:
    """Every verb by name, and the root."""
    command = command or typer.main.get_command(app)
    below = getattr(command, "commands", {})
    if not path or not below:
        yield " ".join(path) or ROOT, command
    for name, each in below.items():
        yield from commands(each, (*path, name))


def examples() -> Iterator[Example]:
    """Every example of every `--help`."""
    for name, command in commands():
        for line in (getattr(command, "epilog", None) or "").split(MARK)[1:]:
            yield Example(name, " ".join(line.split()))


EXAMPLES = list(examples())


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["embedded", "azure"]
)
async def stores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stores]:
    """One archive and queue for all examples."""
    if request.param == "embedded":
        yield FolderStores(folder=tmp_path_factory.mktemp("world"))
        return
    azurite: Azurite = request.getfixturevalue("module_account")
    async with AzuriteStores(azurite) as stores:
        yield stores


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """What an operator finds: recordings that are home, and a chunk that is dead."""
    folder = (
        stores.folder
        if isinstance(stores, FolderStores)
        else tmp_path_factory.mktemp("world")
    )
    (folder / "samples").symlink_to(events_dir().parent)
    async with WatchfulStandIn(stores) as acs:
        acs.serve_samples()
        world = World(folder=folder, acs=acs, stores=stores)
        await fill(world)
        yield world


async def fill(world: World) -> None:
    files = [file for name in (*HOME, DEAD) for file in _files(events.sample(name))]
    bodies = [world.acs.address(file.read_bytes()) for file in files]
    # 3: one is dead.
    await bring_home(world, "first", *bodies, code=3)


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.json")) if path.is_dir() else [path]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "example",
    [each for each in EXAMPLES if not each.need.is_bare],
    ids=lambda each: each.command,
)
async def test_example_runs(world: World, example: Example) -> None:
    """As its reader would type it, in a process of its own."""
    ended = await _run(world, example)

    _check(example, ended)


@pytest.mark.parametrize(
    "example",
    [each for each in EXAMPLES if each.need.is_bare],
    ids=lambda each: each.command,
)
async def test_example_runs_with_nothing_set(example: Example, tmp_path: Path) -> None:
    """On a machine where nothing is yet."""
    (tmp_path / "samples").symlink_to(events_dir().parent)

    ended = await worker_process.run(
        *example.arguments({}), environment={}, folder=tmp_path
    )

    _check(example, ended)


def _check(example: Example, ended: Ended) -> None:
    need = example.need
    assert ended.code in need.codes, f"{example.line}\n{ended.out}\n{ended.err}"
    assert "Traceback" not in ended.err
    if ended.code in {0, 3}:
        assert ended.errors == []


async def _run(world: World, example: Example) -> Ended:
    need = example.need
    async with need.prepared(world) as stand_for:
        arguments = example.arguments(stand_for)
        there = replace(world, settings={**world.settings, **need.settings})
        if need.is_ready:
            return await _run_until_ready(there, arguments, need.is_ready)
        return await there.run(*arguments)


async def _run_until_ready(world: World, arguments: list[str], event: str) -> Ended:
    """Start it, see it work, end it as an orchestrator does."""
    async with world.running(*arguments) as worker:
        await worker.wait_for(event)
        code = await worker.stop()
    return Ended(code=code, out=worker.out, err=worker.err)


def test_every_command_has_an_example() -> None:
    """A group shows those of its verbs."""
    with_one = {each.command for each in EXAMPLES}

    assert {name for name, _ in commands()} - with_one == set()


def test_example_is_one_of_its_command() -> None:
    """Not copied from another."""
    other = [
        each
        for each in EXAMPLES
        if each.command != ROOT and f" {each.command}" not in each.line
    ]

    assert other == []


def test_needs_are_those_of_commands() -> None:
    """A verb that is gone needs nothing."""
    assert NEEDS.keys() <= {each.command for each in EXAMPLES}
