"""Writes the settings table of README from the settings themselves.

`python -m tests.docs` rewrites what stands between the markers.
"""

from pathlib import Path

from worker.settings_described import Described, described

README = Path(__file__).parents[1] / "README.md"
START = "<!-- settings: `make docs` writes what follows -->\n"
END = "<!-- end of settings -->"


def settings_table() -> str:
    """A Markdown table: variable, default, meaning."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [_line(setting) for setting in described()]
    return "\n".join(lines) + "\n"


def _line(setting: Described) -> str:
    default = " ".join(f"`{part}`" for part in setting.default.split(",") if part)
    meaning = setting.help.replace("|", "\\|")
    return f"| `{setting.variable}` | {default} | {meaning} |"


def with_settings(text: str) -> str:
    """The text of README with a fresh table. Raises ValueError without its markers."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"README.md lacks the lines {START.strip()!r} and {END!r}")
    return f"{before}{start}{settings_table()}{end}{after}"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    README.write_text(with_settings(text), encoding="utf-8")


if __name__ == "__main__":
    main()
