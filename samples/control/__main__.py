"""`python -m samples.control`: the control API as a process of its own, until SIGINT.

Prints one line of JSON when it is ready: where it is, its connection string, and the id of
its resource.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial

from samples.control.service import RESOURCE_ID, ControlStandIn
from samples.signals import until_signalled


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    asyncio.run(until_signalled(partial(serve, options_from(sys.argv[1:]))))


def options_from(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 2 and a usage line if it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m samples.control",
        description="Answer as the control API of ACS does, on loopback, until SIGINT.",
    )
    parser.add_argument("--port", type=int, default=0, help="0: any")
    parser.add_argument(
        "--call",
        action="append",
        default=[],
        metavar="CONNECTION=ID,ID",
        help="a call that goes on, and who takes part",
    )
    return parser.parse_args(arguments)


async def serve(
    options: argparse.Namespace,
    *,
    stopping: asyncio.Event,
    announce: Callable[[str], None],
) -> None:
    """Serve until `stopping` is set; announces where, as one line of JSON, when ready."""
    async with ControlStandIn(port=options.port) as acs:
        for each in options.call:
            name, _, participants = each.partition("=")
            acs.calls.add(name, *filter(None, participants.split(",")))
        ready = {
            "url": acs.url,
            "connection_string": acs.connection_string,
            "resource_id": RESOURCE_ID,
        }
        announce(json.dumps(ready))
        await stopping.wait()


if __name__ == "__main__":
    main()
