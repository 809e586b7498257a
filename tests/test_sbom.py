"""The bill of materials lists what the lock has, no more and no less."""

import re

import pytest

from tests import sbom
from worker import __version__

SILENT = {"protobuf"}
"""What names its licence (3-Clause BSD) in a way that the tool leaves out."""


def test_every_locked_package_is_in_it() -> None:
    """With its version, its licence, and what it needs; none of the tests' own."""
    lock = sbom.LOCK.read_text()
    versions = sbom.locked(lock)

    bom = sbom.of_lock(sbom.installed(), versions)

    parts = {sbom.normalised(each["name"]): each for each in bom["components"]}
    assert len(versions) == len(re.findall(r"^[a-z].*==", lock, re.MULTILINE)) > 40
    assert {name: part["version"] for name, part in parts.items()} == versions
    assert {name for name, part in parts.items() if "licenses" not in part} <= SILENT
    assert sbom.root(bom)["name"] == "recording-worker"
    assert sbom.root(bom)["version"] == __version__
    refs = {part["bom-ref"] for part in parts.values()} | {"root-component"}
    assert {each["ref"] for each in bom["dependencies"]} == refs
    assert all(
        refs.issuperset(each.get("dependsOn", ())) for each in bom["dependencies"]
    )


def test_package_that_is_not_installed_as_locked_is_an_error() -> None:
    """A list of other versions than those that run would be worse than none."""
    part = {"name": "A_b", "version": "1", "bom-ref": "A_b==1"}
    component = {"bom-ref": "root-component"}
    bom = {
        "components": [part],
        "metadata": {"component": component},
        "dependencies": [],
    }

    assert sbom.of_lock(bom, {"a-b": "1"})["components"] == [part]
    with pytest.raises(ValueError, match="not installed as locked: a-b"):
        sbom.of_lock(bom, {"a-b": "2"})
