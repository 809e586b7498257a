"""Writes a bill of materials of what is deployed, in CycloneDX 1.6.

`python -m tests.sbom FILE [EXTRA…]` lists what deploy/requirements.txt locks, and what the
locks of those extras add, and nothing of the tests' own packages: as it is installed here,
with licences and with who needs whom.
https://cyclonedx.org/docs/1.6/json/
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from worker import __version__

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "deploy/requirements.txt"
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


def locked(lock: str) -> dict[str, str]:
    """Every package of a lock, by its normalised name, with its version."""
    return {normalised(name): version for name, version in _LOCKED.findall(lock)}


def normalised(name: str) -> str:
    """https://packaging.python.org/en/latest/specifications/name-normalization/"""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, Any]:
    """What CycloneDX's own tool says of this environment; no network is asked."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable]
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"]
    told = subprocess.run(  # noqa: S603
        [*command, *options, "--no-validate"], capture_output=True, check=True
    )
    bom: dict[str, Any] = json.loads(told.stdout)
    # Its version is not in pyproject.toml, where the tool looks.
    root(bom)["version"] = __version__
    return bom


def of_lock(bom: dict[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
    """Only what is locked. Raises ValueError if something locked is not installed so."""
    kept = {
        part["bom-ref"]: part
        for part in bom["components"]
        if versions.get(normalised(part["name"])) == part["version"]
    }
    lost = versions.keys() - {normalised(part["name"]) for part in kept.values()}
    if lost:
        raise ValueError(f"not installed as locked: {', '.join(sorted(lost))}")
    there = {*kept, root(bom)["bom-ref"]}
    needs = [_within(each, there) for each in bom["dependencies"]]
    needs = [each for each in needs if each["ref"] in there]
    return {**bom, "components": list(kept.values()), "dependencies": needs}


def root(bom: dict[str, Any]) -> dict[str, Any]:
    """What all of it is for: this program."""
    component: dict[str, Any] = bom["metadata"]["component"]
    return component


def _within(needs: dict[str, Any], there: set[str]) -> dict[str, Any]:
    below = [each for each in needs.get("dependsOn", ()) if each in there]
    return {"ref": needs["ref"], **({"dependsOn": below} if below else {})}


def main(path: Path, *extras: str) -> None:
    files = [LOCK, *(LOCK.with_name(f"requirements-{each}.txt") for each in extras)]
    locks = "".join(each.read_text(encoding="utf-8") for each in files)
    bom = of_lock(installed(), locked(locks))
    text = json.dumps(bom, indent=2, sort_keys=True)
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"no CycloneDX: {problem}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
