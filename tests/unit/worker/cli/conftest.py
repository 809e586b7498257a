"""The command in-process, over a queue and an archive in memory."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

import worker
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import ManualClock
from tests.fakes.queue import MemoryQueue
from tests.isolation import isolated_logs
from worker.__main__ import main
from worker.settings import Settings


@dataclass(slots=True, kw_only=True)
class Composed:
    """What the composition root was asked for, and what it gives."""

    queue: MemoryQueue = field(default_factory=lambda: MemoryQueue(clock=ManualClock()))
    may_create: bool = False
    archive: MemoryArchive = field(default_factory=MemoryArchive)
    calls: list[tuple[str, Settings]] = field(default_factory=list)
    exit_code: int = 0
    error: Exception | None = None

    @asynccontextmanager
    async def open_queue(
        self,
        settings: Settings,
        *,
        create: bool,
        archive: MemoryArchive | None = None,
    ) -> AsyncIterator[MemoryQueue]:
        assert self.may_create or not create
        assert archive in {None, self.archive}
        self.calls.append(("queue", settings))
        yield self.queue

    @asynccontextmanager
    async def open_archive(
        self, settings: Settings, *, create: bool
    ) -> AsyncIterator[MemoryArchive]:
        assert not create
        self.calls.append(("archive", settings))
        yield self.archive

    @asynccontextmanager
    async def open_known_archive(
        self, settings: Settings
    ) -> AsyncIterator[MemoryArchive]:
        async with self.open_archive(settings, create=False) as archive:
            yield archive

    async def run_serve(self, settings: Settings) -> None:
        self.calls.append(("serve", settings))
        if self.error:
            raise self.error

    async def run_webhook(self, settings: Settings) -> None:
        self.calls.append(("webhook", settings))

    async def run_consume(self, settings: Settings, *, until_empty: bool) -> int:
        self.calls.append((f"consume until_empty={until_empty}", settings))
        return self.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Composed:
    """Stands in for the composition root, so that no disk and no socket is touched."""
    composed = Composed()
    parts = {
        "opening": ("open_queue", "open_archive", "open_known_archive"),
        "serving": ("run_serve", "run_webhook", "run_consume"),
    }
    for module_name, names in parts.items():
        module = ModuleType(f"worker.{module_name}")
        for name in names:
            setattr(module, name, getattr(composed, name))
        monkeypatch.setitem(sys.modules, f"worker.{module_name}", module)
        monkeypatch.setattr(worker, module_name, module, raising=False)
    return composed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory where a worker has run, with loopback settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/archive").mkdir(parents=True)
    (tmp_path / "data/queue.db").touch()
    monkeypatch.setenv("WORKER_SOURCE_HOSTS", "127.0.0.1:7700")
    monkeypatch.setenv(
        "AZURE_COMMUNICATION_CONNECTION_STRING",
        "endpoint=https://calls.communication.azure.com/;accesskey=aHVudGVyMg==",
    )
    return tmp_path


@pytest.fixture
def run(
    home: Path,  # noqa: ARG001 - the place it runs in
    composed: Composed,  # noqa: ARG001 - what it runs on
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run one command line."""

    def run_command(*arguments: str) -> Ended:
        code = main(arguments)
        captured = capsys.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)

    with isolated_logs():
        yield run_command
