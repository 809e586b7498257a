"""The runbook says what is true: its commands exist, and whatever pages somebody has its place."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TypeGuard

import pytest

from tests import documents, runbook
from worker import log
from worker.ops import hints

FOREIGN = ("az", "chmod", "curl", "date", "df", "env", "python", "docker", "kubectl")
"""Programs that a hint may name beside ours."""
FULL_OF_COMMANDS = (runbook.ROOT / "README.md", runbook.RUNBOOK)
"""Where a test that finds none would find nothing wrong."""
ABSTRACT = {"error", "retryable", "permanent"}
"""Reasons that nothing bears but what has one of its own."""
EVENTS = re.compile(r"^([a-z]+\.[a-z_]+) \| ([a-z, ]+) \|", re.MULTILINE)
TOLD = {"passed", "failed", "noted", "skipped", "guarded"}


@pytest.mark.parametrize("document", documents.DOCUMENTS, ids=documents.named)
def test_every_command_line_is_one(document: Path) -> None:
    """Verbs and options exist, choices are among what is offered, nothing is missing."""
    lines = list(runbook.command_lines(document))

    assert len(lines) > 10 or document not in FULL_OF_COMMANDS
    for line, is_whole in lines:
        runbook.check(line, is_whole=is_whole)


def test_every_command_that_is_printed_is_one() -> None:
    """Hints, and what to type next."""
    printed = list(runbook.printed_commands())

    assert len(printed) > 50
    wrong = []
    for name, line in printed:
        try:
            runbook.check(line, is_whole=True)
        except runbook.WrongCommandError as error:
            wrong.append(f"{name}: {error}")
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        "recrodings list",
        "queue list --stat dead",
        "queue list --state lost",
        "queue show",
        "queue show a b",
        "queue",
    ],
)
def test_command_line_that_is_none_is_found(line: str) -> None:
    """A test that finds nothing would find nothing wrong."""
    with pytest.raises(runbook.WrongCommandError):
        runbook.check(line, is_whole=True)


def test_hint_of_an_error_is_a_command() -> None:
    """For pasting, whoever's program it is."""
    prose = {
        f"{error.__name__}: {error.hint}"
        for error in runbook.errors()
        if error.hint and error.hint.split()[0] not in (runbook.PROGRAM, *FOREIGN)
    }

    assert prose == set()


def test_every_reason_has_its_place() -> None:
    """Also those that only a log line bears."""
    reasons = {error.reason for error in runbook.errors()} - ABSTRACT
    reasons |= hints.REASONS.keys() - ABSTRACT
    reasons |= set(logged_reasons())

    assert reasons - runbook.sections() == set()


def logged_reasons() -> Iterator[str]:
    """`log.error("event", reason="a-reason")`."""
    for _, tree in runbook.sources():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and is_log_error(call.func):
                yield from (
                    runbook.text_of(each.value)
                    for each in call.keywords
                    if each.arg == "reason" and runbook.text_of(each.value)
                )


def is_log_error(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == "error"


def test_every_event_that_is_an_error_has_its_place() -> None:
    """Somebody is paged for it."""
    events = {
        name for name, levels in EVENTS.findall(log.__doc__ or "") if "error" in levels
    }

    assert len(events) > 15
    assert events - runbook.sections() == set()


def test_every_trouble_that_begins_and_ends_has_its_place() -> None:
    """A warning as well, by its event or by its reason: it is so until somebody acts."""
    events = {name for name, _ in EVENTS.findall(log.__doc__ or "")}
    troubles = {name for name in events if name.endswith(".unavailable")}

    assert {"admin.unavailable", "telemetry.unavailable"} <= troubles
    known = runbook.sections()
    assert {
        each for each in troubles if not {each, each.replace(".", "-")} & known
    } == set()


def test_every_finding_of_the_doctor_has_its_place() -> None:
    """By the name of its check."""
    checks = set(chain.from_iterable(map(checks_in, doctors())))

    assert len(checks) > 15
    assert checks - runbook.sections() == set()


def doctors() -> Iterator[ast.Module]:
    for name, tree in runbook.sources():
        if name.startswith(("worker/own_checks/", "worker/endpoint_checks/")):
            yield tree


def checks_in(tree: ast.Module) -> Iterator[str]:
    """The first argument of what makes a finding; of one that is put together, its beginning."""
    named = defaultdict(list)
    for node in ast.walk(tree):
        for target, value in pairs_of(node):
            named[target.id].append(runbook.text_of(value))
    for call in ast.walk(tree):
        if is_telling(call):
            first = call.args[0]
            names = named[first.id] if isinstance(first, ast.Name) else []
            for name in (*names, runbook.text_of(first)):
                yield from [name.removesuffix("X").rstrip(", ")] if name else []


def is_telling(node: ast.AST) -> TypeGuard[ast.Call]:
    if not isinstance(node, ast.Call) or not node.args:
        return False
    return isinstance(node.func, ast.Name) and node.func.id in TOLD


def pairs_of(node: ast.AST) -> Iterator[tuple[ast.Name, ast.expr]]:
    """`A = "a"`, and `A, B = "a", "b"`."""
    if not isinstance(node, ast.Assign):
        return
    (target,) = node.targets
    if isinstance(target, ast.Name):
        yield target, node.value
    elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        for each, value in zip(target.elts, node.value.elts, strict=True):
            if isinstance(each, ast.Name):
                yield each, value


def test_every_flag_has_its_place() -> None:
    """What keeps a chunk at ACS; beside the flags these modules have reasons alone."""
    makers = ("worker/evidence.py", "worker/pipeline.py", "worker/byos.py")
    texts = {
        runbook.text_of(node)
        for name, tree in runbook.sources()
        if name in makers
        for node in ast.walk(tree)
    }
    flags = {text for text in texts if re.fullmatch(r"[a-z]+(-[a-z]+)+", text)}

    assert len(flags) > 10
    assert flags - runbook.sections() - {"read-back"} == set()


def test_every_link_leads_to_a_heading() -> None:
    """As GitHub names them."""
    text = runbook.RUNBOOK.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {
        re.sub(r"[^a-z0-9_ -]", "", each.lower()).replace(" ", "-") for each in headings
    }

    assert set(re.findall(r"\]\(#([^)]+)\)", text)) - slugs == set()


def test_every_command_of_another_program_has_its_place() -> None:
    """Who may type it, and what for."""
    told = {text for _, tree in runbook.sources() for text in foreign_commands(tree)}
    known = runbook.sections()

    assert len(told) > 5
    assert {text for text in told if not any(map(text.startswith, known))} == set()


def foreign_commands(tree: ast.Module) -> Iterator[str]:
    """Those of Azure that a hint is made of, each kind by itself."""
    for node in ast.walk(tree):
        text = runbook.text_of(node)
        if re.match(r"az [a-z]+ ", text) and not text.endswith(" "):
            kinds = (
                ("container", "queue") if text.startswith("az storage X ") else ("X",)
            )
            yield from (text.replace(" X ", f" {kind} ", 1) for kind in kinds)


def test_every_verb_has_its_role() -> None:
    """Who may do what is in one table."""
    table = runbook.roles()
    missing = [
        verb
        for verb in runbook.every_verb()
        if not any(verb == each or verb.startswith(f"{each} ") for each in table)
    ]

    assert missing == []
