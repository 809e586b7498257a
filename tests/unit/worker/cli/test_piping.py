"""Standard output whose reader leaves, and one that can't be written."""

import errno
import io
import os
import sys
from contextlib import suppress

import pytest

from tests.isolation import isolated_logs
from tests.unread import nobody_reads
from worker.__main__ import main
from worker.cli import piping
from worker.cli.piping import OutputError

MORE_THAN_A_BUFFER = 2000


class Full(io.StringIO):
    """A disk without space."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def say_a_line() -> None:
    sys.stdout.write("a line\n")
    sys.stdout.flush()


def say_what_was_found() -> None:
    piping.end_with(3)
    say_a_line()


def test_reader_that_left_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the code that shells give to SIGPIPE, and nothing is left to fail at the exit."""
    with nobody_reads() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended, piping.readers_may_leave():
            say_a_line()

        assert sys.stdout is stream
        stream.flush()

    assert ended.value.code == 141


def test_what_was_found_is_no_secret_of_the_reader_that_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A script that asks for the code learns of it, whoever had seen enough."""
    with nobody_reads() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended, piping.readers_may_leave():
            say_what_was_found()

    assert ended.value.code == 3


@pytest.mark.parametrize("by_line", [False, True])
@pytest.mark.usefixtures("home", "composed")
def test_code_of_a_command_outlives_its_reader(
    monkeypatch: pytest.MonkeyPatch, *, by_line: bool
) -> None:
    """Who left is met at the very end of a few lines, or at the first of many."""
    monkeypatch.delenv("AZURE_COMMUNICATION_CONNECTION_STRING")
    with nobody_reads(buffering=1 if by_line else -1) as stream, isolated_logs():
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended, piping.readers_may_leave():
            main(["config", "--for", "serve"])

    assert ended.value.code == 78


def test_output_that_can_not_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk is no reader that has seen enough: somebody has to be told."""
    monkeypatch.setattr(sys, "stdout", Full())
    told = pytest.raises(
        OutputError, match=r"^write error on standard output: No space left on device$"
    )

    with told, piping.readers_may_leave():
        say_a_line()


def test_failure_that_was_passed_over_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Libraries try a stream out; what is written then must not seem written."""
    monkeypatch.setattr(sys, "stdout", Full())

    with piping.readers_may_leave():
        with suppress(OutputError):
            sys.stdout.flush()
        with pytest.raises(OutputError):
            sys.stdout.write("a line\n")


def test_output_is_the_stream_in_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks whether it is a terminal learns what the stream says."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)

    with piping.readers_may_leave():
        sys.stdout.write("a line\n")
        assert not sys.stdout.isatty()

    assert stream.getvalue() == "a line\n"


def test_process_without_standard_output_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `>&-` starts one."""
    monkeypatch.setattr(sys, "stdout", None)

    with piping.readers_may_leave():
        say_a_line()


def test_words_that_nobody_reads_cost_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `2>&1 | head`: the command goes on, and nothing is left to fail at its exit."""
    with nobody_reads() as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with piping.readers_may_leave():
            sys.stderr.write("a hint\n")
            sys.stderr.flush()
            sys.stderr.write("another\n" * MORE_THAN_A_BUFFER)
        stream.flush()


def test_words_find_room_again_where_a_disk_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A log is not given up for the hour in which its disk was full."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    with piping.readers_may_leave():
        monkeypatch.setattr(stream, "flush", Full().flush)
        sys.stderr.flush()
        monkeypatch.setattr(stream, "flush", lambda: None)
        sys.stderr.write("a line\n")

    assert stream.getvalue() == "a line\n"
