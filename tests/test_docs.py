"""What documents say about settings and metrics is what the code says."""

import re
from pathlib import Path

import pytest

from tests import docs
from worker.telemetry import instruments, tracing

TABLE = docs.Table("settings", lambda: docs.settings_table(["WORKER_MAX_CHUNKS"]))


@pytest.mark.parametrize("document", docs.tables(), ids=lambda path: path.name)
def test_table_is_fresh(document: Path) -> None:
    """`make docs` mends it."""
    text = document.read_text(encoding="utf-8")

    assert text == docs.tables()[document].within(text)


def test_settings_of_a_first_deployment_exist() -> None:
    """A name that is none would be left out unseen."""
    assert set(docs.FIRST) <= set(docs.every_variable())


def test_every_metric_has_its_line() -> None:
    """Under the name that the code gives it."""
    lines = docs.metrics_table().splitlines()[2:]

    assert [line.split("`")[1] for line in lines] == [
        each.name for each in instruments.ALL
    ]
    assert {line.count(" | ") for line in lines} == {4}


def test_stale_table_is_replaced_and_the_rest_kept() -> None:
    """Only what is between the markers changes, and only the settings that were asked for."""
    text = f"before\n{TABLE.start}old\n{TABLE.end}\nafter\n"

    fresh = TABLE.within(text)

    assert fresh == (
        f"before\n{TABLE.start}| variable | default | meaning |\n|---|---|---|\n"
        f"| `WORKER_MAX_CHUNKS` | `4` | chunks at once (1 to 64) |\n{TABLE.end}\nafter\n"
    )


@pytest.mark.parametrize("text", ["", TABLE.start, TABLE.end])
def test_document_without_markers_is_an_error(text: str) -> None:
    """A table that nobody writes would go stale unseen."""
    with pytest.raises(ValueError, match=r"the document lacks"):
        TABLE.within(text)


def test_every_span_has_its_line() -> None:
    """A name in a trace is one that can be looked up."""
    table = docs.METRICS.read_text().partition("## Traces")[2]
    told = set(re.findall(r"`([a-z]+)`", table))
    sources = [*docs.ROOT.glob("worker/**/*.py"), *docs.ROOT.glob("handlers/*.py")]
    named = {
        name
        for path in sources
        for name in re.findall(
            r'(?:\.step\(|start_span\(|\.below\([\w.]+,)\s*"(\w+)"', path.read_text()
        )
    }

    assert len(named) > 6
    assert named - told == set()
    assert f"`{tracing.ANNOUNCED}`" in table
    assert f"`{tracing.ANNOUNCED_AGAIN}`" in table
