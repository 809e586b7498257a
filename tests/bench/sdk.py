"""`python -m tests.bench.sdk URL FILE CA CONNECTION_STRING`: one download by the official SDK.

The SDK sends its credentials to hosts of ACS only, so the stand-in is reached under such a
name: the transport's session resolves every name to loopback. Nothing in the SDK is changed.
"""

import asyncio
import json
import socket
import sys
import time
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from azure.communication.callautomation.aio import CallAutomationClient
from azure.core.pipeline.transport import AioHttpTransport


class Loopback(AbstractResolver):
    """Every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        result = ResolveResult(
            hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
        )
        return [result]

    async def close(self) -> None:
        """Nothing is held."""


async def download(url: str, path: Path, ca: Path, connection_string: str) -> float:
    """Write the recording to `path`; returns the seconds that it took."""
    connector = aiohttp.TCPConnector(resolver=Loopback())
    # As the transport makes its own; a total timeout would cut a long chunk.
    session = aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )
    began = time.perf_counter()
    async with session:
        client = CallAutomationClient.from_connection_string(
            connection_string,
            transport=AioHttpTransport(
                session=session, session_owner=False, connection_verify=str(ca)
            ),
        )
        async with client:
            stream = await client.download_recording(url)
            with path.open("wb") as file:
                async for piece in stream.iter_bytes():  # type: ignore[attr-defined]  # it is a response
                    file.write(piece)
    return time.perf_counter() - began


def main() -> None:
    """Download once and print the seconds and the bytes."""
    url, path, ca, connection_string = sys.argv[1:]
    seconds = asyncio.run(download(url, Path(path), Path(ca), connection_string))
    size = Path(path).stat().st_size
    sys.stdout.write(json.dumps({"seconds": seconds, "bytes": size}))


if __name__ == "__main__":
    main()
