"""The policy scan of deploy/: clean, or each exception has its reason and is still needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import checkov
from tests.checkov import Outcome, Report

DEPLOY = Path(__file__).parents[2] / "deploy"
CONFIG = DEPLOY / checkov.CONFIG
NO_POLICY = {
    f"azure/{name}.bicep"
    for name in (
        *("access", "acs-access", "alerts", "consumer", "endpoints", "environment"),
        *("identities", "insights", "jobs", "subscription", "topic", "webhook"),
    )
} | {
    f"kubernetes/{name}.yaml"
    for name in ("namespace", "network-policy", "scaled-object")
}
"""Parsed as all others; checkov has no policy for resources of their kinds."""
NO_REASON = "No comment provided"
# Its start alone takes seconds of a busy machine: one process scans, and not each.
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("policy")]


def config() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One scan for all tests here."""
    folder = tmp_path_factory.mktemp("policy")
    return checkov.scan(DEPLOY, frameworks=config()["framework"], folder=folder)


def exceptions_for_all() -> set[str]:
    return set(config()["skip-check"])


def test_nothing_fails_that_is_not_an_exception(report: Report) -> None:
    """Each finding is mended, or listed with its reason."""
    failed = {
        subject: name
        for subject, name in report.as_is[Outcome.FAILED].items()
        if subject.check not in exceptions_for_all()
    }

    assert failed == {}


def test_every_file_is_scanned(report: Report) -> None:
    """A scan of nothing would be clean as well; and what can't be read is not clean."""
    assert report.unread == []
    for framework, files in _to_be_scanned().items():
        assert files, framework
        assert report.files.get(framework, set()) == files


def _to_be_scanned() -> dict[str, set[str]]:
    """The files that a framework has something to say about, by how they look."""
    return {
        "dockerfile": _named(DEPLOY.glob("Dockerfile")),
        "kubernetes": _holding(
            r"^kind: (?!Kustomization|Component)", "kubernetes/**/*.yaml"
        )
        - NO_POLICY,
        "bicep": _holding(r"^resource .* = ", "**/*.bicep") - NO_POLICY,
    }


def _holding(pattern: str, files: str) -> set[str]:
    told = re.compile(pattern, re.MULTILINE)
    found = DEPLOY.glob(files)
    return _named(path for path in found if told.search(path.read_text("utf-8")))


def _named(paths: Any) -> set[str]:
    return {path.relative_to(DEPLOY).as_posix() for path in paths}


def test_exceptions_of_a_file_have_a_reason_and_are_needed(report: Report) -> None:
    """Without them the policy would fail; what no longer does is taken out."""
    skipped = report.as_is[Outcome.SKIPPED]

    assert [subject for subject, why in skipped.items() if why == NO_REASON] == []
    assert skipped.keys() - report.bare[Outcome.FAILED].keys() == set()


def test_exceptions_for_all_have_a_reason_and_are_needed(report: Report) -> None:
    """A line each, `- ID # reason`."""
    text = CONFIG.read_text(encoding="utf-8")
    explained = re.findall(r"^ +- (CKV\w+) +# \S", text, re.MULTILINE)
    failed = {subject.check for subject in report.bare[Outcome.FAILED]}

    assert set(explained) == exceptions_for_all()
    assert exceptions_for_all() - failed == set()
