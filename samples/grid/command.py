"""`python -m samples.event_grid`: deliver saved events to an endpoint, and keep at it."""

import argparse
import asyncio
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import assert_never

from samples.addressing import addressed
from samples.event_grid import EventGrid, Handshake, JsonObject, events_in
from samples.grid.clock import Clock, PacedClock
from samples.grid.conduct import Conduct
from samples.grid.dead_letters import DirectoryContainer
from samples.grid.dispatcher import Dispatcher
from samples.grid.messages import SchemaMismatchError, in_schema, type_of
from samples.grid.pending import (
    Attempted,
    DeadLettered,
    Dropped,
    Happening,
    Postponed,
)
from samples.grid.subscription import ARM_SCHEMAS, Subscription

DELIVERED, NOT_DELIVERED = 0, 1
OWN_TYPES = "Microsoft.EventGrid."
"""Event Grid's own events: the handshake is a delivery of its own."""
_ORIGIN = re.compile(r"https?://[^/?#@\s]+/?")
Print = Callable[[str], None]


def main() -> None:
    """Deliver, and exit with 0 if everything arrived."""
    options = options_from(sys.argv[1:])
    try:
        delivered = asyncio.run(deliver(options, say=_print_line))
    except SchemaMismatchError as error:
        sys.exit(f"error: {error}\nhint: --schema cloudevents")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(NOT_DELIVERED)
    sys.exit(DELIVERED if delivered else NOT_DELIVERED)


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def options_from(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 2 and a usage line if it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m samples.event_grid",
        description="Deliver saved events to a webhook as Event Grid does: handshake, "
        "batches, retries, dead letters.",
        epilog="example: python -m samples.event_grid --schema cloudevents "
        "http://127.0.0.1:8080/api/events samples/events/demo/*.json",
    )
    add = parser.add_argument
    add("endpoint", help="URL of the webhook, with its query")
    add("files", nargs="+", type=Path, help="JSON: events of one of the schemas")
    add("--no-handshake", action="store_true", help="the subscription is there already")
    add("--name", default="stand-in", help="of the subscription")
    add("--settings", type=Path, help="JSON: of an event subscription, as ARM has it")
    add("--schema", choices=sorted(ARM_SCHEMAS.values()), help="of the deliveries")
    add(
        "--header",
        action="append",
        default=[],
        type=_named,
        metavar="NAME=VALUE",
        help="a delivery property, such as x-functions-key=KEY",
    )
    add("--token", help="bearer token")
    add(
        "--source",
        type=_source,
        metavar="http://HOST:PORT",
        help="where the events' media are: the global_host of samples.acs",
    )
    add("--speed", type=_speed, default=1.0, help="60: a minute passes in a second")
    add("--dead-letters", type=Path, help="folder for what can't be delivered")
    add("--seed", type=int, default=0)
    add("--duplicates", type=float, default=0.0, help="share that is delivered twice")
    add("--reorder", action="store_true", help="keep no order")
    return parser.parse_args(arguments)


async def deliver(
    options: argparse.Namespace, *, say: Print, clock: Clock | None = None
) -> bool:
    """Perform the handshake, if wanted, then deliver; returns whether everything arrived."""
    clock = clock or PacedClock(options.speed)
    subscription = await asyncio.to_thread(_subscription, options)
    saved = await asyncio.to_thread(_events, options.files, options.source)
    events = [in_schema(event, subscription.schema) for event in saved]
    folder = options.dead_letters
    report = _Report(clock, say)
    async with EventGrid(subscription) as grid:
        if not options.no_handshake and not report.handshake(await grid.handshake()):
            return False
        dispatcher = Dispatcher(
            grid,
            clock=clock,
            container=DirectoryContainer(folder) if folder else None,
            conduct=Conduct(
                seed=options.seed,
                duplicates=options.duplicates,
                is_reordered=options.reorder,
            ),
            tell=report,
        )
        dispatcher.publish(events)
        await dispatcher.run()
    return not report.has_lost


class _Report:
    """One line for everything that happens."""

    def __init__(self, clock: Clock, say: Print) -> None:
        self._clock = clock
        self._began_at = clock.now()
        self._say = say
        self.has_lost = False

    def handshake(self, handshake: Handshake) -> bool:
        for note in handshake.notes:
            self._say(f"handshake  note: {note}")
        for problem in handshake.problems:
            self._say(f"handshake  failed: {problem}")
        if handshake.is_passed:
            self._say("handshake  passed")
        return handshake.is_passed

    def __call__(self, told: Happening) -> None:
        self.has_lost = self.has_lost or isinstance(told, DeadLettered | Dropped)
        self._say(f"{self._since(told.at):>9}  {_line(told)}")

    def _since(self, at: datetime) -> str:
        return f"{(at - self._began_at).total_seconds():.1f} s"


def _line(told: Happening) -> str:
    events = _counted(told.events)
    match told:
        case Attempted(outcome=outcome):
            late = ", late" if told.is_late else ""
            return f"attempt {told.delivery_count + 1}, {events}{late}: {outcome.words}"
        case Postponed():
            wait = (told.until - told.at).total_seconds()
            return f"{events}: the endpoint is left alone for {wait:.0f} s"
        case DeadLettered():
            return f"{events}: dead-lettered as {told.name}"
        case Dropped():
            return f"{events}: dropped, {told.why}"
        case _:
            assert_never(told)


def _counted(events: Sequence[str]) -> str:
    return f"{len(events)} event{'' if len(events) == 1 else 's'}"


def _subscription(options: argparse.Namespace) -> Subscription:
    arm = json.loads(options.settings.read_bytes()) if options.settings else {}
    if not isinstance(arm, dict):
        raise ValueError("--settings is not a JSON object")  # noqa: TRY004 - one kind of bad input
    subscription = Subscription.from_arm(
        arm, name=options.name, endpoint=options.endpoint
    )
    return replace(
        subscription,
        schema=options.schema or subscription.schema,
        headers=dict(options.header),
        token=options.token,
    )


def _events(files: Iterable[Path], source: str | None) -> list[JsonObject]:
    events = [event for path in files for event in _saved(path, source)]
    return [event for event in events if not type_of(event).startswith(OWN_TYPES)]


def _saved(path: Path, source: str | None) -> list[JsonObject]:
    body = path.read_bytes()
    try:
        return events_in(json.loads(addressed(body, source) if source else body))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no events in {str(path)!r}: {error}") from error


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed < math.inf:
        raise argparse.ArgumentTypeError("not more than 0")
    return speed


def _source(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise argparse.ArgumentTypeError("not like http://127.0.0.1:9000")
    return text.rstrip("/")


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("not like x-functions-key=KEY")
    return name, value
