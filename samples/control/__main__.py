"""`python -m samples.control`: the control API as a process of its own, until SIGINT.

Prints one line of JSON when it is ready: where it is, its connection string, and the id of
its resource.
"""

import argparse
import asyncio
import json
import signal
import sys

from samples.control.service import RESOURCE_ID, ControlStandIn


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
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
    asyncio.run(_serve(parser.parse_args()))


async def _serve(options: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with ControlStandIn(port=options.port) as acs:
        for each in options.call:
            name, _, participants = each.partition("=")
            acs.calls.add(name, *filter(None, participants.split(",")))
        ready = {
            "url": acs.url,
            "connection_string": acs.connection_string,
            "resource_id": RESOURCE_ID,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stopping.wait()


if __name__ == "__main__":
    main()
