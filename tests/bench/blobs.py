"""Into Azurite: our worker's own path against a bare loop over the same SDK.

The bare loop reads the same ranges, as many at once, from the same stand-in, signed by the
same keys, takes the same checksums (sha256 to prove a block by, MD5 for the service to check),
stages each block and commits the list. Ours does what a chunk needs on top: it looks before it
writes and after, goes on where another stopped, retries, and stays within its memory; and,
the second time, reads all of it back. The three take turns.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from azure.core import MatchConditions
from azure.storage.blob import BlobBlock
from azure.storage.blob.aio import BlobClient, ContainerClient
from yarl import URL

from tests import azurite as emulator
from tests.azurite import Azurite
from tests.bench import events
from tests.bench.figures import Figure
from tests.bench.processes import MIB, Acs, running_acs
from tests.bench.scale import Scale
from tests.blobs import blob_archive
from worker import __version__
from worker.archives.blob import BlobArchive
from worker.attempt import AttemptLog
from worker.clock import SystemClock
from worker.limits import ConnectionCeiling, MemoryBudget
from worker.log import configure_logging
from worker.proving import Prover, Verify
from worker.sources.acs import AcsSource
from worker.sources.hosts import HostRules
from worker.sources.signing import Credentials, KeyCredential, signed_headers
from worker.transfer import TransferLimits

DOCUMENT = events.document("blobs", 1)
CONTAINER = "bench"
RANGE_BYTES = 8 * MIB
RANGES = 8
MEMORY_BYTES = 256 * MIB
LEAST_OF_BARE = 0.9
LEAST_OF_OFF = 0.45


async def measure(scale: Scale) -> list[Figure]:
    """Bring the same chunk into Azurite in three ways, by turns."""
    configure_logging(level="warning")
    size = scale.blob_mib * MIB
    taken: dict[str, list[float]] = {"bare": [], "checksum": [], "read-back": []}
    with emulator.running() as azurite:
        async with (
            running_acs("--synthetic", f"{DOCUMENT}={scale.blob_mib}MiB") as acs,
            _opened(acs, azurite) as ways,
        ):
            for turn in range(scale.blob_turns):
                for way, seconds in taken.items():
                    name = f"{way}/{turn:04d}.mp4"
                    seconds.append(await ways.seconds(way, name, size=size))
    return _figures(scale, taken)


def _figures(scale: Scale, taken: dict[str, list[float]]) -> list[Figure]:
    # The best turn of each: whatever else runs on the machine slows, and speeds nothing up.
    rates = {way: scale.blob_mib / min(seconds) for way, seconds in taken.items()}
    said = {
        "bare": "a bare loop over the SDK",
        "checksum": "ours, without read-back",
        "read-back": "ours, with read-back",
    }
    shown = [
        Figure(
            row="blobs",
            what=f"{scale.blob_mib} MiB by {text}",
            value=rates[way],
            unit="MiB/s",
        )
        for way, text in said.items()
    ]
    return [
        *shown,
        _ratio("of the bare loop", rates["checksum"] / rates["bare"], LEAST_OF_BARE),
        _ratio(
            "with read-back, of without",
            rates["read-back"] / rates["checksum"],
            LEAST_OF_OFF,
        ),
    ]


def _ratio(what: str, value: float, least: float) -> Figure:
    return Figure(
        row="blobs",
        what=what,
        value=value,
        unit="x",
        sense="at least",
        bound=least,
        digits=2,
    )


@asynccontextmanager
async def _opened(acs: Acs, azurite: Azurite) -> AsyncIterator["_Ways"]:
    async with (
        blob_archive(azurite, CONTAINER, block_bytes=RANGE_BYTES) as archive,
        ContainerClient.from_connection_string(
            azurite.connection_string, CONTAINER
        ) as container,
        AcsSource(
            credentials=Credentials.parse(acs.connection_string),
            hosts=HostRules([acs.global_host, acs.regional_host]),
            clock=SystemClock(),
            ceiling=ConnectionCeiling(RANGES, clock=SystemClock()),
            version=__version__,
        ) as source,
        aiohttp.ClientSession() as session,
    ):
        yield _Ways(
            acs=acs,
            archive=archive,
            source=source,
            container=container,
            session=session,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ways:
    """All of them open, so that none pays for connections that another has."""

    acs: Acs
    archive: BlobArchive
    source: AcsSource
    container: ContainerClient
    session: aiohttp.ClientSession

    async def seconds(self, way: str, name: str, *, size: int) -> float:
        began = time.perf_counter()
        if way == "bare":
            await self._bare(name, size=size)
        else:
            await self._ours("read-back" if way == "read-back" else "checksum", name)
        return time.perf_counter() - began

    async def _ours(self, verify: Verify, name: str) -> None:
        clock = SystemClock()
        prover = Prover(
            source=self.source,
            archive=self.archive,
            clock=clock,
            memory=MemoryBudget(MEMORY_BYTES),
            limits=TransferLimits(range_bytes=RANGE_BYTES, max_ranges=RANGES),
            verify=verify,
        )
        log = AttemptLog(clock=clock, expires_at=clock.now())
        await prover.prove(self._location, lambda _: name, resource=None, log=log)

    async def _bare(self, name: str, *, size: int) -> None:
        blob = self.container.get_blob_client(name)
        offsets = iter(range(0, size, RANGE_BYTES))
        async with asyncio.TaskGroup() as group:
            for _ in range(RANGES):
                group.create_task(self._bare_ranges(blob, offsets))
        blocks = [BlobBlock(f"{at:012d}") for at in range(0, size, RANGE_BYTES)]
        await blob.commit_block_list(blocks, match_condition=MatchConditions.IfMissing)

    async def _bare_ranges(self, blob: BlobClient, offsets: Iterator[int]) -> None:
        credential = KeyCredential.parse(self.acs.connection_string)
        # Straight to the regional host, so that no redirect costs it anything.
        url = URL(self._location.replace(self.acs.global_host, self.acs.regional_host))
        for at in offsets:
            signed = signed_headers(
                credential, method="GET", url=url, at=SystemClock().now()
            )
            wanted = {"Range": f"bytes={at}-{at + RANGE_BYTES - 1}"}
            async with self.session.get(url, headers=signed | wanted) as answer:
                data = await answer.read()
            hashlib.sha256(data).hexdigest()
            await blob.stage_block(f"{at:012d}", data, validate_content="md5")

    @property
    def _location(self) -> str:
        return f"http://{self.acs.global_host}/v1/objects/{DOCUMENT}/content/video"
