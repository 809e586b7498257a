"""Alert rules as Prometheus runs them over time, and promtool's files of tests for them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser as ast
import yaml

from tests.deploy.promql import NAME, Labels, Store, vector

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/monitoring/prometheus-rules.yaml"
CASES = ROOT / "deploy/monitoring/rules-test.yaml"
_SPREAD = re.compile(r"(-?[\d.]+)(?:([+-][\d.]+))?x(\d+)")


@cache
def groups() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return loaded


def rules() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"]]


@cache
def cases() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load(CASES.read_text())["tests"]
    return loaded


@dataclass(slots=True)
class _Active:
    since: float
    fires: bool = False
    over: float | None = None
    """Since when it is not true any more."""


class Watch:
    """The rules, evaluated one time after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._active: dict[tuple[int, Labels], _Active] = {}

    def look(self, now: float) -> frozenset[Labels]:
        """Evaluate all of them; what fires, each as its labels."""
        for number, rule in enumerate(rules()):
            self._evaluate(number, rule, now)
        return frozenset(key[1] for key, each in self._active.items() if each.fires)

    def _evaluate(self, number: int, rule: dict[str, Any], now: float) -> None:
        named = {"alertname": rule["alert"], **rule["labels"]}
        found = set()
        for labels in vector(rule["expr"], self._store, now):
            told = {k: v for k, v in labels if k != NAME} | named
            key = number, frozenset(told.items())
            found.add(key)
            active = self._active.setdefault(key, _Active(now))
            active.over = None
            active.fires |= now - active.since >= seconds(rule.get("for", ""))
        for key, active in list(self._active.items()):
            if key[0] == number and key not in found:
                lingers = seconds(rule.get("keep_firing_for", ""))
                active.over = now if active.over is None else active.over
                if not active.fires or now - active.over >= lingers:
                    del self._active[key]


def seconds(text: str) -> float:
    return float(ast.parse_duration(text).total_seconds()) if text else 0.0


def play(case: dict[str, Any]) -> Iterator[tuple[float, frozenset[Labels], Any]]:
    """At each time of the case: what fires, and what is expected to."""
    step = seconds(case["interval"])
    expected = {
        seconds(each["eval_time"]): frozenset(
            labels_of(sample["labels"]) for sample in each.get("exp_samples") or ()
        )
        for each in case["promql_expr_test"]
    }
    watch = Watch(store_of(case, step))
    for number in range(int(max(expected) // step) + 1):
        now = number * step
        fires = watch.look(now)
        if now in expected:
            yield now, fires, expected[now]


def store_of(case: dict[str, Any], step: float) -> Store:
    store = Store()
    for series in case["input_series"]:
        labels = _selected(series["series"])
        for number, value in enumerate(_values(series["values"])):
            if value != "_":
                told = None if value == "stale" else float(value)
                store.add(number * step, told, labels)
    return store


def labels_of(series: str) -> Labels:
    """`ALERTS{…}`, without what is the same of all that fires."""
    told = _selected(series)
    assert told.pop(NAME) == "ALERTS"
    assert told.pop("alertstate") == "firing"
    return frozenset(told.items())


def _selected(series: str) -> dict[str, str]:
    node = ast.parse(series)
    assert isinstance(node, ast.VectorSelector)
    named = {each.name: each.value for each in node.matchers.matchers}
    return {NAME: str(node.name), **named}


def _values(text: str) -> Iterator[str]:
    """`1+2x3 _x2 stale`, spelled out.

    https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
    """
    for word in text.split():
        if word.startswith("_x"):
            yield from "_" * int(word[2:])
        elif found := _SPREAD.fullmatch(word):
            first, by, times = float(found[1]), float(found[2] or 0), int(found[3])
            yield from (str(first + by * n) for n in range(times + 1))
        else:
            yield word
