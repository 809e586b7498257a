"""The image's own steps, in a clean folder: what they make runs as the image would run it."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from samples.acs import StandIn
from tests import dockerfile
from tests.dockerfile import Building, Stage
from tests.e2e import events, worker_process

ROOT = Path(__file__).parents[2]
FOLDERS = ("/opt/recording-worker", "/src", "/data")
LIMIT_SECONDS = 280
"""It installs all that runs from the lock: one process does, and not each."""
pytestmark = [pytest.mark.timeout(LIMIT_SECONDS), pytest.mark.xdist_group("image")]


def stages() -> list[Stage]:
    return dockerfile.parse((ROOT / "deploy/Dockerfile").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def image() -> Iterator[Building]:
    """The build stage, run; then nothing but the volume may be written to."""
    # Not one of pytest's folders: each start of pytest shuts these to all other users.
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        root = Path(folder).resolve()
        root.chmod(0o755)
        building = Building(
            context=ROOT, root=root, folders=FOLDERS, python=sys.executable
        )
        building.run(stages()[0])
        yield building


@pytest.fixture(scope="module")
def as_user(image: Building) -> list[str]:
    """What gives up root, where the test has it: the tree is root's, and no one else may
    write. Nothing where the image's user can't get to the tree or to this Python, as below
    a home that is root's alone: then what is written there is seen all the same.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return []
    user, group = stages()[-1].last("USER").split(":")
    words = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    python = image.here("/opt/recording-worker/bin/python")
    ended = subprocess.run([*words, python, "-c", ""], cwd="/", check=False)  # noqa: S603
    if ended.returncode != 0:
        return []
    os.chown(image.root / "data", int(user), int(group))
    return words


@pytest.fixture
async def acs() -> AsyncIterator[StandIn]:
    async with StandIn() as stand_in:
        stand_in.serve_samples()
        yield stand_in


def test_both_stages_have_one_base_of_one_version() -> None:
    """What is compiled in the one runs in the other."""
    bases = {stage.base.removesuffix(" AS build") for stage in stages()}

    (base,) = bases
    assert base.partition(":")[2].startswith("3.11.")


def test_image_has_no_volume_that_nobody_named() -> None:
    """`docker run --rm` would remove it, with the recordings in it."""
    assert "VOLUME" not in {name for name, _ in stages()[-1].steps}


def test_user_is_a_number_and_not_root() -> None:
    """Kubernetes' runAsNonRoot can tell from a number alone."""
    user = stages()[-1].last("USER")

    assert all(int(each) > 0 for each in user.split(":"))


def test_every_extra_has_a_lock_that_agrees_with_the_other() -> None:
    """`--build-arg EXTRAS=…` installs it over what runs, and changes none of that."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    runs = _pins("requirements.txt")

    for extra in project["project"]["optional-dependencies"]:
        more = _pins(f"requirements-{extra}.txt")
        assert more.keys() - runs.keys()
        assert {name: runs.get(name, pin) for name, pin in more.items()} == more


def _pins(lock: str) -> dict[str, str]:
    text = (ROOT / "deploy" / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*])?==(\S+)", text, re.MULTILINE))


def test_what_builds_the_package_is_gone(image: Building) -> None:
    """No tool of a build is left: neither pip nor a backend."""
    (packages,) = image.root.glob("opt/recording-worker/lib/python3*/site-packages")
    left = {path.name for path in packages.iterdir()}

    assert {"worker", "handlers", "samples", "aiohttp"} <= left
    assert left.isdisjoint({"pip", "setuptools", "hatchling", "editables", "wheel"})


async def test_image_serves_probes_itself_and_drains(
    image: Building, as_user: list[str], acs: StandIn
) -> None:
    """As its user, writing to the volume alone: a chunk comes home, SIGTERM ends it well."""
    final = stages()[-1]
    environment = _environment(image, acs)
    data = image.root / "data"
    body = acs.address(events.DEMO[1].read_bytes())
    entry = [image.here(word) for word in final.command("ENTRYPOINT")]
    check = [image.here(word) for word in final.command("HEALTHCHECK")]
    before = _state(image.root)

    async with worker_process.running(
        *final.command("CMD"),
        environment=environment,
        folder=data,
        command=[*as_user, *entry],
    ) as worker:
        url = await worker.url()
        probe = await worker_process.run(
            environment={**environment, "WORKER_LISTEN": url.split("/")[2]},
            folder=data,
            command=[*as_user, *check],
        )
        posted = await events.post(url, body, x_functions_key="a-long-secret")
        await worker.wait_until(lambda: len(acs.deleted) == 6)
        ready = await events.get(url.replace("/api/events", "/readyz"))
        code = await worker.stop()

    assert (probe.code, posted, ready, code) == (0, 200, 200, 0), probe.err
    assert len(list(data.glob("archive/receipts/*/*.source-deleted.json"))) == 6
    assert _state(image.root) == before


def _environment(image: Building, acs: StandIn) -> dict[str, str]:
    """The image's own, and what its user sets."""
    own = stages()[-1].environment()
    path = image.here(own.pop("PATH"))
    return {
        **{name: image.here(value) for name, value in own.items()},
        "PATH": path.replace("$PATH", os.environ["PATH"]),
        "WORKER_LISTEN": "0.0.0.0:0",
        "WORKER_ADMIN_LISTEN": "127.0.0.1:0",
        "WORKER_WEBHOOK_KEYS": "a-long-secret",
        "WORKER_ARCHIVE": f"file:{image.root}/data/archive",
        "WORKER_QUEUE": f"sqlite:{image.root}/data/queue.db",
        "WORKER_ARCHIVE_RESERVE_MIB": "1",
        "WORKER_SOURCE_HOSTS": f"{acs.global_host},{acs.regional_host}",
        "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
    }


def _state(root: Path) -> dict[str, float]:
    """What is there beside the volume, and since when."""
    return {
        str(path): path.lstat().st_mtime
        for path in (root / "opt").rglob("*")
        if path.is_file()
    }
