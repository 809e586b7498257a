"""The version is said in one place, and whatever repeats it agrees."""

import re
import tomllib
from collections.abc import Iterator

from tests import documents
from worker import __version__

_TAG = re.compile(r"recording-worker:(?:v?)(\d[\w.-]*)")
_LABEL = re.compile(
    r"(?:image\.version|app\.kubernetes\.io/version)[\"']?\s*[:=]\s*[\"']?(\d[\w.-]*)"
)


def test_project_has_the_version_of_the_package() -> None:
    """pyproject.toml reads it, and has none of its own."""
    read = tomllib.loads((documents.ROOT / "pyproject.toml").read_text())

    assert "version" not in read["project"]
    assert read["tool"]["hatch"]["version"] == {"path": "worker/__init__.py"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_changelog_begins_with_this_version() -> None:
    """Below what is not released yet."""
    text = (documents.ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d\S+) - \d{4}-\d\d-\d\d$", text, re.MULTILINE)

    assert released[:1] == [__version__]


def test_images_and_labels_in_deploy_bear_this_version() -> None:
    """Whoever deploys by these files gets what these files are for."""
    said = set(versions_in_deploy())

    assert said
    assert {each for each in said if each[1] != __version__} == set()


def versions_in_deploy() -> Iterator[tuple[str, str]]:
    """File and version, of each tag and label."""
    for path in sorted((documents.ROOT / "deploy").rglob("*")):
        if path.is_file() and path.suffix != ".txt":
            text = path.read_text()
            for version in _TAG.findall(text) + _LABEL.findall(text):
                yield documents.named(path), version
