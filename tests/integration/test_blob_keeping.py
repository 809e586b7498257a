"""Legal holds, policies and versions, as the service's documents have them; and Azurite."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tests.azurite import Azurite
from tests.blobs import blob_archive, proxied_archive
from tests.conftest import UniqueName
from tests.fakes.clock import HurriedClock
from tests.storage_proxy import Fault
from tests.worm import WormProxy
from worker.archives.blob import BlobArchive
from worker.errors import ArchiveForbiddenError, IntegrityError
from worker.model import Kept

UNTIL = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worm:
    proxy: WormProxy
    archive: BlobArchive


@pytest.fixture
async def worm(azurite: Azurite, unique_name: UniqueName) -> AsyncIterator[Worm]:
    """An archive in a container with version-level immutability, as far as it is told."""
    async with WormProxy(azurite.blob_url) as proxy:
        account = Azurite(blob_url=proxy.url, queue_url=azurite.queue_url)
        async with blob_archive(
            account, unique_name("worm"), prefix="team", clock=HurriedClock()
        ) as archive:
            proxy.seen.clear()
            yield Worm(proxy=proxy, archive=archive)


async def kept(archive: BlobArchive, prefix: str = "") -> list[Kept]:
    return [each async for each in archive.kept(prefix)]


async def test_blob_is_held_until_it_is_not(worm: Worm) -> None:
    """What is read back counts, and whoever lists sees it."""
    await worm.archive.create("a/1", b"x")
    await worm.archive.create("a/2", b"x")

    assert await worm.archive.hold("a/1", held=True) is True
    assert [each.is_held for each in await kept(worm.archive, "a/")] == [True, False]
    stored = await worm.archive.stat("a/1")
    assert stored is not None
    assert stored.protection["legal_hold"] == "true"
    with pytest.raises(ArchiveForbiddenError, match="a hold or a policy"):
        await worm.archive.erase("a/1")

    assert await worm.archive.hold("a/1", held=False) is False
    await worm.archive.erase("a/1")
    assert [each.name for each in await kept(worm.archive)] == ["a/2"]


async def test_hold_that_is_not_there_when_read_back_is_none(worm: Worm) -> None:
    """Whatever the service said to the request itself."""
    await worm.archive.create("a", b"x")
    worm.proxy.deaf.add("team/a")

    assert await worm.archive.hold("a", held=True) is False


async def test_hold_of_nothing_is_an_error(worm: Worm) -> None:
    """Somebody believes that there is something."""
    with pytest.raises(IntegrityError, match="'a' is not in the archive"):
        await worm.archive.hold("a", held=True)


async def test_policy_is_told_with_its_date(worm: Worm) -> None:
    """So that an erasure can say until when it has to wait."""
    await worm.archive.create("a", b"x")
    worm.proxy.locked["team/a"] = UNTIL

    assert [each.locked_until for each in await kept(worm.archive)] == [UNTIL]
    with pytest.raises(ArchiveForbiddenError, match="a hold or a policy"):
        await worm.archive.erase("a")


async def test_versions_are_erased_with_the_blob(worm: Worm) -> None:
    """The blob first, which is a version then; not those of another name."""
    await worm.archive.create("a", b"x")
    await worm.archive.create("a.b", b"x")
    worm.proxy.versions["team/a"] = ["2026-01-01T00:00:00.0Z", "2026-01-02T00:00:00.0Z"]
    worm.proxy.versions["team/a.b"] = ["2026-01-03T00:00:00.0Z"]
    assert sorted(
        (each.name, each.is_current) for each in await kept(worm.archive)
    ) == [
        ("a", False),
        ("a", False),
        ("a", True),
        ("a.b", False),
        ("a.b", True),
    ]

    await worm.archive.erase("a")
    await worm.archive.erase("a")

    assert {each.name for each in await kept(worm.archive)} == {"a.b"}
    deletes = [seen for seen in worm.proxy.seen if seen.operation == "delete"]
    assert "versionid" not in deletes[0].query
    assert deletes[0].headers["x-ms-delete-snapshots"] == "include"


async def test_what_soft_delete_keeps_goes_by_itself(worm: Worm) -> None:
    """It is told with the days that are left, and not deleted again."""
    worm.proxy.versions["team/a"] = ["2026-01-01T00:00:00.0Z"]
    worm.proxy.soft_days = 7

    await worm.archive.erase("a")

    (left,) = await kept(worm.archive)
    assert (left.name, left.goes_in_days, left.is_current) == ("a", 7, False)


async def test_container_without_versioned_immutability_knows_no_holds(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Azurite says 501; a container that was never set up for it, 409. Asked once."""
    async with proxied_archive(azurite, unique_name("plain")) as proxied:
        await proxied.archive.create("a", b"x")
        refusal = Fault.status(409, "ContainerImmutabilityNotEnabled")

        assert await proxied.archive.hold("a", held=True) is None
        assert proxied.proxy.operations().count("put legalhold") == 1
        proxied.proxy.plan(refusal, on="put legalhold")
        assert await proxied.archive.hold("a", held=True) is None


async def test_hold_needs_a_right(azurite: Azurite, unique_name: UniqueName) -> None:
    """Without it, the archive refuses as it refuses anything."""
    async with proxied_archive(azurite, unique_name("plain")) as proxied:
        await proxied.archive.create("a", b"x")
        refusal = Fault.status(403, "AuthorizationPermissionMismatch")
        proxied.proxy.plan(refusal, on="put legalhold")

        with pytest.raises(ArchiveForbiddenError):
            await proxied.archive.hold("a", held=True)


async def test_snapshots_go_with_the_blob_in_azurite_too(
    azurite: Azurite, unique_name: UniqueName
) -> None:
    """Somebody may have made them by hand."""
    async with proxied_archive(azurite, unique_name("plain")) as proxied:
        await proxied.archive.create("a", b"x")
        await proxied.container.get_blob_client("a").create_snapshot()
        found = [each.is_current for each in await kept(proxied.archive)]
        assert sorted(found) == [False, True]
        assert await proxied.archive.read("a") == b"x"

        await proxied.archive.erase("a")

        assert await kept(proxied.archive) == []
        assert await proxied.archive.read("a") is None
