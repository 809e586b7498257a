"""The command line as a whole: help, usage, failures, exit codes, start-up cost."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests import canaries
from tests.isolation import isolated_logs
from tests.unit.worker.cli.conftest import Composed, Run
from worker import __version__
from worker.__main__ import command
from worker.cli import failures
from worker.errors import ConfigError, QueueUnavailableError, SourceForbiddenError

VERBS = [
    ["serve"],
    ["webhook"],
    ["consume"],
    ["replay"],
    ["status"],
    ["config"],
    ["doctor"],
    ["pause"],
    ["resume"],
    ["queue", "list"],
    ["queue", "show"],
    ["queue", "redrive"],
    ["queue", "release"],
    ["queue", "prune"],
    ["recordings", "list"],
    ["recordings", "show"],
    ["recordings", "verify"],
    ["recordings", "audit"],
    ["recordings", "reconcile"],
    ["recordings", "export"],
    ["acs", "recording", "start"],
    ["acs", "recording", "state"],
    ["acs", "recording", "stop"],
    ["acs", "recording", "pause"],
    ["acs", "recording", "resume"],
    ["acs", "recording", "download"],
    ["acs", "recording", "delete"],
    ["acs", "room", "create"],
    ["acs", "room", "get"],
    ["acs", "room", "update"],
    ["acs", "room", "list"],
    ["acs", "room", "delete"],
    ["acs", "room", "participants", "list"],
    ["acs", "room", "participants", "add"],
    ["acs", "room", "participants", "remove"],
    ["acs", "call", "transfer"],
    ["recordings", "hold"],
    ["recordings", "unhold"],
    ["recordings", "erase"],
]


def test_help_lists_the_verbs(run: Run) -> None:
    """One screen tells what there is."""
    ended = run("--help")

    assert ended.code == 0
    listed = re.findall(r"^  ([a-z]+) ", ended.out, re.MULTILINE)
    assert {verb[0] for verb in VERBS} <= set(listed)
    assert max(len(line) for line in ended.out.splitlines()) <= 80
    assert "..." not in ended.out.split("Commands:")[1]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_of_a_verb_ends_with_an_example(run: Run, verb: list[str]) -> None:
    """The example is a command line of that verb."""
    ended = run(*verb, "--help")

    last = ended.out.strip().splitlines()[-1].strip()
    assert last.startswith("Example: recording-worker ")
    assert " ".join(verb) in last


def test_version(run: Run) -> None:
    """`--version` names the command and its version."""
    assert run("--version").out == f"recording-worker {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ([], "missing command", "recording-worker --help"),
        (["queue"], "missing command", "recording-worker queue --help"),
        (["confg"], "no such command 'confg'", "recording-worker --help"),
        (["status", "--jsno"], "no such option", "recording-worker status --help"),
        (["queue", "show"], "missing argument", "recording-worker queue show --help"),
        (
            ["queue", "list", "--state", "lost"],
            "invalid value for '--state': 'lost' is not one of 'pending', ",
            "recording-worker queue list --help",
        ),
        (
            ["recordings", "erase", "r1"],
            "missing option '--reason'. Choose from: data-subject-request, consent-",
            "recording-worker recordings erase --help",
        ),
        (
            ["recordings", "list", "--day", "tomorrow"],
            "invalid value for '--day'",
            "recording-worker recordings list --help",
        ),
    ],
)
def test_wrong_usage_is_a_line_and_a_hint(
    run: Run, arguments: list[str], error: str, hint: str
) -> None:
    """Exit 2, nothing on stdout, and the help that would have helped."""
    ended = run(*arguments)

    assert (ended.code, ended.out) == (2, "")
    first, second = ended.err.splitlines()
    assert first.startswith(f"error: {error}")
    assert second == f"hint: {hint}"


def test_failure_is_a_line_and_a_hint(run: Run, composed: Composed) -> None:
    """Exit 1, the message without a traceback, the hint of the error."""
    composed.error = SourceForbiddenError("the source says 403")

    ended = run("serve")

    assert ended.code == 1
    assert ended.err.splitlines()[-2:] == [
        "error: the source says 403",
        "hint: recording-worker config",
    ]
    assert "Traceback" not in ended.err


def test_failure_within_a_task_group_is_the_first_cause(
    run: Run, composed: Composed
) -> None:
    """Whoever reads the line should not have to know of exception groups."""
    cause = QueueUnavailableError("")
    composed.error = ExceptionGroup("tasks", [ExceptionGroup("more", [cause])])

    assert "error: queue-unavailable\n" in run("serve").err


def test_config_error_has_a_line_per_problem_and_its_own_code(
    run: Run, composed: Composed
) -> None:
    """Exit 78, so that a supervisor does not restart for ever."""
    composed.error = ConfigError(["WORKER_A: x", "WORKER_B: y"])

    ended = run("serve")

    assert ended.code == 78
    assert "error: WORKER_A: x\nerror: WORKER_B: y\nhint: " in ended.err


def test_bug_is_one_line_without_secrets(run: Run, composed: Composed) -> None:
    """What nobody expected is named with its type, redacted, and says how to see more."""
    composed.error = ValueError("cannot parse sig=hunter2 of 'hunter3'\nof hunter4")

    ended = run("serve")

    assert ended.code == 1
    assert "error: ValueError: cannot parse sig=[redacted] of …\n" in ended.err
    assert "hint: recording-worker -v VERB" in ended.err


def test_error_without_a_message_is_named_by_its_type(
    run: Run, composed: Composed
) -> None:
    """There is always something to search for."""
    composed.error = RuntimeError()

    assert "error: RuntimeError\n" in run("serve").err


def test_trouble_of_the_system_hints_at_the_settings(
    run: Run, composed: Composed
) -> None:
    """An address in use or a missing right is mended in the settings."""
    composed.error = OSError(98, "address already in use")

    assert run("serve").err.endswith("hint: recording-worker config\n")


def test_verbose_shows_the_traceback_redacted(run: Run, composed: Composed) -> None:
    """`-v` tells where, still without secrets."""
    composed.error = ValueError("sig=hunter2")

    ended = run("-v", "serve")

    assert "Traceback" in ended.err
    assert "run_serve" in ended.err
    assert "hunter2" not in ended.err


def test_interrupt_ends_with_the_code_of_a_signal(
    run: Run, composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is no failure to explain."""

    async def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["worker.serving"], "run_serve", interrupted)

    ended = run("serve")

    assert ended.code == 130
    assert "error" not in ended.err
    assert composed.calls == []


