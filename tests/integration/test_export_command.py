"""`recordings export` over a directory and over a container."""

import json
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from tests.archived import archive_recording, part
from tests.factories import a_chunk
from tests.integration.keeping import Place, place
from worker.opening import WholeQueue
from worker.ports import Archive

RECORDING = a_chunk().recording
SIX = tuple(part(number) for number in range(1, 7))


@pytest.fixture(params=["directory", "azurite"])
def there(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    return place(request.param, request, tmp_path, monkeypatch)


def keep(there: Place, contents: Sequence[bytes | None]) -> None:
    async def archive_it(archive: Archive, _: WholeQueue) -> None:
        await archive_recording(archive, contents)

    there.work(archive_it)


def test_recording_is_exported_to_a_file_that_plays(
    there: Place, tmp_path: Path
) -> None:
    """One command; what it did is readable, and JSON on demand."""
    keep(there, SIX)
    before = there.names()

    ended = there.run("recordings", "export", RECORDING, "-o", "call.mp4")

    assert (ended.code, ended.err) == (0, "")
    lines = dict(line.split("  ", 1) for line in ended.out.splitlines())
    assert lines["plays"].strip() == "0:00:26.0"
    assert lines["chunks"].strip() == "0, 1, 2, 3, 4, 5"
    with av.open(tmp_path / "call.mp4") as container:
        assert container.duration == pytest.approx(26_000_000, abs=200_000)
    assert there.names() == before
    again = there.run("recordings", "export", RECORDING, "-o", "call.mp4")
    assert again.code == 1
    assert again.err.splitlines() == [
        "error: 'call.mp4' is there already: --force writes over it",
        "hint: recording-worker recordings export --help",
    ]


def test_what_is_not_in_the_file_is_told(there: Place, tmp_path: Path) -> None:
    """Exit 3: somebody should know before they hand it on."""
    keep(there, [SIX[0], None, SIX[2]])

    ended = there.run("recordings", "export", RECORDING, "-o", "call.mp4", "--force")
    machine = there.run(
        *("recordings", "export", RECORDING, "-o", "call.mp4", "--force", "--json")
    )

    assert (ended.code, machine.code) == (3, 3)
    assert "at 0:00:04.0: chunk 1: source-expired" in ended.out
    assert json.loads(machine.out)["missing"] == [1]
    assert (tmp_path / "call.mp4").is_file()


def test_one_chunk_and_its_metadata_are_written_as_they_are(
    there: Place, tmp_path: Path
) -> None:
    """For whoever needs the very bytes."""
    keep(there, SIX)

    chunk = there.run("recordings", "export", RECORDING, "--chunk", "1", "-o", "1.mp4")
    said = there.run(
        *("recordings", "export", RECORDING, "--chunk", "1", "--metadata"),
        *("-o", "1.json"),
    )
    unknown = there.run("recordings", "export", "nobody", "-o", "x.mp4")

    assert (chunk.code, said.code) == (0, 0)
    assert (tmp_path / "1.mp4").read_bytes() == SIX[1]
    assert (tmp_path / "1.json").read_bytes() == b"{}"
    assert (unknown.code, "the archive knows no 'nobody'" in unknown.err) == (1, True)
