"""What documents and hints tell people to type, read as the command line reads it."""

import ast
import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

import handlers
import worker
from worker.cli.root import app
from worker.errors import WorkerError

ROOT = Path(__file__).parent.parent
PROGRAM = "recording-worker"
RUNBOOK = ROOT / "deploy/RUNBOOK.md"
NOT_YET = ()
"""Verbs that hints name already."""
_CODE = re.compile(r"`([^`\n]+)`")
_FENCED = re.compile(r"^ *```[a-z]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_TYPED = re.compile(rf"(?!.*\baz )(?:.*[ /])?{PROGRAM} (.*)")
"""A line of ours, wherever it is typed; the last of the names is that of the program."""
_ENDS = {"|", "||", "&&", ";", ">", "2>", ")", "\\"}
_PLACEHOLDER = re.compile(r"[A-Z][A-Z-]*[0-9]*|X")
_PROSE = re.compile(r"recording-worker(?:'s| answers| gives| status, )")
"""Sentences that begin with the program's name."""


class WrongCommandError(AssertionError):
    """A command line that the program would refuse, and why."""


def command_lines(document: Path) -> Iterator[tuple[str, bool]]:
    """Each command line of ours, and whether it stands alone, to be typed as it is."""
    text = document.read_text()
    yield from ((line, True) for line in typed_lines(text))
    unfenced = _FENCED.sub("", text).replace("\\|", "|")
    for code in _CODE.findall(unfenced):
        if code.startswith(f"{PROGRAM} "):
            yield code.removeprefix(f"{PROGRAM} "), False
        elif code.partition(" ")[0] in verbs() and " " in code:
            yield from ((each, False) for each in _alternatives(code))


def typed_lines(text: str) -> Iterator[str]:
    """What is to be typed, in order."""
    for block in _FENCED.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if found := _TYPED.match(line):
                yield found[1]


def part_of(heading: str, document: Path = RUNBOOK) -> str:
    """What is below a heading of the second level."""
    _, found, rest = document.read_text().partition(f"\n## {heading}\n")
    assert found, heading
    return rest.partition("\n## ")[0]


def _alternatives(code: str) -> Iterator[str]:
    """`queue list|show [--json]` is two lines."""
    plain = code.replace("…", "").replace("[", "").replace("]", "")
    words = plain.split()
    choices = next((n for n, word in enumerate(words) if "|" in word), None)
    if choices is None:
        yield plain
        return
    for choice in words[choices].split("|"):
        yield " ".join([*words[:choices], choice, *words[choices + 1 :]])


def verbs() -> set[str]:
    return set(_root().commands)


@cache
def _root() -> Any:
    return typer.main.get_command(app)


def every_verb(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every verb, by the words that call it."""
    below = getattr(command or _root(), "commands", None)
    if below is None:
        yield " ".join(path)
        return
    for name, each in below.items():
        yield from every_verb(each, (*path, name))


def check(line: str, *, is_whole: bool) -> None:
    """Raise WrongCommandError unless the command line would be understood.

    `is_whole`: nothing that it needs may be left out.
    """
    words = shlex.split(line, comments=True)
    end = next((n for n, word in enumerate(words) if word in _ENDS), len(words))
    command, words = _root(), words[:end]
    while True:
        given, rest = _parsed(command, words)
        if not hasattr(command, "commands"):
            break
        if not rest:
            if is_whole and not given:
                raise WrongCommandError(f"no verb: {line}")
            return
        if rest[0] not in command.commands:
            raise WrongCommandError(f"no such verb: {line}")
        command, words = command.commands[rest[0]], rest[1:]
    if rest:
        raise WrongCommandError(f"too much: {line}")
    _check_values(command, given, line, is_whole=is_whole)


def _parsed(command: Any, words: list[str]) -> tuple[dict[str, Any], list[str]]:
    context = command.make_context(PROGRAM, [], resilient_parsing=True)
    context.resilient_parsing = False
    for more in ([], ["X"]):
        try:
            given, rest, _ = command.make_parser(context).parse_args([*words, *more])
        except typer.TyperException as error:
            told = error.format_message()
            if "requires an argument" not in told or more:
                raise WrongCommandError(f"{told}: {words}") from error
        else:
            return given, rest
    raise AssertionError


def _check_values(
    command: Any, given: dict[str, Any], line: str, *, is_whole: bool
) -> None:
    for parameter in command.params:
        value = given.get(parameter.name)
        is_missing = parameter.required and not value and "help" not in given
        if is_missing and is_whole:
            raise WrongCommandError(f"{parameter.name} is missing: {line}")
        allowed = _choices(parameter.type_descriptor.annotation)
        is_meant = isinstance(value, str) and not _PLACEHOLDER.fullmatch(value)
        if allowed and is_meant and value not in allowed:
            raise WrongCommandError(f"{value!r} is not of {allowed}: {line}")


def _choices(annotation: Any) -> set[str]:
    """What an option may be, if there is a list."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {str(each.value) for each in annotation}
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return set(map(str, arguments))
    return set().union(*map(_choices, arguments)) if arguments else set()


def modules() -> Iterator[str]:
    for package in (worker, handlers):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield found.name


def errors(kind: type[WorkerError] = WorkerError) -> Iterator[type[WorkerError]]:
    """Every error that has a name of its own."""
    if kind is WorkerError:
        for name in modules():
            importlib.import_module(name)
    for below in kind.__subclasses__():
        if below.__module__.startswith(("worker.", "handlers.")):
            yield below
            yield from errors(below)


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("worker", "handlers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def printed_commands() -> Iterator[tuple[str, str]]:
    """What the code has people type: every text that begins as a command line of ours."""
    for name, tree in sources():
        for node in ast.walk(tree):
            text = text_of(node)
            is_part = text.endswith(" ") or text == f"{PROGRAM} X"
            if text.startswith(f"{PROGRAM} ") and not (is_part or _PROSE.match(text)):
                yield name, text.removeprefix(f"{PROGRAM} ")


def text_of(node: ast.AST) -> str:
    """A text, with X for what is filled in; empty for all else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{[a-z_]+\}", "X", node.value)
    if not isinstance(node, ast.JoinedStr):
        return ""
    text = ""
    for part in node.values:
        # What stands by itself is a word, what is joined to one an end that it may have.
        text += text_of(part) or ("X" if text.endswith((" ", "'", "=")) else "")
    return text


def sections(document: Path = RUNBOOK) -> set[str]:
    """Everything in code in a heading or in the first cell of a table's row."""
    return _named(document.read_text())


def roles() -> set[str]:
    """Which commands the table of roles names."""
    text = RUNBOOK.read_text().partition("### Which role a command needs")[2]
    return _named(text.partition("\n## ")[0])


def _named(text: str) -> set[str]:
    found: set[str] = set()
    for line in text.splitlines():
        if line.startswith("#"):
            found.update(_CODE.findall(line))
        elif line.startswith("| "):
            found.update(_CODE.findall(line.split(" | ")[0]))
    return found
