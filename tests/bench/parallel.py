"""One long chunk over slow connections: our worker against one stream of the official SDK.

The same server for both, under TLS, with each connection capped and each answer late. The
SDK's time ends when its file is written. Ours begins when the event is posted and ends when
the chunk is settled: metadata, archived, read back, receipt, manifest, and the delete.
"""

import asyncio
import sys
import time
from datetime import timedelta
from pathlib import Path

import aiohttp
import trustme

from tests.bench import events
from tests.bench.figures import Figure
from tests.bench.processes import (
    MIB,
    Acs,
    BenchError,
    answer_of,
    running_acs,
    running_worker,
    workplace,
)
from tests.bench.scale import Scale

TLS_NAME = "us-storage.asm.skype.com"
"""A host that the SDK allows; it resolves to loopback there."""
DOCUMENT = events.document("parallel", 1)
LEAST_RATIO = 5.0


async def measure(scale: Scale) -> list[Figure]:
    """Download the same chunk by both, one after the other."""
    size = scale.parallel_mib * MIB
    with workplace(needed_bytes=3 * size) as folder:
        ca_file, certificate = _certificates(folder)
        async with running_acs(
            *("--synthetic", f"{DOCUMENT}={scale.parallel_mib}MiB"),
            *("--rate-mib", str(scale.rate_mib), "--latency-ms", "30"),
            *("--tls-cert", certificate),
            tls=True,
        ) as acs:
            sdk_s = await _by_sdk(acs, folder / "sdk.mp4", ca_file, size=size)
            ours_s, finished = await _by_worker(acs, folder, ca_file, size=size)
    return _figures(scale, sdk_s, ours_s, finished)


def _certificates(folder: Path) -> tuple[Path, Path]:
    ca_file, certificate = folder / "ca.pem", folder / "server.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca_file)
    issued = authority.issue_cert("127.0.0.1", TLS_NAME)
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    return ca_file, certificate


async def _by_sdk(acs: Acs, path: Path, ca_file: Path, *, size: int) -> float:
    # Straight to the regional host: the SDK would not sign anew behind a redirect.
    _, _, port = acs.regional_host.partition(":")
    url = f"https://{TLS_NAME}:{port}/v1/objects/{DOCUMENT}/content/video"
    module = [sys.executable, "-m", "tests.bench.sdk"]
    done = await answer_of([*module, url, path, ca_file, acs.connection_string])
    await asyncio.to_thread(path.unlink)
    if done["bytes"] != size:
        raise BenchError(f"the SDK brought {done['bytes']} bytes of {size}")
    return float(done["seconds"])


async def _by_worker(
    acs: Acs, folder: Path, ca_file: Path, *, size: int
) -> tuple[float, dict[str, float]]:
    event = events.announcement(DOCUMENT, acs=acs, size_bytes=size, age=timedelta())
    async with (
        running_worker("serve", folder / "ours", acs=acs, ca_file=ca_file) as worker,
        aiohttp.ClientSession() as session,
    ):
        began = time.perf_counter()
        async with session.post(worker.url, data=event) as answer:
            answer.raise_for_status()
        finished = await worker.log.next("chunk.finished")
        seconds = time.perf_counter() - began
    if finished["outcome"] != "deleted" or finished["flags"]:
        raise BenchError(f"the chunk ended otherwise: {finished}")
    return seconds, finished


def _figures(
    scale: Scale, sdk_s: float, ours_s: float, finished: dict[str, float]
) -> list[Figure]:
    def seconds(what: str, value: float) -> Figure:
        return Figure(row="parallel", what=what, value=value, unit="s", digits=2)

    size = f"{scale.parallel_mib} MiB"
    return [
        seconds(f"{size} by one stream of the SDK", sdk_s),
        seconds(f"{size} archived and proven by us", ours_s),
        seconds("  of it to download and commit", finished["download_s"]),
        seconds("  of it to read back and check", finished["verify_s"]),
        Figure(
            row="parallel",
            what="times as fast as the SDK",
            value=sdk_s / ours_s,
            unit="x",
            sense="at least",
            bound=LEAST_RATIO,
            digits=2,
        ),
    ]
