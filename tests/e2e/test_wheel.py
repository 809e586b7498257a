"""The wheel: whole, and enough by itself."""

import sys
import zipfile
from pathlib import Path

from samples import events_dir, media_dir
from tests.e2e import worker_process
from tests.e2e.worker_process import Ended

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable,)
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
DEMO_EVENT = "samples/events/one-chunk.event-grid.json"


async def python(*arguments: str, folder: Path, **environment: str) -> Ended:
    ended = await worker_process.run(
        *arguments, environment=environment, folder=folder, command=PYTHON
    )
    assert ended.code == 0, ended.err
    return ended


async def test_installed_wheel_replays_the_samples(tmp_path: Path) -> None:
    """Code, samples and command are in it, tests are not; it runs from another folder."""
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    build = ("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    await python(*build, folder=ROOT)
    wheel, names = _built(tmp_path)
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-compile")
    await python(
        *install, "--target", str(target), str(wheel), folder=elsewhere, **OFFLINE
    )
    (command,) = target.glob("*.dist-info/entry_points.txt")

    assert names >= _below(events_dir()) | _below(media_dir())
    assert names >= _below(ROOT / "worker") | _below(ROOT / "handlers")
    assert {name.split("/")[0] for name in names} == {
        "worker",
        "handlers",
        "samples",
        command.parent.name,
    }
    assert "recording-worker = worker.__main__:command" in command.read_text()

    # Before the checkout on the path, or the test would run that.
    path = {"PYTHONPATH": str(target)}
    where = "import worker, samples; print(worker.__file__, samples.__file__)"
    imported = await python("-c", where, folder=elsewhere, **path)
    event = str(target / DEMO_EVENT)
    replay = ("-m", "worker", "replay", event, "--simulate")
    replayed = await python(*replay, folder=elsewhere, **path)

    assert imported.out.count(str(target)) == 2
    assert "deleted" in replayed.out
    assert len(list(elsewhere.glob("data/archive/receipts/*/*"))) == 2


def _built(folder: Path) -> tuple[Path, set[str]]:
    """The one wheel in there, and the files in it."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return wheel, set(archive.namelist())


def _below(folder: Path) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
