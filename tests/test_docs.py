"""What documents say about settings is what the settings say."""

from pathlib import Path

import pytest

from tests import docs


@pytest.mark.parametrize("document", docs.tables(), ids=lambda path: path.name)
def test_settings_table_is_fresh(document: Path) -> None:
    """`make docs` mends it."""
    text = document.read_text(encoding="utf-8")

    assert text == docs.with_settings(text, docs.tables()[document])


def test_settings_of_a_first_deployment_exist() -> None:
    """A name that is none would be left out unseen."""
    assert set(docs.FIRST) <= set(docs.every_variable())


def test_stale_table_is_replaced_and_the_rest_kept() -> None:
    """Only what is between the markers changes, and only the settings that were asked for."""
    text = f"before\n{docs.START}old\n{docs.END}\nafter\n"

    fresh = docs.with_settings(text, ["WORKER_MAX_CHUNKS"])

    assert fresh == (
        f"before\n{docs.START}| variable | default | meaning |\n|---|---|---|\n"
        f"| `WORKER_MAX_CHUNKS` | `4` | chunks at once (1 to 64) |\n{docs.END}\nafter\n"
    )


@pytest.mark.parametrize("text", ["", docs.START, docs.END])
def test_document_without_markers_is_an_error(text: str) -> None:
    """A table that nobody writes would go stale unseen."""
    with pytest.raises(ValueError, match=r"the document lacks"):
        docs.with_settings(text, docs.FIRST)
