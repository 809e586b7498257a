"""As much of PromQL as our rules and panels use, evaluated as Prometheus does.

No engine of it is to be had from a Python registry. That this one agrees with the real one is
shown by deploy/monitoring/rules-test.yaml, which both of them run: `make rules` is the other.
https://prometheus.io/docs/prometheus/latest/querying/
"""

import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import promql_parser as ast

LOOKBACK_SECONDS = 300.0
NAME = "__name__"
Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Point = tuple[float, float | None]
"""When, and what; None is where the series ended."""
Value = float | Vector


@dataclass
class Store:
    """Series, as they were scraped."""

    series: dict[Labels, list[Point]] = field(default_factory=lambda: defaultdict(list))

    def add(self, at: float, value: float | None, labels: Mapping[str, str]) -> None:
        self.series[frozenset(labels.items())].append((at, value))

    def matching(self, selector: ast.VectorSelector) -> Iterator[Labels]:
        for labels in self.series:
            told = dict(labels)
            if (selector.name or told.get(NAME)) == told.get(NAME) and all(
                _is_match(each, told.get(each.name, ""))
                for each in selector.matchers.matchers
            ):
                yield labels

    def instant(self, selector: ast.VectorSelector, now: float) -> Vector:
        at = now - (selector.offset.total_seconds() if selector.offset else 0)
        found: Vector = {}
        for labels in self.matching(selector):
            last = next((p for p in reversed(self.series[labels]) if p[0] <= at), None)
            if last and last[1] is not None and last[0] > at - LOOKBACK_SECONDS:
                found[labels] = last[1]
        return found

    def range(
        self, matrix: ast.MatrixSelector, now: float
    ) -> Iterator[tuple[Labels, list[tuple[float, float]]]]:
        selector, back = matrix.vector_selector, matrix.range.total_seconds()
        for labels in self.matching(selector):
            points = [
                (at, value)
                for at, value in self.series[labels]
                if now - back <= at <= now and value is not None
            ]
            if points:
                yield labels, points


def _is_match(matcher: ast.Matcher, value: str) -> bool:
    kind = ast.MatchOp
    if matcher.op in (kind.Equal, kind.NotEqual):
        return (value == matcher.value) is (matcher.op == kind.Equal)
    is_like = re.fullmatch(matcher.value, value) is not None
    return is_like is (matcher.op == kind.Re)


@lru_cache
def parsed(expression: str) -> ast.Expr:
    return ast.parse(expression)


def evaluate(expression: ast.Expr | str, store: Store, now: float) -> Value:
    """What it is at `now`, in seconds since 1970."""
    node = parsed(expression) if isinstance(expression, str) else expression
    return _KINDS[type(node)](node, store, now)


def vector(expression: ast.Expr | str, store: Store, now: float) -> Vector:
    found = evaluate(expression, store, now)
    assert isinstance(found, dict), expression
    return found


def _binary(node: ast.BinaryExpr, store: Store, now: float) -> Value:
    left, right = evaluate(node.lhs, store, now), evaluate(node.rhs, store, now)
    name = str(node.op)
    if name in _SETS:
        assert isinstance(left, dict)
        assert isinstance(right, dict)
        return _SETS[name](left, right, _key_of(node.modifier))
    if not isinstance(left, dict) and not isinstance(right, dict):
        return float((_ARITHMETIC | _COMPARISONS)[name](left, right))
    pairs = list(_paired(left, right, _key_of(node.modifier)))
    if name in _ARITHMETIC:
        compute = _ARITHMETIC[name]
        return {_unnamed(labels): compute(a, b) for labels, a, b in pairs}
    holds, is_left = _COMPARISONS[name], isinstance(left, dict)
    return {labels: a if is_left else b for labels, a, b in pairs if holds(a, b)}


def _paired(
    left: Value, right: Value, key: Callable[[Labels], Labels]
) -> Iterator[tuple[Labels, float, float]]:
    """A number stands beside each; two vectors go together by their keys, one to one."""
    if not isinstance(left, dict):
        assert isinstance(right, dict)
        yield from ((labels, left, value) for labels, value in right.items())
    elif not isinstance(right, dict):
        yield from ((labels, value, right) for labels, value in left.items())
    else:
        others = {key(labels): value for labels, value in right.items()}
        for labels, value in left.items():
            if key(labels) in others:
                yield labels, value, others[key(labels)]


