"""Documents lead somewhere, and name what is there."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from samples import serve
from samples.grid import command
from tests import docs, documents

MINUTES_FOR_README = 10
WORDS_A_MINUTE = 200
SHELL = "/bin/sh"
FOREIGN_SETTINGS = {"WORKER_SERVICE_HOST", "WORKER_PORT"}
"""What Kubernetes makes of a service of that name; none of ours."""
every_document = pytest.mark.parametrize(
    "document", documents.DOCUMENTS, ids=documents.named
)


@every_document
def test_every_link_leads_somewhere(document: Path) -> None:
    """To a file of the repository, and to a heading in it."""
    lost = [
        target
        for target in documents.links(document)
        if not documents.leads_somewhere(document, target)
    ]

    assert lost == []


@every_document
def test_every_block_to_be_pasted_is_shell(document: Path) -> None:
    """As the plainest of them reads it; nothing is run."""
    for block in documents.shell_blocks(document):
        read = subprocess.run(  # noqa: S603
            [SHELL, "-n"], input=block, text=True, capture_output=True, check=False
        )
        assert (read.returncode, read.stderr) == (0, ""), block


def test_every_stand_in_that_is_to_be_pasted_takes_its_options() -> None:
    """As whoever has no ACS types it."""
    parsers = {"acs": serve.options_from, "event_grid": command.options_from}
    typed = [
        found
        for document in documents.DOCUMENTS
        for block in documents.shell_blocks(document)
        for found in re.findall(
            r"^python -m samples\.(\w+)(.*)", block.replace("\\\n", ""), re.MULTILINE
        )
    ]

    assert {name for name, _ in typed} == set(parsers)
    for name, options in typed:
        assert vars(parsers[name](shlex.split(options, comments=True)))


@every_document
def test_every_target_of_make_exists(document: Path) -> None:
    """Whether it stands in a sentence or in a block."""
    makefile = (documents.ROOT / "Makefile").read_text()
    there = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    typed = [*documents.codes(document), *documents.shell_blocks(document)]
    named = {
        target
        for text in typed
        for target in re.findall(r"^make ([a-z][a-z-]*)", text, re.MULTILINE)
    }

    assert named - there == set()


@every_document
def test_every_file_that_is_named_exists(document: Path) -> None:
    """Those of our folders; what has a placeholder (`FILE`, `NNNN`) may be any."""
    named = {
        code
        for code in documents.codes(document)
        if re.fullmatch(r"(?:worker|handlers|deploy|tests|samples)/[\w./*-]+", code)
        and not re.search(r"\b[A-Z]{2,}\b(?!\.md)", code)
    }

    assert {each for each in named if not any_of(each)} == set()


def any_of(pattern: str) -> bool:
    return any(True for _ in documents.ROOT.glob(pattern.rstrip("/")))


@every_document
def test_every_setting_that_is_named_exists(document: Path) -> None:
    """`WORKER_BLOB_*` and `WORKER_…` stand for several."""
    there = set(docs.every_variable()) | FOREIGN_SETTINGS
    named = re.findall(r"\bWORKER_[A-Z_]*[A-Z]\b(?![_*…])", document.read_text())

    assert set(named) - there == set()


def test_readme_is_read_in_ten_minutes() -> None:
    """Its sentences; tables are looked up, and commands are typed."""
    minutes = documents.words_to_read(docs.README) / WORDS_A_MINUTE

    assert minutes <= MINUTES_FOR_README


def test_link_to_nowhere_is_found(tmp_path: Path) -> None:
    """A test that finds nothing would find nothing wrong."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](#one) [b](#two) [c](gone.md) [d](https://example.com)\n"
    )

    found = {
        each: documents.leads_somewhere(page, each) for each in documents.links(page)
    }

    assert found == {"#one": True, "#two": False, "gone.md": False}


def test_every_decision_is_in_the_index() -> None:
    """By its number and its heading, once."""
    folder = documents.ROOT / "deploy/adr"
    row = re.compile(r"^\| (\d+) \| \[(.+?)\]\(([^)]+)\) \| .+ \|$", re.MULTILINE)
    listed = row.findall((folder / "README.md").read_text())
    there = []
    for path in sorted(folder.glob("[0-9]*.md")):
        number, _, heading = path.read_text().partition("\n")[0].partition(". ")
        there.append((number.removeprefix("# "), heading, path.name))

    assert listed == there
    assert [int(name[:4]) for *_, name in there] == [int(each[0]) for each in there]


def test_every_document_is_reached_from_readme() -> None:
    """What no link leads to nobody reads."""
    reached, ahead = set[Path](), {docs.README}
    while ahead:
        document = ahead.pop()
        reached.add(document)
        targets = {each.partition("#")[0] for each in documents.links(document)}
        pages = {(document.parent / each).resolve() for each in targets if each}
        ahead |= {each for each in pages if each.suffix == ".md"} - reached

    assert set(documents.DOCUMENTS) - reached == set()


def test_what_the_runbook_enters_is_there() -> None:
    """A service of compose, a deployment of Kubernetes, the file of systemd's units."""
    runbook = (documents.ROOT / "deploy/RUNBOOK.md").read_text()
    compose = (documents.ROOT / "deploy/compose.yaml").read_text()
    cluster = [
        path.read_text() for path in documents.ROOT.glob("deploy/kubernetes/*.yaml")
    ]
    units = "".join(
        path.read_text() for path in documents.ROOT.glob("deploy/systemd/*.service")
    )
    services = re.findall(r"compose\.yaml exec ([\w-]+)", runbook)
    deployments = re.findall(r"--namespace (\S+) deploy/([\w-]+)", runbook)
    files = re.findall(r"EnvironmentFile=(\S+)", runbook)

    assert [name for name in services if f"\n  {name}:\n" not in compose] == []
    assert {f"name: {name}\n  namespace: {space}" for space, name in deployments} <= {
        found
        for text in cluster
        for found in re.findall(
            r"kind: Deployment\nmetadata:\n  (name: \S+\n  namespace: \S+)", text
        )
    }
    assert [file for file in files if f"EnvironmentFile={file}\n" not in units] == []
    assert min(map(len, (services, deployments, files))) > 0
