"""deploy/kubernetes with a component switched on: as we make it, and as kustomize does.

Ours goes as far as ours need it: what is added, what is deleted, what is merged.
`python -m tests.deploy.kustomize` (or: make kustomize) has kubectl make all of them, and compares.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
Named = dict[tuple[str, str], dict[str, Any]]


def read(*files: Path) -> Iterator[dict[str, Any]]:
    for each in files:
        yield from yaml.safe_load_all(each.read_text(encoding="utf-8"))


def switched_off(component: str) -> str:
    """How the base has a component that is not on."""
    return f"# components: [{component}]"


def components() -> list[str]:
    return sorted(path.parent.name for path in FOLDER.glob("*/kustomization.yaml"))


def applied(component: str | None) -> Named:
    """All objects, by kind and name; None: the base alone."""
    (base,) = read(FOLDER / "kustomization.yaml")
    objects = _by_name(read(*(FOLDER / each for each in base["resources"])))
    if component is None:
        return objects
    folder = FOLDER / component
    (said,) = read(folder / "kustomization.yaml")
    more = (folder / each for each in said.get("resources", []))
    objects |= _by_name(read(*more))
    for each in said.get("patches", []):
        _patch(objects, each)
    return objects


def _by_name(objects: Iterable[dict[str, Any]]) -> Named:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def _patch(objects: Named, said: dict[str, Any]) -> None:
    patch = yaml.safe_load(said["patch"])
    if isinstance(patch, list):
        _add(objects[said["target"]["kind"], said["target"]["name"]], patch)
        return
    key = (patch["kind"], patch["metadata"]["name"])
    assert patch["metadata"]["namespace"] == objects[key]["metadata"]["namespace"]
    assert patch["apiVersion"] == objects[key]["apiVersion"]
    if patch.get("$patch") == "delete":
        del objects[key]
    else:
        _merge(objects[key], patch)


def _add(into: dict[str, Any], patch: list[dict[str, Any]]) -> None:
    for each in patch:
        *path, last = each["path"].strip("/").split("/")
        assert (each["op"], last) == ("add", "-")
        found: Any = into
        for step in path:
            found = found[step]
        found.append(each["value"])


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    """Lists by the names in them."""
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(into[key], value)
        elif isinstance(value, list):
            known = {each["name"]: each for each in into[key]}
            for each in value:
                if each["name"] in known:
                    _merge(known[each["name"]], each)
                else:
                    into[key].append(each)
        else:
            into[key] = value


def differences(component: str | None, made: Named) -> list[str]:
    """Between ours and what kustomize made, which says images anew besides."""
    ours = applied(component)
    named = [f"{kind} {name}" for kind, name in made.keys() ^ ours.keys()]
    changed = [
        f"{key[0]} {key[1]}"
        for key in made.keys() & ours.keys()
        if _bare(made[key]) != _bare(ours[key])
    ]
    return sorted(named + changed)


def _bare(said: Any) -> Any:
    """Without images and the order of what has a name."""
    if isinstance(said, dict):
        return {key: _bare(each) for key, each in said.items() if key != "image"}
    if isinstance(said, list):
        bare = [_bare(each) for each in said]
        is_named = all(isinstance(each, dict) and "name" in each for each in bare)
        return sorted(bare, key=lambda each: each["name"]) if is_named else bare
    return said


def kustomized(component: str | None, folder: Path) -> Named:
    """By kubectl, in a copy. Raises subprocess.CalledProcessError."""
    copied = shutil.copytree(FOLDER, folder / (component or "base"))
    base = copied / "kustomization.yaml"
    if component is not None:
        line = switched_off(component)
        base.write_text(base.read_text().replace(line, line.removeprefix("# ")))
    told = subprocess.run(  # noqa: S603
        ["kubectl", "kustomize", str(copied)],  # noqa: S607 - the one that is found
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=60,
    )
    return _by_name(yaml.safe_load_all(told.stdout))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        for component in (None, *components()):
            made = kustomized(component, Path(folder))
            different = differences(component, made)
            told = [
                f"{component or 'base'}: {len(made)} objects, {len(different)} differ"
            ]
            sys.stdout.write("\n  ".join([*told, *different]) + "\n")
            if different:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