def test_help_imports_nothing_that_takes_long() -> None:
    """`--help` answers at once: no settings, no HTTP, no tables."""
    script = (
        "import sys; from worker.__main__ import main; main(['--help']);"
        "slow = {'pydantic', 'pydantic_settings', 'structlog', 'aiohttp', 'rich', 'azure',"
        " 'sqlite3'} & sys.modules.keys();"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )

    ended = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )

    assert (ended.returncode, ended.stderr) == (0, "")


def test_look_at_the_archive_imports_nothing_that_speaks_to_acs(tmp_path: Path) -> None:
    """It takes longer than all else that a short look needs."""
    script = (
        "import sys; from worker.__main__ import main;"
        "code = main(['recordings', 'list']);"
        "slow = {'aiohttp', 'azure', 'worker.app'} & sys.modules.keys();"
        "sys.exit(f'imported {slow}' if slow else code)"
    )
    there = {
        "WORKER_ARCHIVE": f"file:{tmp_path}",
        "WORKER_SOURCE_HOSTS": "127.0.0.1:7700",
    }

    ended = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | there,
    )

    assert (ended.returncode, ended.stderr) == (0, "")


def test_module_can_be_run() -> None:
    """`python -m worker` is the command."""
    ended = subprocess.run(
        [sys.executable, "-m", "worker", "--version"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert ended.stdout.startswith("recording-worker ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", f"https://a.b/?code={canaries.WEBHOOK_KEY}"),
        ("status", canaries.WEBHOOK_KEY, canaries.OTHER_KEY),
        ("status", f"--sig={canaries.LOCATION_TOKEN}"),
        ("queue", "list", "--state", f"https://a.b/?code={canaries.OTHER_KEY}"),
        ("-v", "replay", f"https://a.b/?code={canaries.OTHER_KEY}"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_mistyped_command_line_is_not_repeated_with_its_secrets(
    run: Run, arguments: tuple[str, ...]
) -> None:
    """A key that was pasted in the wrong place should not end in a build's log."""
    ended = run(*arguments)

    assert ended.code in {1, 2}
    assert ended.err.count("error: ") == 1
    assert canaries.seen(ended.out + ended.err) == []


def test_error_shows_no_secret_that_the_settings_know(
    run: Run, composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one that has no shape of a secret, in a message of our own."""
    monkeypatch.setenv("WORKER_WEBHOOK_KEYS", canaries.OTHER_KEY)
    composed.error = QueueUnavailableError(f"no {canaries.OTHER_KEY} here")

    ended = run("-v", "serve")

    assert "error: no [redacted] here\n" in ended.err
    assert canaries.seen(ended.err) == []


def test_what_a_thread_raises_is_told_like_all_else(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python would print it raw: before the logs are set up, and after."""

    def fail_in_a_thread() -> None:
        thread = threading.Thread(target=lambda: int(canaries.NICKNAME))
        thread.start()
        thread.join()

    with failures.nobody_elses():
        fail_in_a_thread()
        before = capsys.readouterr().err
        run("serve")
        fail_in_a_thread()
        after = capsys.readouterr().err

    assert "error: ValueError: invalid literal" in before
    assert '"event": "process.crashed"' in after
    assert canaries.seen(before + after) == []


@pytest.mark.parametrize("raised", [None, KeyboardInterrupt()])
def test_thread_that_was_stopped_has_nothing_to_tell(
    raised: BaseException | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Python has it."""
    with failures.nobody_elses(), isolated_logs():
        threading.excepthook(
            threading.ExceptHookArgs((KeyboardInterrupt, raised, None, None))
        )

    assert capsys.readouterr().err == ""


def test_command_is_that_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the script runs: the arguments of the process."""
    monkeypatch.setattr(sys, "argv", ["recording-worker", "--version"])

    assert command() == 0
    assert capsys.readouterr().out == f"recording-worker {__version__}\n"
