"""What an exception tells of itself: its kind, its place, and words; never a value."""

import io
import sys
from collections.abc import Callable

import aiohttp
import pytest
from pydantic import TypeAdapter, ValidationError

from tests import canaries
from tests.canaries import seen
from worker import tracebacks
from worker.errors import QueueUnavailableError

KEY = canaries.WEBHOOK_KEY
URL = f"https://user:{canaries.PROXY_PASSWORD}@a.example/x?code={KEY}"


def caught(fail: Callable[[], object]) -> BaseException:
    """What it raises, with its traceback."""
    try:
        fail()
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


def invalid() -> ValidationError:
    error = caught(lambda: TypeAdapter(int).validate_python(KEY))
    assert isinstance(error, ValidationError)
    return error


QUOTING = {
    "KeyError": KeyError(KEY),
    "int": caught(lambda: int(KEY)),
    "bytes": ValueError(f"odd {KEY.encode()!r}"),
    "list": ValueError(f"odd [{KEY}, 1]"),
    "object": ValueError(f"odd <Task of {KEY}>"),
    "unterminated": ValueError(f"odd '{KEY}"),
    "escaped": ValueError(
        f"odd {DISPLAY!r}" if (DISPLAY := canaries.DISPLAY_NAME) else ""
    ),
    "second line": ValueError(f"odd\n{KEY}"),
    "URL": ValueError(f"GET {URL} failed"),
    "long": ValueError(f"odd {canaries.TOKEN}"),
    "pydantic": invalid(),
    "aiohttp": aiohttp.InvalidURL(URL),
    "module": aiohttp.ClientOSError(1, f"no {URL!r}"),
}


@pytest.mark.parametrize("name", QUOTING)
def test_foreign_message_keeps_its_words_alone(name: str) -> None:
    """Whatever it choked on is left out, in every notation."""
    error = QUOTING[name]

    words = tracebacks.words_of(error)

    assert seen(words) == []
    assert words.startswith(type(error).__name__)
    assert "\n" not in words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            QueueUnavailableError("full ('q.db')\nhalf"),
            "QueueUnavailableError: full ('q.db') half",
        ),
        (
            OSError(28, "No space left", "/srv/x"),
            "OSError: [Errno 28] No space left: '/srv/x'",
        ),
        (AttributeError("'X' has no 'y'"), "AttributeError: 'X' has no 'y'"),
        (ValueError("it can't be: 'x'"), "ValueError: it can't be: …"),
        (ValueError(), "ValueError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_operators_need_stays(error: Exception, words: str) -> None:
    """Our own messages, paths of this machine, names of the code."""
    assert tracebacks.words_of(error) == words


def test_long_message_is_cut() -> None:
    """A line of a log stays a line."""
    words = tracebacks.message_of(ValueError("no " * 1000))

    assert len(words) == tracebacks.LONGEST_MESSAGE


def fail_twice() -> None:
    try:
        int(KEY)
    except ValueError as error:
        error.add_note(KEY)
        raise QueueUnavailableError("the queue failed") from error


def fail_while_failing() -> None:
    try:
        int(KEY)
    finally:
        raise_group()


def raise_group() -> None:
    raise BaseExceptionGroup("several", [caught(fail_twice), KeyError(KEY)])


def test_document_shows_the_chain_by_kind_and_place() -> None:
    """The newest first, each with its frames; causes are told from what merely came before."""
    error = caught(fail_twice)

    documents = tracebacks.as_documents((type(error), error, error.__traceback__))

    assert [(each["exc_type"], each["is_cause"]) for each in documents] == [
        ("QueueUnavailableError", False),
        ("ValueError", True),
    ]
    assert documents[0]["frames"][-1]["name"] == "fail_twice"
    assert documents[0]["exc_value"] == "the queue failed"
    assert seen(str(documents)) == []


def test_group_shows_what_is_in_it() -> None:
    """Each with a chain of its own; what was being handled comes behind."""
    error = caught(fail_while_failing)

    documents = tracebacks.as_documents((type(error), error, error.__traceback__))
    text = tracebacks.as_text(error)

    assert [each["exc_type"] for each in documents] == ["ExceptionGroup", "ValueError"]
    inner = [chain[0]["exc_type"] for chain in documents[0]["exceptions"]]
    assert inner == ["QueueUnavailableError", "KeyError"]
    assert seen(str(documents) + text) == []
    assert "  | QueueUnavailableError: the queue failed" in text


def test_text_reads_as_python_writes_it() -> None:
    """The newest last, with lines of source, for who runs a command with -v."""
    stream = io.StringIO()
    try:
        fail_twice()
    except QueueUnavailableError:
        kind, error, trace = sys.exc_info()
        assert kind is not None
        assert error is not None
        tracebacks.write_text(stream, (kind, error, trace))

    text = stream.getvalue()
    assert text.count("Traceback (most recent call last):") == 2
    assert text.index("ValueError") < text.index("QueueUnavailableError: the queue")
    assert 'raise QueueUnavailableError("the queue failed") from error' in text
    assert seen(text) == []


def test_chain_that_bites_its_tail_ends() -> None:
    """Libraries do raise such things."""
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first

    documents = tracebacks.as_documents((ValueError, first, None))

    assert [each["exc_value"] for each in documents] == ["a", "b"]


def test_hidden_context_stays_hidden() -> None:
    """`from None` says that what came before is of no interest."""

    def fail() -> None:
        try:
            int(KEY)
        except ValueError:
            raise QueueUnavailableError("plain") from None

    error = caught(fail)

    assert len(tracebacks.as_documents((type(error), error, None))) == 1
