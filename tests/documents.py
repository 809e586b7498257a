"""Our documents, and what can be held against the code in them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob("samples/**/*.md")]
)
_FENCED = re.compile(r"^ *```([a-z]*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def named(path: Path) -> str:
    """What a test about a document is called."""
    return str(path.relative_to(ROOT))


def links(document: Path) -> Iterator[str]:
    """Where a document leads to on this host: paths and headings."""
    for target in _LINK.findall(_unfenced(document)):
        if not target.startswith(("https://", "http://", "mailto:")):
            yield target


def leads_somewhere(document: Path, target: str) -> bool:
    """Whether a link has its file, and in it its heading."""
    path, _, heading = target.partition("#")
    file = document.parent / path if path else document
    return file.exists() and (not heading or heading in headings(file))


def headings(document: Path) -> set[str]:
    """As GitHub names them."""
    found = _HEADING.findall(_unfenced(document))
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in found}


def shell_blocks(document: Path) -> Iterator[str]:
    """What is to be pasted into a shell."""
    for language, block in _FENCED.findall(document.read_text()):
        if language in {"sh", "bash", "shell"}:
            yield block


def codes(document: Path) -> Iterator[str]:
    """What is set in code within a line."""
    yield from _CODE.findall(_unfenced(document))


def words_to_read(document: Path) -> int:
    """How many there are in sentences: without tables, pictures and what is to be typed."""
    lines = _unfenced(document).splitlines()
    prose = [line for line in lines if not line.lstrip().startswith(("|", "![", "<!"))]
    text = re.sub(r"\]\([^)]*\)", "]", "\n".join(prose))
    return len([word for word in text.split() if re.search(r"\w", word)])


def _unfenced(document: Path) -> str:
    return _FENCED.sub("", document.read_text())
