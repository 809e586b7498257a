"""What `status` shows, once or again and again."""

import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from worker.cli import session
from worker.clock import SystemClock
from worker.errors import QueueUnavailableError

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from rich.console import Group

    from worker.opening import WholeQueue
    from worker.ops.status import Status
    from worker.ports import Archive
    from worker.settings import Settings

COLUMNS = ("CHUNKS", ">NOW", "~")
_HOUR_MINUTES = 60
UNTOLD = "this queue can't tell; a consumer's log (consumer.paused) and its /health can"
Ask = Callable[[], Awaitable["Status"]]
Row = tuple[str, int, str]
Field = tuple[str, object]


async def look(
    queue: "WholeQueue", archive: "Archive | None", settings: "Settings"
) -> "Status":
    from worker.ops.status import read_status

    within, now = settings.at_risk_within, SystemClock().now()
    return await read_status(queue, archive, at_risk_within=within, now=now)


async def check(
    queue: "WholeQueue", archive: "Archive | None", settings: "Settings"
) -> "Status":
    """The same for a scheduled job: who is sent metrics learns what it saw, and that it looked."""
    from worker.sight import Sight
    from worker.standing import Standing
    from worker.telemetry import meters
    from worker.telemetry.gauges import Gauges
    from worker.telemetry.instruments import CHECKS
    from worker.telemetry.setup import is_sent, open_telemetry

    clock = SystemClock()
    sight = Sight(clock=clock)
    standing = Standing(
        verb="status",
        instance=settings.instance,
        clock=clock,
        consumes=False,
        sight=sight,
    )
    async with open_telemetry(settings, Gauges(standing, clock), scraped=False):
        outcome = "unknown"
        try:
            if is_sent(settings):
                await sight.look(queue, within=settings.at_risk_within)
            found = await look(queue, archive, settings)
            outcome = _outcome(found)
        finally:
            meters.add(CHECKS, outcome=outcome)
    return found


def _outcome(found: "Status") -> str:
    if found.needs_attention:
        return "attention"
    return "unknown" if found.problem else "fine"


def watch(context: typer.Context, *, interval: float, as_json: bool) -> None:
    """Show it until somebody has seen enough: on a terminal in its place, else line by line."""
    is_live = sys.stdout.isatty() and not as_json
    show = _live if is_live else _json_lines if as_json else _lines
    with suppress(KeyboardInterrupt):
        session.ask_both(
            context,
            lambda queue, archive, settings: show(
                lambda: look(queue, archive, settings), interval
            ),
        )


async def _lines(ask: Ask, interval: float) -> None:
    from worker.cli import printing

    await _again(ask, interval, lambda found: printing.print_line(line_of(found)))


async def _json_lines(ask: Ask, interval: float) -> None:
    from worker.cli import printing

    await _again(ask, interval, lambda found: printing.print_json_lines([found]))


async def _live(ask: Ask, interval: float) -> None:
    from rich.live import Live

    from worker.cli import printing

    with Live(console=printing.stdout(), auto_refresh=False) as live:
        await _again(
            ask, interval, lambda found: live.update(_shown(found), refresh=True)
        )


async def _again(ask: Ask, interval: float, show: Callable[["Status"], None]) -> None:
    """A queue that can't answer now is told, and asked again."""
    clock = SystemClock()
    while True:
        try:
            show(await ask())
            sys.stdout.flush()
        except QueueUnavailableError as error:
            sys.stderr.write(f"error: {error}\n")
        await clock.sleep(interval)


def _shown(status: "Status") -> "Group":
    from rich.console import Group
    from rich.text import Text

    from worker.cli import printing

    told_of = [(name, told) for name, told in fields_of(status) if told]
    width = max(len("paused"), *(len(name) for name, _ in told_of))
    fields = [f"{name:<{width}}  {told}" for name, told in told_of]
    told = Text("\n".join(["", *map(printing.cell, fields)]))
    return Group(printing.table_of(COLUMNS, rows_of(status)), told)


def rows_of(status: "Status") -> list[Row]:
    return [
        ("pending", status.pending, _first_loss(status)),
        ("in flight", status.in_flight, ""),
        ("archived", status.archived, ""),
        ("deleted", status.deleted, ""),
        ("dead", status.dead, _reasons(status)),
        ("at risk", status.at_risk, f"less than {status.at_risk_hours:g} h left"),
    ]


