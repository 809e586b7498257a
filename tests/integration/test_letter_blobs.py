"""A container of dead letters on Azurite."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from azure.storage.blob.aio import ContainerClient

from tests.azurite import Azurite, container_signature
from tests.conftest import UniqueName
from tests.contract.queues import identity_of
from worker import storage_places
from worker.archives.letter_blobs import LetterBlobs, LettersUnavailableError
from worker.clock import SystemClock
from worker.model import Letter
from worker.storage_clients import Identity
from worker.storage_places import Service

BLOBS = (
    "RECORDINGS/2026/11/2/9/a.json",
    "RECORDINGS/2026/11/2/10/b.json",
    "RECORDINGS/2026/11/26/9/c.json",
    "RECORDINGS/2026/11/2/9/notes.txt",
    "top.json",
)


@pytest.fixture
async def name(azurite: Azurite, unique_name: UniqueName) -> AsyncIterator[str]:
    """Of a container that holds these blobs."""
    name = unique_name("letters")
    client = ContainerClient.from_connection_string(azurite.connection_string, name)
    async with client:
        await client.create_container()
        for blob in BLOBS:
            await client.upload_blob(blob, blob.encode())
        yield name


def letters_at(url: str, identity: Identity) -> LetterBlobs:
    return LetterBlobs(
        storage_places.parse(url, Service.BLOB),
        identity,
        clock=SystemClock(),
        random=Random(1),  # noqa: S311 - jitter
    )


async def found(
    azurite: Azurite,
    name: str,
    prefix: str = "",
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Sequence[str]:
    url = azurite.container(name, prefix)
    async with letters_at(url, identity_of(azurite)) as letters:
        assert letters.container == azurite.container(name)
        return [each.name async for each in letters.written(since=since, until=until)]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", {"a", "b", "c", "top"}),
        ("RECORDINGS", {"a", "b", "c"}),
        ("RECORDINGS/2026/11/2", {"a", "b"}),
        ("RECORDINGS/2026/11/2/9/a.json", {"a"}),
        ("RECORDINGS/2026/11/2/9/a", set()),
        ("recordings", set()),
        ("nowhere", set()),
    ],
)
async def test_prefix_is_a_folder_or_one_blob(
    azurite: Azurite, name: str, prefix: str, expected: set[str]
) -> None:
    """The second is not the twenty-sixth: days are not padded."""
    names = await found(azurite, name, prefix)

    assert {each.rpartition("/")[2].removesuffix(".json") for each in names} == expected


async def test_time_is_when_it_was_written(azurite: Azurite, name: str) -> None:
    """Whatever its name says."""
    now = datetime.now(UTC)
    hour = timedelta(hours=1)

    assert len(await found(azurite, name, since=now - hour, until=now + hour)) == 4
    assert await found(azurite, name, since=now + hour) == []
    assert await found(azurite, name, until=now - hour) == []


async def test_pages_are_all_read(
    azurite: Azurite, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container after an outage has more than one."""
    monkeypatch.setattr("worker.archives.letter_blobs.PAGE_NAMES", 2)

    assert len(await found(azurite, name)) == 4


async def test_version_that_was_listed_is_read(azurite: Azurite, name: str) -> None:
    """Or none: another one is another letter."""
    url = azurite.container(name, "top.json")
    client = ContainerClient.from_connection_string(azurite.connection_string, name)
    async with letters_at(url, identity_of(azurite)) as letters, client:
        (letter,) = [each async for each in letters.written(since=None, until=None)]
        assert letter.size_bytes == len("top.json")
        assert await letters.read(letter) == b"top.json"

        await client.upload_blob("top.json", b"other", overwrite=True)
        assert await letters.read(letter) is None
        await client.delete_blob("top.json")
        assert await letters.read(letter) is None
        await client.upload_blob("top.json", b"")
        (empty,) = [each async for each in letters.written(since=None, until=None)]
        assert await letters.read(empty) == b""


async def test_container_that_is_not_there_is_one_line(azurite: Azurite) -> None:
    """With the command that lists them; it is not ours to make."""
    with pytest.raises(LettersUnavailableError, match="no such container") as raised:
        await found(azurite, "nowhere")

    assert raised.value.hint is not None
    assert raised.value.hint.startswith("az storage container list --account-name ")


async def test_signature_in_the_url_is_enough(azurite: Azurite, name: str) -> None:
    """For reading and listing; and it is in no error."""
    url = azurite.container(name)
    nobody = Identity(connection_string=None, token=None)
    may_list = container_signature(name, permission="rl")
    may_not = container_signature(name, permission="r")

    async with letters_at(f"{url}?{may_list}", nobody) as letters:
        listed: list[Letter] = [
            each async for each in letters.written(since=None, until=None)
        ]
    async with letters_at(f"{url}?{may_not}", nobody) as letters:
        with pytest.raises(LettersUnavailableError) as raised:
            [each async for each in letters.written(since=None, until=None)]

    assert len(listed) == 4
    assert "sig=" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://letters.example/container/prefix",
        "https://account.blob.core.windows.net.example/container",
        "https://evilblob.core.windows.net.example/container",
    ],
)
def test_no_stranger_is_shown_a_token(url: str) -> None:
    """It would open our own storage; a signature in the URL is for them alone."""
    nobody = Identity(connection_string=None, token=None)

    with pytest.raises(LettersUnavailableError, match="no token is sent to https://"):
        letters_at(url, nobody)

    letters_at(f"{url}?sig=abc", nobody)
    letters_at("https://account.blob.core.windows.net/container", nobody)
