"""Commands whose output nobody reads to its end, as with `recordings audit ID | head`."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.worker_process import COMMAND

ENVIRONMENT = {"PATH": os.environ["PATH"], "WORKER_SOURCE_HOSTS": "127.0.0.1:7700"}


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "config --for webhook",
        "config --json --for webhook",
        "recordings list",
    ],
)
def test_reader_that_left_is_no_error(tmp_path: Path, arguments: str) -> None:
    """It ends without a word, as other tools do, however much it had to say."""
    (tmp_path / "data/archive").mkdir(parents=True)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(  # noqa: S603 - our own words
            [*COMMAND, *arguments.split()],
            check=False,
            stdout=writer,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=ENVIRONMENT,
        )
    finally:
        os.close(writer)

    assert (ended.returncode, ended.stderr) == (141, b"")