def fields_of(status: "Status") -> list[Field]:
    from worker.cli import printing

    eta = status.eta
    left = f"{printing.relative(eta, now=status.as_of)}, at this rate" if eta else None
    if not eta and (status.pending or status.in_flight):
        left = "nobody can tell"
    return [
        ("rate", _rate(status)),
        ("done", left),
        ("paused", _pause(status)),
        ("deferred", _deferred(status)),
        *(("held up", told) for told in _held_up(status)),
    ]


def hints_of(status: "Status") -> list[str]:
    """What to type next."""
    state = " --state dead" if status.dead else f" --within {status.at_risk_hours:g}h"
    hints = []
    if status.dead or status.at_risk:
        hints.append(f"recording-worker queue list{state}")
    if status.is_sorting_late:
        hints.append("recording-worker consume --until-empty")
    if status.held_up or _is_unexplained(status):
        hints.append("recording-worker doctor")
    return [*hints, *(["recording-worker resume"] if status.paused else [])]


def _is_unexplained(status: "Status") -> bool:
    """Nothing moves, nobody paused, and the queue does not tell what chunks wait for."""
    is_still = not (status.eta or status.in_flight or status.paused)
    return bool(status.pending) and is_still and status.held_up is None


def _held_up(status: "Status") -> list[str]:
    """Scope, since when, why, and what ends it."""
    from worker.cli import printing

    if _is_unexplained(status):
        return [UNTOLD]
    return [
        f"{each.scope}{f' of {each.resource}' if each.resource else ''} since"
        f" {printing.moment(each.since, now=status.as_of)}:"
        f" {printing.count(each.chunks, 'chunk')} with {each.reason}"
        f"{f' ({each.error})' if each.error else ''};"
        " goes on by itself, within 10 min of the mend"
        for each in status.held_up or ()
    ]


def line_of(status: "Status") -> str:
    """All of it in one line."""
    from worker.cli import printing

    dead = f"{status.dead} dead" + (f" ({_reasons(status)})" if status.dead else "")
    pause = _pause(status)
    told = [
        f"{status.as_of:%Y-%m-%dT%H:%M:%SZ}  {status.pending} pending",
        f"{status.in_flight} in flight",
        f"{status.archived} archived",
        f"{status.deleted} deleted",
        dead,
        f"{status.at_risk} at risk",
        _first_loss(status),
        _rate(status),
        f"paused {pause}" if pause else "",
        f"deferred: {deferred}" if (deferred := _deferred(status)) else "",
        *(f"held up: {told}" for told in _held_up(status)),
    ]
    return printing.cell(", ".join(filter(None, told)))


def _deferred(status: "Status") -> str | None:
    from worker.cli import printing

    if not status.deferred:
        return None
    since = printing.moment(status.deferred_since, now=status.as_of)
    told = f"{printing.count(status.deferred, 'delivery', 'deliveries')} since {since}"
    return f"{told}: does a worker run?" if status.is_sorting_late else told


def _first_loss(status: "Status") -> str:
    from worker.cli import printing

    at = status.earliest_deadline
    return "" if at is None else f"first {printing.expiry(at, now=status.as_of)}"


def _reasons(status: "Status") -> str:
    return ", ".join(f"{reason} {n}" for reason, n in status.dead_by_reason.items())


def _rate(status: "Status") -> str:
    from worker.cli import printing

    per_hour = status.settled_chunks * _HOUR_MINUTES / status.rate_minutes
    chunks = printing.count(status.settled_chunks, "chunk")
    minutes = f"{status.rate_minutes:g} min"
    if status.settled_bytes is None:
        return f"{chunks} in {minutes} ({per_hour:g} per hour)"
    size = printing.size(status.settled_bytes)
    per_second = printing.size(round(status.settled_bytes / status.rate_minutes / 60))
    return f"{chunks}, {size} in {minutes} ({per_hour:g} per hour, {per_second}/s)"


def _pause(status: "Status") -> str | None:
    from worker.cli import printing

    if status.problem:
        return f"nobody can tell: {status.problem}"
    if not status.paused:
        return None
    since = printing.moment(status.paused_since, now=status.as_of)
    return f"since {since} by {status.paused_by}: {status.pause_reason}"
