"""What is said of personal data is true of the code, where code can tell."""

import re

from handlers import quarantine
from tests import documents, runbook
from worker import names
from worker.archives.object_names import STAGING
from worker.model import ChunkKey, ErasureReason
from worker.queues.storage import names as ledger

COMPLIANCE = documents.ROOT / "deploy/COMPLIANCE.md"
ROLES = documents.ROOT / "deploy/azure/roles.bicep"
TEXT = COMPLIANCE.read_text()
CODE = re.compile(r"`([^`]+)`")


def places() -> set[str]:
    """Every folder of the archive, as the code names it."""
    found = {
        value
        for name, value in vars(names).items()
        if name.isupper()
        and isinstance(value, str)
        and re.fullmatch(r"[a-z/]+/", value)
    }
    return {*found, names.PROBE, ledger.ROOT, f"{STAGING}/"}


def told() -> list[str]:
    """What the first table has in its first cells."""
    table = TEXT.partition("## Where personal data lies")[2].partition("\nThe receipt")[
        0
    ]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def test_every_folder_of_the_archive_is_told() -> None:
    """A place that nobody knows of is one that nobody erases."""
    assert len(places()) > 8
    assert {
        each for each in places() if not any(t.startswith(each) for t in told())
    } == (set())


def test_every_place_that_is_told_exists() -> None:
    """Nothing is promised of what is not there."""
    invented = [each for each in told() if not any(map(each.startswith, places()))]

    assert invented == []


def test_names_of_documents_are_those_of_the_code() -> None:
    """Numbered as the code numbers them, with its endings."""
    folder = "recordings/2026/02/03/CALL/RECORDING/"
    numbered = {
        names.manifest_name(folder, 1),
        names.checksums_name(folder, 1),
        names.hold_name(folder, 1),
        names.erasing_name(folder, 1),
        names.control_name(1),
    }
    endings = {
        name(ChunkKey("K")).partition("/K")[2]
        for name in (names.receipt_name, names.source_deleted_name, names.erased_name)
    }

    assert numbered - set(told()) == set()
    assert {f"receipts/HH/DOCUMENT{ending}" for ending in endings} - set(
        told()
    ) == set()


def test_every_role_is_one_that_is_given() -> None:
    """To people, by the runbook's table, or to what runs, by the template."""
    roles = set(re.findall(r"\*(Storage [A-Z][\w ]+)\*", TEXT))
    given = runbook.RUNBOOK.read_text() + ROLES.read_text()

    assert len(roles) > 3
    assert {
        each for each in roles if each not in given and camel(each) not in given
    } == (set())


def camel(role: str) -> str:
    """As the template calls it."""
    words = role.replace(" ", "")
    return f" {words[0].lower()}{words[1:]}: '"


def test_every_reason_of_an_erasure_that_is_named_is_one() -> None:
    """Of these words alone."""
    typed = set(re.findall(r"erase ID --reason ([a-z-]+)", TEXT))

    assert typed <= {str(each) for each in ErasureReason}
    assert len(ErasureReason) == 6
    assert "one of six reasons" in TEXT


def test_bounds_of_the_quarantine_are_those_of_the_code() -> None:
    """10,000 bodies or 256 MiB."""
    said = f"{quarantine.MOST_ITEMS:,} bodies or {quarantine.MOST_BYTES >> 20} MiB"
    assert said in TEXT


def test_every_parameter_of_the_template_that_is_named_exists() -> None:
    """With the default that is told, where it is a number of days."""
    bicep = (documents.ROOT / "deploy/main.bicep").read_text()
    there = dict(re.findall(r"^param (\w+) \w+(?: = (.+))?$", bicep, re.MULTILINE))
    table = TEXT.partition("## What the template sets")[2].partition("\n## ")[0]
    named = [name for row in table.splitlines() for name in CODE.findall(cell(row))]

    assert len(named) > 8
    assert set(named) - there.keys() == set()
    assert there["announcedDays"] == there["logDays"] == "30"
    assert there["immutableDays"] == there["coolAfterDays"] == "0"
    assert there["archiveAfterDays"] == "0"
    assert there["deleteSource"] == "'never'"
    assert there["privateNetwork"] == "false"
    assert there["versionImmutability"] == "true"


def cell(row: str) -> str:
    """The last of a row."""
    return row.rpartition(" |")[0].rpartition("| ")[2]


def test_roles_of_the_template_are_made_there() -> None:
    """They are the code's own, and no built-in ones."""
    named = set(re.findall(r"\*(Recording [a-z]+)\*", TEXT))

    assert named == set(re.findall(r"roleName: '(Recording \w+) of", ROLES.read_text()))
