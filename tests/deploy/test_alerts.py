"""Azure Monitor's alerts: what they ask exists, and each leads to its heading."""

import re

import pytest
import tree_sitter
import tree_sitter_bicep

from tests import runbook
from tests.deploy import rules
from worker import log

ALERTS = rules.ROOT / "deploy/azure/alerts.bicep"
METRICS = {
    # https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-eventgrid-systemtopics-metrics
    "Microsoft.EventGrid/systemTopics": {
        "AdvancedFilterEvaluationCount": "Total",
        "DeadLetteredCount": "Total",
        "DeliveryAttemptFailCount": "Total",
        "DeliverySuccessCount": "Total",
        "DroppedEventCount": "Total",
        "MatchedEventCount": "Total",
        "PublishFailCount": "Total",
        "PublishSuccessCount": "Total",
    },
    # https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-app-containerapps-metrics
    "Microsoft.App/containerapps": {"Replicas": "Maximum"},
    # https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-storage-storageaccounts-metrics
    "Microsoft.Storage/storageAccounts": {"Availability": "Average"},
}
FREQUENCIES = ("PT5M", "PT10M", "PT15M", "PT30M", "PT1H")
WINDOWS = (*FREQUENCIES, "PT45M", "PT6H", "P1D")
"""Of those that both kinds of rules may have, what we use."""
COLUMNS = {"TimeGenerated", "Log_s"}
"""https://learn.microsoft.com/azure/container-apps/log-monitoring"""
FROM_AZURE_ALONE = {"RecordingEventsDropped", "RecordingEventsDeadLettered"}
_ROW = re.compile(r"^([a-z]+\.[a-z_]+) \| [^|]* \| ?(.*)$", re.MULTILINE)


def text_of_alerts() -> str:
    return ALERTS.read_text()


def blocks() -> list[str]:
    """Each alert's own lines."""
    return re.findall(r"\n  \{\n(    alert: .*?)\n  \}", text_of_alerts(), re.DOTALL)


def value(block: str, name: str) -> str:
    found = re.search(rf"^    {name}: '?(.*?)'?$", block, re.MULTILINE)
    assert found, (name, block)
    return found[1]


def metric_blocks() -> list[str]:
    return [each for each in blocks() if "    metric: " in each]


def log_blocks() -> list[str]:
    return [each for each in blocks() if "    query: " in each]


def query_of(block: str) -> str:
    return block.partition("query: '''\n")[2].partition("'''")[0]


def name_of(block: str) -> str:
    return value(block, "alert")


def logged() -> dict[str, set[str]]:
    """The fields of each event, by the table of worker/log.py."""
    fields: dict[str, set[str]] = {}
    for event, names in _ROW.findall(log.__doc__ or ""):
        fields.setdefault(event, {"level", "ts"}).update(
            name.strip().split(" ")[0] for name in names.split(",")
        )
    return fields


def test_alerts_are_bicep() -> None:
    """As far as its grammar tells."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))

    assert not parser.parse(text_of_alerts().encode()).root_node.has_error
    assert len(metric_blocks()) + len(log_blocks()) == text_of_alerts().count(
        "\n    alert: "
    )


def test_every_alert_is_a_heading_and_every_heading_an_alert() -> None:
    """Whoever tells of it, the name is the same."""
    in_azure = {name_of(each) for each in blocks()}
    in_prometheus = {rule["alert"] for rule in rules.rules()}
    part = runbook.part_of("Alerts")
    headings = re.findall(r"^### (.+)$", part, re.MULTILINE)

    assert set(headings) == in_azure | in_prometheus
    assert len(headings) == len(set(headings))
    assert in_azure - in_prometheus == FROM_AZURE_ALONE
    assert in_prometheus - in_azure == set()


def test_every_heading_says_what_how_long_and_what_to_type() -> None:
    """In the order in which it is needed."""
    for text in runbook.part_of("Alerts").split("\n### ")[1:]:
        places = [text.find(f"**{word}") for word in ("Meaning", "Loss in", "Check")]
        assert -1 not in places, text
        assert places == sorted(places), text
        assert "**Fix.**" in text or "**fix.**" in text, text
        assert "\n```sh\n" in text, text


def test_links_are_made_of_the_name() -> None:
    """GitHub's name for a heading is the alert's in lower case."""
    text = text_of_alerts()

    assert text.count("#${toLower(each.alert)}'") == text.count(" = [for each in ") == 2


@pytest.mark.parametrize("block", metric_blocks(), ids=name_of)
def test_metric_is_one_of_the_resource(block: str) -> None:
    """With the aggregation that it has, and more than a moment."""
    metrics = METRICS[value(block, "namespace")]

    assert metrics[value(block, "metric")] == value(block, "aggregation")
    assert value(block, "operator") in {"GreaterThan", "LessThan"}
    assert value(block, "frequency") in FREQUENCIES
    assert value(block, "window") in WINDOWS


@pytest.mark.parametrize("block", log_blocks(), ids=name_of)
def test_query_asks_for_what_is_logged(block: str) -> None:
    """Events and fields are those of worker/log.py."""
    query, known = query_of(block), logged()
    events = set(re.findall(r"'([a-z]+\.[a-z_]+)'", query))
    fields = set(re.findall(r"\bline\.(\w+)", query))

    assert events
    assert events - known.keys() == set()
    assert fields - set().union(*(known[each] for each in events)) == set()
    assert value(block, "frequency") in FREQUENCIES
    assert value(block, "window") in WINDOWS


@pytest.mark.parametrize("block", log_blocks(), ids=name_of)
def test_query_gives_one_row_that_counts(block: str) -> None:
    """Also where nothing was logged, or absence could not ring."""
    query = query_of(block)
    (last,) = query.strip().splitlines()[-1:]

    assert query.startswith("lines\n")
    assert re.search(r"^\| summarize (?!.*\bby\b)", query, re.MULTILINE)
    assert last.startswith(("| summarize found = ", "| project found = "))
    assert "metricMeasureColumn: 'found'" in text_of_alerts()


def test_lines_are_those_of_container_apps() -> None:
    """The table of an environment that logs to Log Analytics itself, and no other column."""
    prelude = text_of_alerts().partition("var lines = '''")[2].partition("'''")[0]

    assert "ContainerAppConsoleLogs_CL" in prelude
    assert set(re.findall(r"\b\w+_s\b|\bTimeGenerated\b", prelude)) == COLUMNS
    environment = (ALERTS.parent / "environment.bicep").read_text()
    assert "destination: 'log-analytics'" in environment


def test_the_check_says_what_its_absence_is_seen_by() -> None:
    """Only --verbose logs that a check was made."""
    jobs = (ALERTS.parent / "jobs.bicep").read_text()

    assert re.search(r"'--verbose'\s+'status'\s+'--check'", jobs)
