"""Looking at an archive: `recordings verify` beside `sha256sum`, and `recordings list`.

The same files, by turns; the kernel has them in memory for both, or for neither. The best
turn of each counts: whatever else runs on the machine slows, and speeds nothing up.
"""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import NamedTuple

from azure.storage.blob.aio import ContainerClient

from tests import azurite as emulator
from tests.azurite import Azurite
from tests.bench import shelves
from tests.bench.figures import Figure
from tests.bench.processes import (
    COMMAND,
    MIB,
    ROOT,
    BenchError,
    clean_environment,
    workplace,
)
from tests.bench.scale import Scale

FILES = 4
LEAST_OF_SHA256SUM = 2.0
MOST_LIST_S = 10.0
MOST_GROWTH_PERCENT = 10
FILE_BYTES = 4096
"""What a small file takes of a disk, at least."""
CONTAINER = "listing"
UPLOADS = 16
_TO_MIB = 1024 if sys.platform == "linux" else MIB
"""Of ru_maxrss, which counts in KiB, or on macOS in bytes."""


class Ran(NamedTuple):
    """One process that ended well."""

    seconds: float
    peak_mib: float
    lines: int


async def measure_verify(scale: Scale) -> list[Figure]:
    """Hash the same contents with both."""
    program = shutil.which("sha256sum")
    if program is None:
        raise BenchError("there is no sha256sum to be faster than")
    size_bytes = scale.verify_mib * MIB
    with workplace(needed_bytes=2 * FILES * size_bytes) as folder:
        root = folder / "archive"
        files = shelves.put_large(root, count=FILES, size_bytes=size_bytes)
        theirs: list[float] = []
        ours: list[float] = []
        verify: list[str | Path] = [
            COMMAND,
            "recordings",
            "verify",
            "--all",
            "--no-report",
        ]
        for _ in range(scale.verify_turns):
            theirs.append((await _ran([program, *map(str, files)], {})).seconds)
            ours.append((await _ran(verify, _settings(root))).seconds)
    total_mib = FILES * scale.verify_mib
    what = f"{FILES} x {scale.verify_mib} MiB by"
    rates = {"sha256sum": total_mib / min(theirs), "verify": total_mib / min(ours)}
    return [
        *(
            Figure(row="verify", what=f"{what} {name}", value=rate, unit="MiB/s")
            for name, rate in rates.items()
        ),
        Figure(
            row="verify",
            what="as fast as sha256sum",
            value=rates["verify"] / rates["sha256sum"],
            unit="x",
            sense="at least",
            bound=LEAST_OF_SHA256SUM,
            digits=1,
        ),
    ]


async def measure_listing(scale: Scale) -> list[Figure]:
    """List an archive in a directory, a tenth of it, and a small one in Azurite."""
    receipts, tenth = scale.listing_receipts, scale.listing_receipts // 10
    with workplace(needed_bytes=receipts * 6 * FILE_BYTES) as folder:
        small = await _listed(folder / "small", tenth, turns=1)
        large = await _listed(folder / "large", receipts, turns=scale.listing_turns)
    in_azurite = await _listed_in_azurite(scale.listing_blobs)
    return [
        Figure(
            row="listing",
            what=f"recordings list of {receipts:,} receipts in a directory",
            value=large.seconds,
            unit="s",
            bound=MOST_LIST_S,
            digits=1,
        ),
        Figure(row="listing", what="peak RSS", value=large.peak_mib, unit="MiB"),
        Figure(
            row="listing",
            what=f"growth of the peak, from {tenth:,}",
            value=(large.peak_mib / small.peak_mib - 1) * 100,
            unit="%",
            bound=MOST_GROWTH_PERCENT,
            digits=1,
        ),
        Figure(
            row="listing",
            what=f"of {scale.listing_blobs:,} receipts in Azurite",
            value=in_azurite.seconds,
            unit="s",
            digits=1,
        ),
    ]


async def _listed(root: Path, receipts: int, *, turns: int) -> Ran:
    """The best of some turns: the first finds nothing of it in memory."""
    recordings = await asyncio.to_thread(_fill, root, receipts)
    command: list[str | Path] = [COMMAND, "recordings", "list"]
    runs = [await _ran(command, _settings(root)) for _ in range(turns)]
    for run in runs:
        if run.lines != recordings + 1:
            raise BenchError(f"{run.lines} lines for {recordings} recordings")
    return min(runs)


def _fill(root: Path, receipts: int) -> int:
    recordings = 0
    for written in shelves.recordings(receipts):
        shelves.put(root, written)
        recordings += 1
    return recordings


async def _listed_in_azurite(receipts: int) -> Ran:
    with emulator.running() as azurite:
        recordings = await _upload(azurite, receipts)
        settings = {
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
            "WORKER_ARCHIVE": azurite.container(CONTAINER),
            "WORKER_SOURCE_HOSTS": "127.0.0.1:1",
        }
        ran = await _ran([COMMAND, "recordings", "list"], settings)
    if ran.lines != recordings + 1:
        raise BenchError(f"{ran.lines} lines for {recordings} recordings in Azurite")
    return ran


async def _upload(azurite: Azurite, receipts: int) -> int:
    room = asyncio.Semaphore(UPLOADS)
    async with ContainerClient.from_connection_string(
        azurite.connection_string, CONTAINER
    ) as container:
        await container.create_container()

        async def upload(name: str, data: bytes) -> None:
            async with room:
                await container.upload_blob(name, data)

        recordings = list(shelves.recordings(receipts))
        blobs = [each for written in recordings for each in written]
        await asyncio.gather(*(upload(name, data) for name, data in blobs))
    return len(recordings)


def _settings(root: Path) -> dict[str, str]:
    return {"WORKER_ARCHIVE": f"file:{root}", "WORKER_SOURCE_HOSTS": "127.0.0.1:1"}


async def _ran(command: Sequence[str | Path], settings: Mapping[str, str]) -> Ran:
    """Run a process to its end, start-up and all."""
    return await asyncio.to_thread(_run, command, clean_environment(settings))


def _run(command: Sequence[str | Path], environment: Mapping[str, str]) -> Ran:
    began = time.perf_counter()
    process = Popen(  # noqa: S603 - our own command, or sha256sum
        command, cwd=ROOT, env=environment, stdin=DEVNULL, stdout=PIPE
    )
    lines = 0
    if process.stdout is not None:
        with process.stdout as said:
            lines = sum(1 for _ in said)
    # Not `wait`, which keeps what the process needed to itself.
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{command[0]} ended with {process.returncode}")
    return Ran(seconds, used.ru_maxrss / _TO_MIB, lines)
