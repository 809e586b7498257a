"""What may be asked of Prometheus: our metrics by the code's own table, and a few of others."""

from collections.abc import Iterator

import promql_parser as ast

from tests.deploy.promql import parsed, walk
from worker.telemetry import instruments
from worker.telemetry.instruments import Attribute, Kind

TARGET = {"job", "instance", "namespace", "cluster", "pod"}
"""What Prometheus, or its operator, says of what it scraped."""
FOREIGN: dict[str, set[str]] = {
    "up": set(),
    # https://github.com/kubernetes/kube-state-metrics/blob/main/docs/metrics/workload/cronjob-metrics.md
    "kube_cronjob_status_last_successful_time": {"cronjob"},
    # https://github.com/prometheus/node_exporter, collector systemd
    "node_systemd_timer_last_trigger_seconds": {"name"},
}


def unknown(expression: str) -> list[str]:
    """What of an expression nobody measures."""
    return list(_unknown(parsed(expression)))


def _unknown(node: ast.Expr) -> Iterator[str]:
    asked: set[str] = set()
    for each in walk(node):
        if isinstance(each, ast.VectorSelector):
            labels = _labels_of(str(each.name))
            asked |= labels.keys()
            if not labels:
                yield f"no such metric: {each.name}"
            yield from _wrong_matchers(each, labels)
    for each in walk(node):
        modifier = getattr(each, "modifier", None)
        grouped = getattr(modifier, "matching", modifier)
        for label in getattr(grouped, "labels", None) or ():
            if label not in asked:
                yield f"no such label: {label}"


def _wrong_matchers(
    node: ast.VectorSelector, labels: dict[str, tuple[str, ...]]
) -> Iterator[str]:
    for each in node.matchers.matchers:
        values = labels.get(each.name)
        if values is None:
            yield f"no such label: {node.name}{{{each.name}}}"
        elif values and not set(each.value.split("|")) <= set(values):
            yield f"no such value: {node.name}{{{each.name}={each.value}}}"


def _labels_of(name: str) -> dict[str, tuple[str, ...]]:
    """Its labels, each with its values if there is a list; nothing: no such metric."""
    always: dict[str, tuple[str, ...]] = dict.fromkeys(TARGET, ())
    if name in FOREIGN:
        return always | dict.fromkeys(FOREIGN[name], ())
    for each in instruments.ALL:
        if name in each.prometheus:
            own = {attribute.name: _values(attribute) for attribute in each.attributes}
            is_bucket = each.kind is Kind.HISTOGRAM and name.endswith("_bucket")
            return always | own | ({"le": ()} if is_bucket else {})
    return {}


def _values(attribute: Attribute) -> tuple[str, ...]:
    return attribute.values
