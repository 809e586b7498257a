"""The tree of errors: as it is drawn, and each with a reason of its own."""

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator

import pytest

import worker
from worker import errors
from worker.errors import ConfigError, RetryableError, ThrottledError, WorkerError

_LINE = re.compile(r"(?P<indent> *)[*x-] (?P<name>\w+Error)\b")


def drawn_parents() -> dict[str, str]:
    """Each class and its parent, as the module's docstring draws them."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = [(-1, "WorkerError")]
    for match in map(_LINE.match, (errors.__doc__ or "").splitlines()):
        if match is None:
            continue
        depth, name = len(match["indent"]), match["name"]
        while above[-1][0] >= depth:
            above.pop()
        parents[name] = above[-1][1]
        above.append((depth, name))
    return parents


def subclasses(kind: type[WorkerError]) -> Iterator[type[WorkerError]]:
    """The class and all below it, once everything that could define one is imported."""
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


def all_errors() -> list[type[WorkerError]]:
    """Every error of the worker, wherever it is defined."""
    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    ours = [
        kind for kind in subclasses(WorkerError) if kind.__module__[:7] == "worker."
    ]
    return sorted(ours, key=lambda kind: kind.__name__)


def test_tree_is_as_drawn() -> None:
    """Whoever reads the docstring knows every class of the module and its parent."""
    drawn = drawn_parents()
    root = drawn.pop("WorkerError")
    real = {
        kind.__name__: kind.__mro__[1].__name__
        for kind in subclasses(WorkerError)
        if kind.__module__ == errors.__name__ and kind is not WorkerError
    }

    assert root == "WorkerError"
    assert drawn == real


def test_reasons_are_unique() -> None:
    """A reason in a log line or a queue listing means one class."""
    counted = Counter(kind.reason for kind in all_errors())

    assert [reason for reason, count in counted.items() if count > 1] == []


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_reason_is_a_slug_and_hint_a_command(kind: type[WorkerError]) -> None:
    """Operators filter by the reason and paste the hint."""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.reason)
    assert kind.hint is None or "recording-worker " in kind.hint


def test_systemic_errors_are_counted_from_one_chunk_on() -> None:
    """A scope goes with the number of distinct chunks that must fail alike."""
    scopes = {
        kind.reason: (kind.scope, kind.streak)
        for kind in all_errors()
        if issubclass(kind, RetryableError) and kind.scope
    }

    assert scopes == {
        "source-not-found": ("credential", 10),
        "source-forbidden": ("credential", 3),
        "token-unavailable": ("credential", 3),
        "identity-refused": ("credential", 3),
        "archive-unavailable": ("archive", 3),
        "archive-full": ("archive", 1),
        "archive-forbidden": ("archive", 3),
    }


def test_error_keeps_what_the_far_side_asked_for() -> None:
    """Retry-After travels with the error."""
    assert ThrottledError("slow down", retry_after=7).retry_after == 7
    assert ThrottledError().retry_after is None
    assert str(ThrottledError("slow down")) == "slow down"


def test_error_knows_the_command_that_helps() -> None:
    """A hint that is given stands before the one of its kind."""
    assert ThrottledError("slow down", hint="date -u").hint == "date -u"
    assert ThrottledError("slow down").hint is None
    assert ConfigError(["one"], hint="az login").hint == "az login"
    assert ConfigError(["one"]).hint == "recording-worker config"


def test_configuration_tells_all_problems_one_a_line() -> None:
    """All that is wrong with the settings is read at once."""
    error = ConfigError(["one", "two"])

    assert error.problems == ["one", "two"]
    assert str(error) == "one\ntwo"
