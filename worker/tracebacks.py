"""What an exception may tell of itself: what it is and where, not what it was about.

The rule: our own messages are written to be read by anybody; a foreign one quotes what it
choked on (a key, a signed URL, the name of a participant), so of that only the words stay.
No local variables, ever.
"""

import re
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TextIO

from worker.errors import WorkerError

LONGEST_MESSAGE = 200
MOST_FRAMES = 50
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_OF_CODE = (AttributeError, ImportError, NameError, TypeError)
"""Kinds whose messages quote names of the code, not values."""
_URL = re.compile(r"\b\w+://\S+")
_QUOTED = re.compile(r"(?<!\w)[bru]{0,2}['\"({\[<].*")
"""From the first quote or bracket on: where one ends, only who wrote it knows."""
_LONG = re.compile(r"\S{40,}")
"""A key, a token, a signature: no word is as long."""
_Dump = dict[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def message_of(error: BaseException) -> str:
    """Return the message without what it quotes; empty if there is none."""
    if isinstance(error, WorkerError):
        return str(error)
    message = " ".join(_first_line(error).split())
    if not (isinstance(error, _OF_CODE) or _is_of_system(error)):
        message = without_values(message)
    return message[:LONGEST_MESSAGE]


def without_values(words: str) -> str:
    """A line up to the first value that it quotes."""
    for pattern in (_QUOTED, _URL, _LONG):
        words = pattern.sub(ELLIPSIS, words)
    return words


def words_of(error: BaseException) -> str:
    """`KIND: message`, in one line."""
    message = " ".join(message_of(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def as_documents(exc_info: ExcInfo) -> list[_Dump]:
    """An exception and what led to it, the newest first, for a log in JSON."""
    return [_document(error, is_cause=is_cause) for error, is_cause in _chain(exc_info)]


def as_text(error: BaseException) -> str:
    """The same for people, as Python shows it: the newest last."""
    parts = [_text(each) for each, _ in _chain((type(error), error, None))]
    return "\n\n".join(reversed(parts))


def write_text(stream: TextIO, exc_info: ExcInfo) -> None:
    """Satisfies structlog's ExceptionRenderer."""
    stream.write("\n" + as_text(exc_info[1]))


def _is_of_system(error: BaseException) -> bool:
    """Whether it names a path or an address of this machine, which operators need."""
    return isinstance(error, OSError) and type(error).__module__ == "builtins"


def _first_line(error: BaseException) -> str:
    """The others hold what a service answered, or the input of a schema."""
    return str(error).strip().partition("\n")[0]


def _chain(exc_info: ExcInfo) -> Iterator[tuple[BaseException, bool]]:
    """Errors with whether each is the cause of the one before; a loop ends where it began."""
    error: BaseException | None = exc_info[1]
    seen: set[int] = set()
    is_cause = False
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error, is_cause
        is_cause = error.__cause__ is not None
        hidden = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or hidden


def _document(error: BaseException, *, is_cause: bool) -> _Dump:
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    document: _Dump = {
        "exc_type": type(error).__name__,
        "exc_value": message_of(error),
        "is_cause": is_cause,
        "frames": [
            {"filename": each.filename, "lineno": each.lineno, "name": each.name}
            for each in frames
        ],
    }
    if isinstance(error, BaseExceptionGroup):
        document["exceptions"] = [
            as_documents((type(each), each, None)) for each in error.exceptions
        ]
    return document


def _text(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    lines = traceback.format_list(frames)
    head = "Traceback (most recent call last):\n" if lines else ""
    text = f"{head}{''.join(lines)}{words_of(error)}"
    if not isinstance(error, BaseExceptionGroup):
        return text
    inner = [as_text(each).replace("\n", "\n  | ") for each in error.exceptions]
    return "\n  | ".join([text, *inner])
