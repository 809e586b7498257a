"""What the composition root decides for the whole process."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.conftest import UniqueName
from worker import opening
from worker.settings import Settings


@pytest.fixture(autouse=True)
def _usual_switch_interval() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(usual)


def settings_of(folder: Path) -> Settings:
    return Settings.model_validate({"WORKER_QUEUE": f"sqlite:{folder / 'queue.db'}"})


async def test_busy_loop_cannot_starve_the_queue(tmp_path: Path) -> None:
    """Threads may ask for the interpreter sooner than a busy loop turns."""
    async with opening.open_queue(settings_of(tmp_path), create=True):
        assert sys.getswitchinterval() < 0.000_1


async def test_shorter_switch_interval_is_kept(tmp_path: Path) -> None:
    """Whoever wants threads to change even sooner has it so."""
    sys.setswitchinterval(1e-6)

    async with opening.open_queue(settings_of(tmp_path), create=True):
        assert sys.getswitchinterval() == pytest.approx(1e-6)


async def test_storage_queue_is_there_before_the_directory_of_its_archive(
    tmp_path: Path, own_account: Azurite, unique_name: UniqueName
) -> None:
    """Who asks it before a worker has begun is told what it holds."""
    settings = Settings.model_validate(
        {
            "WORKER_ARCHIVE": f"file:{tmp_path / 'archive'}",
            "WORKER_QUEUE": own_account.queue(unique_name("early")),
            "AZURE_STORAGE_CONNECTION_STRING": own_account.connection_string,
        }
    )

    async with opening.open_queue(settings, create=True):
        pass
    shutil.rmtree(settings.archive_directory)

    async with opening.open_queue(settings, create=False) as queue:
        assert await queue.round_trip()
