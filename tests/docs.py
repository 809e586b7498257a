"""Writes the tables of settings and metrics in the documents from the code itself.

`python -m tests.docs` rewrites what stands between the markers: in README the settings that
a first deployment needs, in deploy/SETTINGS.md all, in deploy/METRICS.md the metrics.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from worker.settings_described import Described, described
from worker.telemetry import instruments
from worker.telemetry.instruments import Attribute, Instrument

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SETTINGS = ROOT / "deploy/SETTINGS.md"
METRICS = ROOT / "deploy/METRICS.md"
FIRST = (
    "AZURE_COMMUNICATION_CONNECTION_STRING",
    "AZURE_COMMUNICATION_ENDPOINT",
    "WORKER_ARCHIVE",
    "WORKER_QUEUE",
    "WORKER_INBOX",
    "WORKER_LISTEN",
    "WORKER_WEBHOOK_KEYS",
    "WORKER_DELETE_SOURCE",
    "WORKER_BLOB_IMMUTABLE_DAYS",
)
"""What README names."""


@dataclass(frozen=True, slots=True)
class Table:
    """What stands between two markers of a document."""

    name: str
    written: Callable[[], str]

    @property
    def start(self) -> str:
        return f"<!-- {self.name}: `make docs` writes what follows -->\n"

    @property
    def end(self) -> str:
        return f"<!-- end of {self.name} -->"

    def within(self, text: str) -> str:
        """The text of a document with a fresh table. Raises ValueError without markers."""
        before, start, rest = text.partition(self.start)
        _, end, after = rest.partition(self.end)
        if not start or not end:
            raise ValueError(
                f"the document lacks {self.start.strip()!r} and {self.end!r}"
            )
        return f"{before}{start}{self.written()}{end}{after}"


def every_variable() -> list[str]:
    return [setting.variable for setting in described()]


def tables() -> dict[Path, Table]:
    """Which document has which table."""
    return {
        README: Table("settings", lambda: settings_table(FIRST)),
        SETTINGS: Table("settings", lambda: settings_table(every_variable())),
        METRICS: Table("metrics", metrics_table),
    }


def settings_table(variables: Collection[str]) -> str:
    """A Markdown table: variable, default, meaning."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [_setting(each) for each in described() if each.variable in variables]
    return "\n".join(lines) + "\n"


def _setting(setting: Described) -> str:
    default = " ".join(f"`{part}`" for part in setting.default.split(",") if part)
    meaning = setting.help.replace("|", "\\|")
    return f"| `{setting.variable}` | {default} | {meaning} |"


def metrics_table() -> str:
    """A Markdown table: name, in Prometheus, kind, what it is split by, meaning."""
    lines = [
        "| metric | in Prometheus | kind | split by | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [_metric(each) for each in instruments.ALL]
    return "\n".join(lines) + "\n"


def _metric(metric: Instrument) -> str:
    unit = f", {metric.unit}" if metric.unit else ""
    by = "; ".join(map(_attribute, metric.attributes))
    names = " ".join(f"`{name}`" for name in metric.prometheus)
    cells = (f"`{metric.name}`", names, f"{metric.kind}{unit}", by, metric.description)
    return f"| {' | '.join(cells)} |"


def _attribute(attribute: Attribute) -> str:
    if not attribute.values:
        return f"`{attribute.name}`"
    return f"`{attribute.name}`: {', '.join(attribute.values)}"


def main() -> None:
    for path, table in tables().items():
        text = path.read_text(encoding="utf-8")
        path.write_text(table.within(text), encoding="utf-8")


if __name__ == "__main__":
    main()
