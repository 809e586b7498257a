"""Commands over a recording in both kinds of store: (SQLite, directory), (Azurite, Azurite)."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.azurite import Azurite
from tests.conftest import UniqueName
from tests.isolation import isolated_logs
from worker.__main__ import main
from worker.opening import WholeQueue, open_archive, open_queue
from worker.ports import Archive
from worker.settings import Settings, inspect_process
from worker.settings_rules import Use

Work = Callable[[Archive, WholeQueue], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Settings in the environment that lead to one archive and one queue."""

    kind: str
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> Ended:
        """One command line, as somebody types it."""
        self.capsys.readouterr()
        with isolated_logs():
            code = main(arguments)
        captured = self.capsys.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)

    def work(self, work: Work) -> None:
        """Do what a worker would do there."""

        async def opened() -> None:
            settings = _settings()
            async with (
                open_archive(settings) as archive,
                open_queue(settings, create=True, archive=archive) as queue,
            ):
                await work(archive, queue)

        with capture_logs():
            asyncio.run(opened())

    def lead_to(self, blob_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the archive behind a proxy before Azurite."""
        container = os.environ["WORKER_ARCHIVE"].rpartition("/")[2]
        monkeypatch.setenv("WORKER_ARCHIVE", f"{blob_url}/{container}")

    def names(self) -> list[str]:
        """All that is in the archive."""
        found: list[str] = []

        async def look(archive: Archive, _: WholeQueue) -> None:
            found.extend([name async for name in archive.list("")])

        self.work(look)
        return found


def _settings() -> Settings:
    return inspect_process(None, use=Use.READ).require()


def place(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """`directory` or `azurite`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKER_SOURCE_HOSTS", "127.0.0.1:7700")
    if kind == "azurite":
        azurite: Azurite = request.getfixturevalue("azurite")
        unique_name: UniqueName = request.getfixturevalue("unique_name")
        name = unique_name("keeping")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
        monkeypatch.setenv("WORKER_ARCHIVE", azurite.container(name))
        monkeypatch.setenv("WORKER_QUEUE", azurite.queue(name))
    return Place(kind=kind, capsys=request.getfixturevalue("capsys"))
