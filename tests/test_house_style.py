"""Sizes and names that the linters don't check."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
BANNED_MODULES = {"utils", "common", "helpers", "base", "util", "misc"}
PRODUCT = ("worker", "handlers", "samples")


def modules() -> Iterator[Path]:
    for folder in PRODUCT:
        yield from (ROOT / folder).rglob("*.py")


def test_files_stay_short() -> None:
    """A file that outgrows the limit becomes a folder."""
    lengths = {path: len(path.read_text().splitlines()) for path in modules()}

    assert {str(p): n for p, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_functions_stay_short() -> None:
    """A function does one level of abstraction."""
    long = [
        f"{path.name}:{node.name} {node.end_lineno - node.lineno + 1}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]

    assert long == []


def test_modules_are_named_after_what_they_hold() -> None:
    """No drawer for everything."""
    assert set() == BANNED_MODULES & {path.stem for path in modules()}


def test_modules_say_what_lives_in_them() -> None:
    """Every module begins with a docstring."""
    silent = [
        str(path)
        for path in modules()
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]

    assert silent == []
