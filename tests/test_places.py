"""What is added has its place: in the layers, in the locks, in the contract suites."""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from tests import documents, sbom

PYPROJECT: dict[str, Any] = tomllib.loads(
    (documents.ROOT / "pyproject.toml").read_text()
)
PROJECT: dict[str, Any] = PYPROJECT["project"]
FOR_THE_BUILD = {"hatchling", "editables"}
"""Locked with what runs, as the package is built from it."""
CONTRACTS = {"worker/archives": "writer", "worker/queues": "lease"}
"""What an adapter of the port can do, and nothing beside it."""


def test_every_module_of_the_worker_is_in_the_layers() -> None:
    """One that isn't may import whatever it likes."""
    contract = PYPROJECT["tool"]["importlinter"]["contracts"][0]
    lines = chain.from_iterable(re.split(r"[|:]", each) for each in contract["layers"])
    listed = {name.strip() for name in lines}
    there = set(modules_to_be_listed(listed))

    assert there - listed == set()


def modules_to_be_listed(listed: Iterable[str]) -> Iterator[str]:
    """Those right below `worker`; of a package that is listed by its parts, the parts."""
    split = {name.rpartition(".")[0] for name in listed} - {"worker", ""}
    for path in (documents.ROOT / "worker").iterdir():
        name = f"worker.{path.stem}"
        if name in split:
            yield from (f"{name}.{each.stem}" for each in parts_of(path.stem))
        elif path.suffix == ".py" or any(path.glob("*.py")):
            yield name if path.stem != "__init__" else "worker.__main__"


def parts_of(package: str) -> Iterator[Any]:
    for path in (documents.ROOT / "worker" / package).glob("*.py"):
        if path.stem != "__init__":
            yield path


def test_every_dependency_is_in_its_file_of_requirements() -> None:
    """`make lock` reads those, and people read pyproject.toml."""
    groups = PYPROJECT["dependency-groups"]

    assert asked_for("deploy/requirements.in") == (
        names_of(PROJECT["dependencies"]) | FOR_THE_BUILD
    )
    assert asked_for("tests/requirements.in") == names_of(groups["test"]) | names_of(
        groups["lint"]
    )


def test_every_dependency_is_locked() -> None:
    """With hashes, or pip would not take it."""
    for folder in ("deploy", "tests"):
        lock = (documents.ROOT / folder / "requirements.txt").read_text()
        locked = sbom.locked(lock)

        assert asked_for(f"{folder}/requirements.in") - locked.keys() == set()
        pinned = re.findall(
            r"^[A-Za-z].*(?:\\\n    --hash=sha256:\w{64} ?)+", lock, re.MULTILINE
        )
        assert len(pinned) == len(locked)


def test_every_extra_has_a_lock_of_its_own() -> None:
    """An image with extras takes nothing but what is locked, either."""
    for extra, asked in PROJECT["optional-dependencies"].items():
        lock = documents.ROOT / f"deploy/requirements-{extra}.txt"

        assert asked_for(f"deploy/requirements-{extra}.in") == names_of(asked)
        assert names_of(asked) - sbom.locked(lock.read_text()).keys() == set()


def asked_for(file: str) -> set[str]:
    lines = (documents.ROOT / file).read_text().splitlines()
    return names_of(each for each in lines if each and not each.startswith(("#", "-")))


def names_of(requirements: Iterable[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", each) for each in requirements)
    return {sbom.normalised(each[0]) for each in found if each}


def test_every_dependency_has_its_reason() -> None:
    """A decision that names it, or a place among those that were there from the start."""
    texts = [path.read_text() for path in documents.DOCUMENTS if "adr" in path.parts]
    texts.append(
        (documents.ROOT / "CONTRIBUTING.md").read_text().partition("from the")[2]
    )
    extras = chain.from_iterable(PROJECT["optional-dependencies"].values())
    told = sbom.normalised(" ".join(texts))
    unsaid = {
        name
        for name in names_of(chain(PROJECT["dependencies"], extras))
        if not re.search(rf"(?<![a-z-]){name}(?![a-z])", told)
    }

    assert unsaid == set()


def test_every_adapter_is_held_to_its_contract() -> None:
    """Its class is used by the suites that all of its kind pass."""
    suites = "".join(
        path.read_text() for path in (documents.ROOT / "tests/contract").glob("*.py")
    )
    suites += (documents.ROOT / "tests/blobs.py").read_text()
    found = set(adapters())

    assert len(found) >= 4
    assert {name for name in found if name not in suites} == set()


def adapters() -> Iterator[str]:
    """Classes that do what only an adapter of that port does."""
    for folder, ability in CONTRACTS.items():
        for path in (documents.ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and ability in methods(node):
                    yield node.name


def methods(node: ast.ClassDef) -> set[str]:
    return {each.name for each in node.body if isinstance(each, ast.AsyncFunctionDef)}
