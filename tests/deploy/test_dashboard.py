"""The dashboard asks for what is measured, and is a file that people can read and import."""

import json
import re
from typing import Any

import pytest

from tests import runbook
from tests.deploy import rules, vocabulary
from worker.telemetry import instruments

DASHBOARD = rules.ROOT / "deploy/monitoring/dashboard.json"
COLUMNS = 24
UNITS = {"short", "s", "Bps", "reqps", "ops"}
"""Of Grafana's, those whose axis says what it is."""
NOT_SHOWN = {
    "recording_worker.callbacks": "lines of the log; no recording hangs on them",
    "recording_worker.subscriptions.deleted": "an alert, and then it is over",
}
_VARIABLES = {"$__rate_interval": "5m"}


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    return [each for each in dashboard()["panels"] if each["type"] != "row"]


def title_of(panel: dict[str, Any]) -> str:
    return str(panel["title"])


def expressions(panel: dict[str, Any]) -> list[str]:
    return [plain(each["expr"]) for each in panel["targets"]]


def plain(expression: str) -> str:
    """As Grafana would send it."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def variables() -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in dashboard()["templating"]["list"]}


def test_file_is_written_in_one_way() -> None:
    """So that a change shows what was changed."""
    text = json.dumps(dashboard(), indent=2, sort_keys=True, ensure_ascii=False)

    assert DASHBOARD.read_text() == f"{text}\n"
    assert dashboard()["id"] is None


def test_first_row_says_whether_recordings_are_safe() -> None:
    """Whoever is woken looks there."""
    rows = [each["title"] for each in dashboard()["panels"] if each["type"] == "row"]
    first = [title_of(each) for each in panels()[:5]]

    assert rows == ["Are recordings safe?", "Receiving", "Bringing home", "Queue"]
    assert first == ["First loss in", "At risk", "Dead", "Paused", "Last look"]


@pytest.mark.parametrize("panel", panels(), ids=title_of)
def test_panel_asks_for_what_is_measured(panel: dict[str, Any]) -> None:
    """Names, labels and their values."""
    assert expressions(panel)
    for expression in expressions(panel):
        assert vocabulary.unknown(expression) == []


@pytest.mark.parametrize("panel", panels(), ids=title_of)
def test_panel_can_be_read(panel: dict[str, Any]) -> None:
    """It says what it shows, in a unit, and a stat when it is bad."""
    defaults = panel["fieldConfig"]["defaults"]

    assert panel["description"].endswith(".")
    assert defaults["unit"] in UNITS
    assert panel["datasource"]["uid"] == "${datasource}"
    if any("_seconds" in each for each in expressions(panel)):
        assert defaults["unit"] == "s"
    if panel["type"] == "stat":
        assert len(defaults["thresholds"]["steps"]) > 1
        assert defaults["noValue"]


@pytest.mark.parametrize("panel", panels()[:5], ids=title_of)
def test_stat_that_has_no_number_has_a_colour_of_its_own(panel: dict[str, Any]) -> None:
    """Grafana gives it that of the lowest threshold: a green "nobody tells", and red for nothing.

    https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/field/displayProcessor.ts
    """
    defaults = panel["fieldConfig"]["defaults"]
    (empty,) = [
        each["options"]["result"]
        for each in defaults["mappings"]
        if each["type"] == "special" and each["options"]["match"] == "null+nan"
    ]

    assert empty["text"] == defaults["noValue"]
    assert empty["color"] != defaults["thresholds"]["steps"][0]["color"]


def test_all_jobs_are_those_of_the_worker() -> None:
    """Processes counts `up`, which everything has that Prometheus scrapes."""
    everything = re.compile(variables()["job"]["allValue"])
    ours = ("recording-worker", "recording-worker-webhook", "recording-worker-consumer")

    assert all(everything.fullmatch(each) for each in ours)
    assert not everything.fullmatch("node")


@pytest.mark.parametrize("panel", panels(), ids=title_of)
def test_legend_shows_labels_that_are_there(panel: dict[str, Any]) -> None:
    """One that is not would be shown as braces."""
    for target in panel["targets"]:
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        grouped = set(
            re.findall(r"\w+", "".join(re.findall(r"by \((.*?)\)", target["expr"])))
        )

        assert shown == grouped - {"le"} or not grouped


def test_every_metric_is_shown_or_explained() -> None:
    """A new one has its place."""
    asked = " ".join(each for panel in panels() for each in expressions(panel))
    unseen = {
        metric.name
        for metric in instruments.ALL
        if not any(name in asked for name in metric.prometheus)
    }

    assert unseen == NOT_SHOWN.keys()


def test_queue_is_never_counted_twice() -> None:
    """All processes say the same of what they share."""
    shared = re.compile(
        r"sum[^(]*(?:by \([^)]*\) )?\(recording_worker_(?:queue|paused)"
    )

    assert not any(map(shared.search, DASHBOARD.read_text().splitlines()))


def test_links_lead_to_headings() -> None:
    """Of the runbook, wherever its copy is."""
    text = runbook.RUNBOOK.read_text()
    slugs = {
        re.sub(r"[^a-z0-9_ -]", "", each.lower()).replace(" ", "-")
        for each in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    urls = re.findall(r'"url": "([^"]+)"', DASHBOARD.read_text())

    assert len(urls) > 10
    for url in urls:
        base, _, slug = url.partition("#")
        assert base == "${runbook}"
        assert slug in slugs


def test_variables_are_those_that_are_used() -> None:
    """Data source, job and instance; and where the runbook is."""
    used = set(re.findall(r"\$\{?([a-z]+)\b", DASHBOARD.read_text()))

    assert variables().keys() == used == {"datasource", "job", "instance", "runbook"}
    assert variables()["datasource"]["query"] == "prometheus"
    for name in ("job", "instance"):
        asked = re.fullmatch(
            r"label_values\((.*), (\w+)\)", variables()[name]["query"]["query"]
        )
        assert asked
        assert vocabulary.unknown(asked[1]) == []
        assert asked[2] == name


def test_panels_stand_beside_each_other() -> None:
    """None hides another."""
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells
    identities = [panel["id"] for panel in dashboard()["panels"]]
    assert identities == list(range(1, len(identities) + 1))
