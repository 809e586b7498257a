"""`recordings hold` and `unhold` over a directory and over a container."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.archived import archive_recording
from tests.factories import a_chunk, an_announcement
from tests.integration.keeping import Place, place
from tests.worm import WormProxy
from worker import names
from worker.opening import WholeQueue
from worker.ports import Archive

RECORDING = a_chunk().recording
FOLDER = names.recording_folder(an_announcement(), RECORDING)
HOLD = ("recordings", "hold", RECORDING, "--reason", "case 4711")
UNHOLD = ("recordings", "unhold", RECORDING, "--reason", "closed")


async def keep(archive: Archive, _: WholeQueue) -> None:
    await archive_recording(archive, [b"0", b"1"])


@pytest.fixture(params=["directory", "azurite"])
def there(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    return place(request.param, request, tmp_path, monkeypatch)


def test_hold_is_a_document_that_says_who_and_why(there: Place) -> None:
    """A directory knows no more; a container that could and doesn't needs attention."""
    there.work(keep)
    end = {"directory": 0, "azurite": 3}[there.kind]

    dry = there.run(*HOLD, "--dry-run")
    assert (dry.code, names.hold_name(FOLDER, 1) in there.names()) == (0, False)
    assert "would be held" in dry.out
    held = there.run(*HOLD, "--json")
    again = there.run(*HOLD)
    released = there.run(*UNHOLD, "--yes")

    assert held.code == end
    assert "recording.held" in held.err
    assert "case 4711" not in held.err
    told = json.loads(held.out)
    assert (told["held"], told["changed"], told["reason"]) == (True, True, "case 4711")
    assert told["unknown"] == told["objects"] == 9
    assert again.code == end
    assert "held, as it was" in again.out
    assert "recordings erase` obeys" in again.out
    assert (released.code, "not held" in released.out) == (0, True)
    assert names.hold_name(FOLDER, 2) in there.names()


def test_mistakes_are_a_line_and_a_hint(there: Place) -> None:
    """Nothing is written."""
    there.work(keep)
    before = there.names()

    never = there.run(*UNHOLD)
    nobody = there.run("recordings", "hold", "nobody", "--reason", "x")
    why = there.run("recordings", "hold", RECORDING, "--reason", " ")

    assert (never.code, nobody.code, why.code) == (1, 1, 2)
    assert f"{RECORDING} was never held here" in never.err
    assert "the archive knows no 'nobody'" in nobody.err
    assert "say why" in why.err
    assert there.names() == before


@pytest.mark.parametrize("is_deaf", [False, True])
async def test_hold_of_the_storage_is_read_back(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_deaf: bool,  # noqa: FBT001 - a case
) -> None:
    """Where the container has version-level immutability; exit 3 where one object lacks it."""
    there = place("azurite", request, tmp_path, monkeypatch)
    azurite = request.getfixturevalue("azurite")
    async with WormProxy(azurite.blob_url) as proxy:
        connection = azurite.connection_string.replace(azurite.blob_url, proxy.url)
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        there.lead_to(proxy.url, monkeypatch)
        await asyncio.to_thread(there.work, keep)
        if is_deaf:
            proxy.deaf.add(names.manifest_name(FOLDER, 1))

        ended = await asyncio.to_thread(there.run, *HOLD)

        lacking = "1 objects are not held, read back"
        assert (lacking if is_deaf else "held, read back") in ended.out
        assert ended.code == (3 if is_deaf else 0)
        assert proxy.held == proxy.there
