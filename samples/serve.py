"""`python -m samples.acs`: the stand-in as a process of its own."""

import argparse
import asyncio
import json
import re
import ssl
import sys
from collections.abc import Callable, Sequence
from functools import partial

from samples.acs import StandIn
from samples.acsmetadata import metadata_of
from samples.content import KIB, MIB, SyntheticContent
from samples.signals import until_signalled

_UNITS = {"": 1, "KiB": KIB, "MiB": MIB, "GiB": KIB * MIB}
_NAMED_SIZE = re.compile(r"([^=]+)=(\d+)(|KiB|MiB|GiB)")


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    asyncio.run(until_signalled(partial(serve, options_from(sys.argv[1:]))))


def options_from(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 2 and a usage line if it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m samples.acs",
        description="Serve the samples as ACS does, on loopback, until SIGINT. "
        "Prints one line of JSON when it is ready.",
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="of the global listener; 0: any")
    add("--regional-port", type=int, default=0, help="of the regional one; 0: any")
    add("--rate-mib", type=float, help="cap on each connection, MiB/s")
    add("--latency-ms", type=float, default=0.0, help="added to each answer")
    add(
        "--synthetic",
        action="append",
        default=[],
        type=_named_size,
        metavar="NAME=SIZE",
        help="also serve a made-up MP4 of SIZE bytes (512MiB, 2GiB, …) as document NAME",
    )
    add("--tls-cert", help="PEM file: serve https")
    add("--tls-key", help="PEM file, if the key is apart from the certificate")
    add(
        "--host-names",
        nargs=2,
        metavar=("GLOBAL", "REGIONAL"),
        help="names to use in URLs; clients must resolve them to 127.0.0.1",
    )
    return parser.parse_args(arguments)


async def serve(
    options: argparse.Namespace,
    *,
    stopping: asyncio.Event,
    announce: Callable[[str], None],
) -> None:
    """Serve until `stopping` is set; announces where, as one line of JSON, when ready."""
    async with _stand_in(options) as acs:
        acs.serve_samples()
        for name, size in options.synthetic:
            _put_synthetic(acs, name, size)
        announce(json.dumps(_ready(acs)))
        await stopping.wait()


def _stand_in(options: argparse.Namespace) -> StandIn:
    rate = options.rate_mib
    names = options.host_names
    return StandIn(
        bytes_per_second=rate * MIB if rate else None,
        latency_s=options.latency_ms / 1000,
        ssl_context=_ssl_context(options),
        host_names=(names[0], names[1]) if names else None,
        port=options.port,
        regional_port=options.regional_port,
    )


def _ssl_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not options.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.tls_cert, options.tls_key)
    return context


def _named_size(text: str) -> tuple[str, int]:
    match = _NAMED_SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not like big=512MiB")
    name, number, unit = match.groups()
    return name, int(number) * _UNITS[unit]


def _put_synthetic(acs: StandIn, name: str, size: int) -> None:
    content = SyntheticContent(size, mp4=True)
    metadata = metadata_of(name, duration_ms=content.duration_ms)
    acs.put(name, content=content, metadata=metadata)


def _ready(acs: StandIn) -> dict[str, str]:
    return {
        "global_host": acs.global_host,
        "regional_host": acs.regional_host,
        "connection_string": acs.connection_string,
    }
