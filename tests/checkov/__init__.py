"""checkov over deploy/: what each policy says of each resource, with our exceptions and without.

It has an environment of its own (`make setup`), for it pins much of what it needs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

CONFIG = ".checkov.yaml"
AS_IS, BARE = "as-is", "bare"
_EXCEPTION = re.compile(r"(checkov)(:skip=|\.io/skip)")
_NOWHERE = "http://127.0.0.1:9"
"""A proxy that nobody runs: whatever the scan would download, it can't."""


class Outcome(StrEnum):
    """What a policy said."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """One policy and one resource; `file` is relative to deploy/."""

    check: str
    file: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One scan. `bare` is the same without the exceptions in the files."""

    files: dict[str, set[str]]
    """By framework, those in which at least one policy found something to judge."""
    as_is: dict[Outcome, dict[Subject, str]]
    """With the reason of an exception, or the policy's name."""
    bare: dict[Outcome, dict[Subject, str]]
    unread: list[str]
    """What could not be parsed."""


def installed_at() -> Path:
    """Where `make setup` puts it: beside the environment that the tests run in."""
    return Path(sys.prefix) / "checkov"


def scan(deploy: Path, *, frameworks: list[str], folder: Path) -> Report:
    """Scan two copies of `deploy` in `folder`, in one go: most of the time is its start."""
    _copy(deploy, folder / AS_IS)
    for path in _copy(deploy, folder / BARE):
        path.write_bytes(_without_exceptions(path.read_bytes()))
    return _report(_run(folder, frameworks))


def _copy(source: Path, target: Path) -> list[Path]:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(CONFIG))
    return [path for path in target.rglob("*") if path.is_file()]


def _without_exceptions(content: bytes) -> bytes:
    """The same lines, with exceptions that no scan knows."""
    return _EXCEPTION.sub(r"\1:was\2", content.decode()).encode()


def _run(folder: Path, frameworks: list[str]) -> list[dict[str, Any]]:
    ended = subprocess.run(  # noqa: S603 - our own words
        [
            *(str(installed_at() / "bin/python"), "-m", "checkov.main"),
            *("--directory", str(folder), "--framework", *frameworks),
            *("--enable-secret-scan-all-files", "--output", "json"),
            *("--skip-download", "--compact", "--soft-fail"),
        ],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "HTTPS_PROXY": _NOWHERE,
            "HTTP_PROXY": _NOWHERE,
            "CKV_SKIP_PACKAGE_UPDATE_CHECK": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"checkov ended with {ended.returncode}:\n{ended.stderr}")
    reports = json.loads(ended.stdout)
    return reports if isinstance(reports, list) else [reports]


def _report(reports: list[dict[str, Any]]) -> Report:
    report = Report(
        files={},
        as_is={outcome: {} for outcome in Outcome},
        bare={outcome: {} for outcome in Outcome},
        unread=[],
    )
    for each in reports:
        results = each.get("results", {})
        report.unread.extend(results.get("parsing_errors", []))
        for outcome, copy, subject, why in _judgements(results):
            (report.as_is if copy == AS_IS else report.bare)[outcome][subject] = why
            report.files.setdefault(each["check_type"], set()).add(subject.file)
    return report


def _judgements(
    results: dict[str, Any],
) -> Iterator[tuple[Outcome, str, Subject, str]]:
    for outcome in Outcome:
        for found in results.get(f"{outcome}_checks", []):
            copy, _, file = found["file_path"].strip("/").partition("/")
            # A Dockerfile is its own resource, by its path.
            resource = found["resource"].replace(f"/{copy}/", "")
            subject = Subject(check=found["check_id"], file=file, resource=resource)
            said = found["check_result"].get("suppress_comment")
            yield outcome, copy, subject, said or found["check_name"]
