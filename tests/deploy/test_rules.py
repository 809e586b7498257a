"""The alert rules ring when something is wrong, and at no other time."""

import re
from typing import Any

import pytest
import yaml

from tests import runbook
from tests.deploy import promql, rules, vocabulary
from tests.deploy.promql import Labels


@pytest.mark.parametrize("case", rules.cases(), ids=lambda case: str(case["name"]))
def test_rules_ring_as_the_cases_say(case: dict[str, Any]) -> None:
    """All that fires, so that a false alarm is seen."""
    for now, fires, expected in rules.play(case):
        assert set(map(in_order, fires)) == set(map(in_order, expected)), now


def in_order(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels))


def test_every_rule_is_seen_to_ring() -> None:
    """One that never fires in a test may never fire."""
    expected = {
        (told["alertname"], told["severity"], told.get("part"))
        for case in rules.cases()
        for each in case["promql_expr_test"]
        for sample in each["exp_samples"]
        for told in [dict(rules.labels_of(sample["labels"]))]
    }
    known = {
        (rule["alert"], rule["labels"]["severity"], rule["labels"].get("part"))
        for rule in rules.rules()
    }

    assert known == expected


@pytest.mark.parametrize("rule", rules.rules(), ids=lambda rule: str(rule["alert"]))
def test_rule_asks_for_what_is_measured(rule: dict[str, Any]) -> None:
    """Names, labels and their values; of ours as of what tells from outside."""
    assert vocabulary.unknown(rule["expr"]) == []


@pytest.mark.parametrize("rule", rules.rules(), ids=lambda rule: str(rule["alert"]))
def test_rule_leads_to_its_heading(rule: dict[str, Any]) -> None:
    """From the page at three in the morning."""
    url = rule["annotations"]["runbook_url"]

    assert url.startswith("https://RUNBOOK.EXAMPLE/RUNBOOK.md#")
    assert url.rpartition("#")[2] == rule["alert"].lower()
    assert f"\n### {rule['alert']}\n" in runbook.RUNBOOK.read_text()
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]


def test_queries_of_annotations_ask_for_what_is_measured() -> None:
    """`{{ with query "…" }}` says how much time is left."""
    text = rules.RULES.read_text()
    queries = re.findall(r'query "([^"]+)"', text)

    assert len(queries) > 3
    assert [each for each in queries if vocabulary.unknown(each)] == []


def test_rules_are_a_resource_of_the_operator_by_the_lines_of_their_head() -> None:
    """So that there is no copy of them that grows old."""
    text = rules.RULES.read_text()
    printed = "".join(re.findall(r"printf '(.*)'", text)).replace("\\n", "\n")
    resource = yaml.safe_load(printed + re.sub(r"(?m)^", "  ", text))

    assert resource["kind"] == "PrometheusRule"
    assert resource["spec"]["groups"] == rules.groups()


def test_names_are_those_of_what_is_deployed() -> None:
    """A rule that misses a job of another name would ring for ever, and be silenced."""
    deployed = rules.ROOT / "deploy"
    text = rules.RULES.read_text()
    jobs = yaml.safe_load_all((deployed / "kubernetes/jobs.yaml").read_text())
    names = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in jobs}
    timers = {each.name for each in (deployed / "systemd").glob("*.timer")}
    asked = re.findall(r'namespace="(.+?)",cronjob="(.+?)"', text)

    assert set(asked) == {("recordings", "check")}
    assert set(asked) <= names
    assert set(re.findall(r'seconds\{name="(.+?)"', text)) <= timers


def test_scraped_jobs_are_those_that_the_rules_ask_for() -> None:
    """By the components of deploy/kubernetes."""
    path = rules.RULES.parent / "prometheus.yaml"
    (scraping,) = yaml.safe_load(path.read_text())["scrape_configs"]
    (renaming,) = [
        each
        for each in scraping["relabel_configs"]
        if each.get("target_label") == "job"
    ]
    asked = re.findall(r'job=~"(.+?)"', rules.RULES.read_text())

    for component in ("webhook", "consumer"):
        pod = (rules.ROOT / f"deploy/kubernetes/{component}.yaml").read_text()
        assert f"app.kubernetes.io/component: {component}\n" in pod
        job = renaming["replacement"].replace("$1", component)
        assert any(re.fullmatch(each, job) for each in asked)


@pytest.mark.parametrize(
    "expression",
    [
        "recording_worker_queue_atrisk",
        'recording_worker_queue_chunks{state="died"}',
        'recording_worker_queue_chunks{phase="dead"}',
        "max by (phase) (recording_worker_queue_chunks)",
        "no_metric_of_ours",
    ],
)
def test_what_is_not_measured_is_found(expression: str) -> None:
    """A test that finds nothing would find nothing wrong."""
    assert vocabulary.unknown(expression) != []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("increase(c[5m])", 5.0),
        ("rate(c[5m])", 5 / 300),
        ("increase(late[10m])", 3.5),
        ("max_over_time(c[5m])", 10.0),
        ("sum(c) / count(c)", 10.0),
        ("min(c) - 1 * 2", 8.0),
        ("time() - c", 590.0),
        ("c + on () c", 20.0),
        ("c offset 5m", 5.0),
        ('absent(c{x="y"})', 1.0),
        ("(c >= 10) and (c <= 10) and (c != 9)", 10.0),
        ("5 < c", 10.0),
    ],
)
def test_evaluator_computes_as_prometheus(expression: str, expected: float) -> None:
    """With the numbers that `promtool test rules` gives."""
    store = promql.Store()
    for minute in range(11):
        store.add(minute * 60, minute, {"__name__": "c"})
    for minute, value in ((3, 1), (4, 2), (5, 3)):
        store.add(minute * 60, value, {"__name__": "late"})
    found = promql.vector(expression, store, 600)

    assert list(found.values()) == [pytest.approx(expected)]
