"""What `replay` says to type next."""

import sys
from pathlib import Path

import pytest

from worker.cli import replay


@pytest.mark.parametrize(
    ("called", "env_file", "program"),
    [
        (".venv/bin/recording-worker", None, ".venv/bin/recording-worker"),
        ("/usr/lib/worker/__main__.py", None, "recording-worker"),
        (
            "recording-worker",
            Path("my settings.env"),
            "recording-worker --env-file 'my settings.env'",
        ),
    ],
)
def test_next_command_is_that_of_this_deployment(
    monkeypatch: pytest.MonkeyPatch, called: str, env_file: Path | None, program: str
) -> None:
    """Pasted, it looks into the archive that was just written to."""
    monkeypatch.setattr(sys, "argv", [called, "replay"])

    assert replay._program(env_file) == program
