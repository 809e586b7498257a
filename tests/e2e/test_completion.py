"""Completion of the command, asked of a real shell."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.worker_process import COMMAND

PROGRAM = "recording-worker"
BASH = shutil.which("bash") or "bash"
SCRIPTS = str(Path(*COMMAND).parent)
ASKED = """
eval "$(recording-worker --show-completion)"
COMP_WORDS=({words}); COMP_CWORD={index}
_recording_worker_completion recording-worker
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def run(*command: str, home: Path, **more: str) -> str:
    """What a shell of an empty home says."""
    ended = subprocess.run(  # noqa: S603 - our own words
        command,
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": f"{SCRIPTS}:/usr/bin:/bin", "HOME": str(home), **more},
    )
    return ended.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (f"{PROGRAM} doc", ["doctor"]),
        (f"{PROGRAM} queue reb", ["rebuild"]),
        (f"{PROGRAM} doctor --endp", ["--endpoint"]),
        (f"{PROGRAM} queue list --state dea", ["dead"]),
    ],
)
def test_bash_completes(tmp_path: Path, words: str, expected: list[str]) -> None:
    """Verbs, options, and what an option takes."""
    asked = ASKED.format(words=words, index=len(words.split()) - 1)

    assert run(BASH, "-c", asked, home=tmp_path).splitlines() == expected


def test_bash_completes_in_every_shell_once_it_is_installed(tmp_path: Path) -> None:
    """A new shell knows of it."""
    install = "recording-worker --install-completion; :"
    run(BASH, "-c", install, home=tmp_path)

    told = run(BASH, "-ic", f"complete -p {PROGRAM}", home=tmp_path)

    assert told == f"complete -o default -F _recording_worker_completion {PROGRAM}\n"


@pytest.mark.parametrize(
    ("shell", "begins"),
    [("zsh", f"#compdef {PROGRAM}"), ("fish", f"complete --command {PROGRAM}")],
)
def test_script_of_another_shell_is_one(
    tmp_path: Path, shell: str, begins: str
) -> None:
    """Which shell it is for is seen by the name of who asks."""
    shutil.copy(BASH, tmp_path / shell)

    show = "recording-worker --show-completion; :"
    script = run(str(tmp_path / shell), "-c", show, home=tmp_path)

    assert script.strip().startswith(begins)
    (tmp_path / "script").write_text(script)
    if real := shutil.which(shell):
        run(real, "--no-execute", str(tmp_path / "script"), home=tmp_path)


@pytest.mark.parametrize(
    ("shell", "more"),
    [("zsh", {}), ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"})],
)
def test_script_of_another_shell_is_answered(
    tmp_path: Path, shell: str, more: dict[str, str]
) -> None:
    """As it asks: with the words so far, in the environment."""
    told = run(
        *COMMAND,
        home=tmp_path,
        _RECORDING_WORKER_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS=f"{PROGRAM} queue reb",
        **more,
    )

    assert "rebuild" in told
    assert "doctor" not in told