def _key_of(modifier: ast.BinModifier | None) -> Callable[[Labels], Labels]:
    matching = modifier.matching if modifier else None
    if matching is None:
        return _unnamed
    names = set(matching.labels)
    is_on = matching.type == ast.LabelModifierType.Include
    return lambda labels: frozenset(
        pair for pair in labels if (pair[0] in names) is is_on and pair[0] != NAME
    )


def _or(left: Vector, right: Vector, key: Callable[[Labels], Labels]) -> Vector:
    known = set(map(key, left))
    return left | {k: v for k, v in right.items() if key(k) not in known}


def _and(left: Vector, right: Vector, key: Callable[[Labels], Labels]) -> Vector:
    known = set(map(key, right))
    return {k: v for k, v in left.items() if key(k) in known}


def _unless(left: Vector, right: Vector, key: Callable[[Labels], Labels]) -> Vector:
    known = set(map(key, right))
    return {k: v for k, v in left.items() if key(k) not in known}


def _aggregate(node: ast.AggregateExpr, store: Store, now: float) -> Value:
    names = set(node.modifier.labels) if node.modifier else set()
    is_by = node.modifier is None or node.modifier.type == ast.AggModifierType.By
    groups: dict[Labels, list[float]] = defaultdict(list)
    for labels, value in vector(node.expr, store, now).items():
        kept = (p for p in labels if p[0] != NAME and (p[0] in names) is is_by)
        groups[frozenset(kept)].append(value)
    compute = _AGGREGATIONS[str(node.op)]
    return {labels: float(compute(values)) for labels, values in groups.items()}


def _call(node: ast.Call, store: Store, now: float) -> Value:
    name = node.func.name
    if name == "time":
        return now
    if name == "absent":
        return {} if vector(node.args[0], store, now) else {_told(node.args[0]): 1.0}
    over = _OVER_TIME[name]
    found: Vector = {}
    matrix = node.args[0]
    for labels, points in store.range(matrix, now):
        value = over(points, matrix.range.total_seconds(), now)
        if value is not None:
            found[_unnamed(labels)] = value
    return found


def _told(node: ast.Expr) -> Labels:
    """Of a plain selector, absent() keeps the labels that are equal to something."""
    if not isinstance(node, ast.VectorSelector):
        return frozenset()
    return frozenset(
        (m.name, m.value)
        for m in node.matchers.matchers
        if m.op == ast.MatchOp.Equal and m.name != NAME
    )


def increase(
    points: list[tuple[float, float]], back: float, now: float
) -> float | None:
    """Prometheus' extrapolation: to the edges of the window, but not far beyond a series' own."""
    if len(points) < 2:
        return None
    (first_at, first), (last_at, last) = points[0], points[-1]
    grown = last - first + sum(a[1] for a, b in pairwise(points) if b[1] < a[1])
    sampled = last_at - first_at
    apart = sampled / (len(points) - 1)
    before, after = first_at - (now - back), now - last_at
    if grown > 0 and first >= 0:
        before = min(before, sampled * first / grown)
    near = apart * 1.1
    span = sampled
    span += before if before < near else apart / 2
    span += after if after < near else apart / 2
    return grown * span / sampled


def _rate(points: list[tuple[float, float]], back: float, now: float) -> float | None:
    grown = increase(points, back, now)
    return None if grown is None else grown / back


def _max_over(points: list[tuple[float, float]], _back: float, _now: float) -> float:
    return max(value for _, value in points)


def _unnamed(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != NAME)


_SETS = {"or": _or, "and": _and, "unless": _unless}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "max": max,
    "min": min,
    "count": len,
}
_OVER_TIME: dict[
    str, Callable[[list[tuple[float, float]], float, float], float | None]
] = {"increase": increase, "rate": _rate, "max_over_time": _max_over}
_KINDS: dict[type, Callable[[Any, Store, float], Value]] = {
    ast.BinaryExpr: _binary,
    ast.AggregateExpr: _aggregate,
    ast.Call: _call,
    ast.ParenExpr: lambda node, store, now: evaluate(node.expr, store, now),
    ast.NumberLiteral: lambda node, _store, _now: float(node.val),
    ast.VectorSelector: lambda node, store, now: store.instant(node, now),
}


def walk(node: ast.Expr) -> Iterator[ast.Expr]:
    """It, and all that is in it."""
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector", "args"):
        found = getattr(node, name, None)
        parts: Iterable[ast.Expr | None] = found if isinstance(found, list) else [found]
        for part in parts:
            if isinstance(part, ast.Expr):
                yield from walk(part)
