"""Changes of an input that keep most of its structure. Pure but for the randomness given."""

import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any

MOST_NODES = 200
MOST_CHANGES = 3
_BIG = (2**31 - 1, 2**31, 2**53, 2**63, 10**18, -(10**30))
ODD_NUMBERS: Sequence[object] = (0, -1, 1, *_BIG, 0.5, 1e308)
_LONG = ("9" * 19, "1" * 400, "a" * 1100)
_SIGNS = ("", "\0", "\n", "\ud800", "\uffff", "\u0663", "\U0001f600", "a b")
_PATHS = ("..", "../..", "a/../b", "%2e%2e", "%00", "\\", "//", ".content", "?sig=x")
_NAMES = ("~", "#", "con", "\u00e9", "xn--a", "a:b", "A", "objects")
_TIMES = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z", "2026-02-30", "T")
_JSON = ("NaN", "Infinity", "null", "[]", "{}", '{"a":1}', "e30=", "0", "-1")
_URLS = ("https://", "https://a@b/", "//evil", "http://127.0.0.1:8080/", "[::1]")
ODD_TEXTS = (*_LONG, *_SIGNS, *_PATHS, *_NAMES, *_TIMES, *_JSON, *_URLS)
_ODD_BYTES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b"\xff\xff\xff\xff", b"\0\0\0\0")
_TOKENS = (
    "NaN",
    "1e999",
    "-Infinity",
    "9" * 5000,
    "[" * 200 + "]" * 200,
    '"\\ud800"',
    "{",
)
_MARK = "the place of a token"
_DIGITS = re.compile(rb"[0-9]+")
Path = tuple[str | int, ...]


def of_bytes(data: bytes, random: Random) -> bytes:
    """One change somewhere: cut, doubled, moved, overwritten or flipped."""
    begin, end = sorted(random.randint(0, len(data)) for _ in range(2))
    odd = random.choice(_ODD_BYTES)
    flipped = bytes(byte ^ 1 << random.randrange(8) for byte in data[begin : begin + 1])
    middle, rest = random.choice(
        (
            (b"", end),
            (data[begin:end] * 2, end),
            (odd, begin + len(odd)),
            (odd, begin),
            (b"", len(data)),
            (flipped, begin + 1),
        )
    )
    return data[:begin] + middle + data[rest:]


def of_lines(data: bytes, random: Random) -> bytes:
    """One change of a line, or of what stands in it."""
    lines = data.split(b"\n")
    at, other = (random.randrange(len(lines)) for _ in range(2))
    cut = random.randint(0, len(lines[at]))
    numbers = list(_DIGITS.finditer(lines[at]))
    told = random.choice(numbers).span() if numbers else (cut, cut)
    lines[at : at + 1] = random.choice(
        (
            [],
            [lines[at][: told[0]] + _odd_number(random) + lines[at][told[1] :]],
            [lines[at], lines[other]],
            [_odd_text(random)],
            [lines[at][:cut] + _odd_text(random) + lines[at][cut:]],
            [lines[other]],
            [of_bytes(lines[at], random)],
        )
    )
    return b"\n".join(lines)


def of_json(data: bytes, random: Random) -> bytes:
    """Few changes of nodes, now and then to what no encoder writes; else of bytes."""
    try:
        holder: list[Any] = [json.loads(data)]
    except (ValueError, RecursionError):
        return of_bytes(data, random)
    for _ in range(random.randint(1, MOST_CHANGES)):
        if paths := _paths(holder):
            _change_one(holder, paths, random)
    text = json.dumps(holder[0] if holder else None)
    return text.replace(json.dumps(_MARK), random.choice(_TOKENS)).encode()


def _change_one(holder: list[Any], paths: list[Path], random: Random) -> None:
    (node, at), (other, there) = (
        _place(holder, random.choice(paths)) for _ in range(2)
    )
    # A copy, for a document that held itself could not be written.
    copied = json.loads(json.dumps(other[there]))
    change = random.randrange(4)
    if change == 0:
        del node[at]
    elif change == 1 and isinstance(node, dict):
        node[random.choice((at.swapcase(), f"{at}\0", "type", "data"))] = node.pop(at)
    else:
        node[at] = random.choice((copied, *_instead_of(node[at], random)))


def after_line(mutate: Any) -> Any:
    """The same for an input whose first line chooses what the rest is."""

    def change(data: bytes, random: Random) -> bytes:
        first, found, rest = data.partition(b"\n")
        if not found or random.randrange(8) == 0:
            return of_lines(data, random)
        changed: bytes = mutate(rest, random)
        return first + b"\n" + changed

    return change


def _instead_of(value: Any, random: Random) -> tuple[object, ...]:
    """Mostly of the same kind, so that it gets as far as the value did."""
    odd = ODD_NUMBERS if isinstance(value, int | float) else ODD_TEXTS
    return (
        *random.sample(odd, 4),
        random.choice(ODD_NUMBERS),
        random.choice(ODD_TEXTS),
        [value] * random.randint(0, 3),
        json.dumps(value),
        random.choice((None, True, [], {}, {"": None})),
        _MARK,
    )


def _place(document: Any, path: Path) -> tuple[Any, Any]:
    """What holds the node, and where it holds it."""
    *above, last = path
    for step in above:
        document = document[step]
    return document, last


def _paths(document: Any) -> list[Path]:
    """Where the nodes are, but for the outermost; the first of them where there are many."""
    found: list[Path] = []
    waiting: list[tuple[Path, Any]] = [((), document)]
    while waiting and len(found) < MOST_NODES:
        path, node = waiting.pop(0)
        steps: Any = node if isinstance(node, dict) else range(len(node))
        for step in steps:
            found.append((*path, step))
            if isinstance(node[step], dict | list):
                waiting.append(((*path, step), node[step]))
    return found


def _odd_number(random: Random) -> bytes:
    return str(random.choice((*ODD_NUMBERS, "9" * 19, "1" * 400))).encode()


def _odd_text(random: Random) -> bytes:
    return random.choice(ODD_TEXTS).encode(errors="surrogatepass")
