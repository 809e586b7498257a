"""What README says about settings is what the settings say."""

import pytest

from tests import docs


def test_settings_table_of_readme_is_fresh() -> None:
    """`make docs` mends it."""
    text = docs.README.read_text(encoding="utf-8")

    assert text == docs.with_settings(text)


def test_stale_table_is_replaced_and_the_rest_kept() -> None:
    """Only what is between the markers changes."""
    text = f"before\n{docs.START}old\n{docs.END}\nafter\n"

    fresh = docs.with_settings(text)

    assert fresh == f"before\n{docs.START}{docs.settings_table()}{docs.END}\nafter\n"
    assert "| `WORKER_MAX_CHUNKS` | `4` | chunks at once (1 to 64) |" in fresh


@pytest.mark.parametrize("text", ["", docs.START, docs.END])
def test_readme_without_markers_is_an_error(text: str) -> None:
    """A table that nobody writes would go stale unseen."""
    with pytest.raises(ValueError, match=r"README\.md lacks"):
        docs.with_settings(text)
