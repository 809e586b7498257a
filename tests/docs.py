"""Writes the tables of settings in the documents from the settings themselves.

`python -m tests.docs` rewrites what stands between the markers: in README those that a
first deployment sets, in deploy/SETTINGS.md all.
"""

from collections.abc import Collection
from pathlib import Path

from worker.settings_described import Described, described

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SETTINGS = ROOT / "deploy/SETTINGS.md"
START = "<!-- settings: `make docs` writes what follows -->\n"
END = "<!-- end of settings -->"
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


def every_variable() -> list[str]:
    return [setting.variable for setting in described()]


def tables() -> dict[Path, Collection[str]]:
    """Which document has which settings."""
    return {README: FIRST, SETTINGS: every_variable()}


def settings_table(variables: Collection[str]) -> str:
    """A Markdown table: variable, default, meaning."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [_line(each) for each in described() if each.variable in variables]
    return "\n".join(lines) + "\n"


def _line(setting: Described) -> str:
    default = " ".join(f"`{part}`" for part in setting.default.split(",") if part)
    meaning = setting.help.replace("|", "\\|")
    return f"| `{setting.variable}` | {default} | {meaning} |"


def with_settings(text: str, variables: Collection[str]) -> str:
    """The text of a document with a fresh table. Raises ValueError without its markers."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the document lacks {START.strip()!r} and {END!r}")
    return f"{before}{start}{settings_table(variables)}{end}{after}"


def main() -> None:
    for path, variables in tables().items():
        text = path.read_text(encoding="utf-8")
        path.write_text(with_settings(text, variables), encoding="utf-8")


if __name__ == "__main__":
    main()
