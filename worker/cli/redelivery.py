"""`replay --to`: saved events to a deployed endpoint, a line for each request."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import failures, session

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.endpoint import Endpoint
    from worker.redelivering import Plan, Redelivered

To = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Post them to a deployed endpoint instead, as Event Grid would.",
    ),
]
Header = Annotated[
    list[str] | None,
    typer.Option(
        metavar="'NAME: VALUE'",
        help="Send this to the endpoint too, instead of the first of WORKER_WEBHOOK_KEYS"
        " if it is a key.",
    ),
]
PlainHttp = Annotated[
    bool, typer.Option("--plain-http", help="Let the endpoint be http beyond loopback.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="With --to: say what would be posted.")
]
ANSWER_SECONDS = 30.0
"""As long as Event Grid waits."""
LOOK_CLOSER = "recording-worker doctor --endpoint URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """What the options of the command say; `url` and `headers` may hold a key."""

    url: str = field(repr=False)
    headers: Sequence[str] = field(repr=False)
    plain_http: bool
    dry_run: bool


def replay_to(
    context: typer.Context, files: Sequence[Path], destination: Destination
) -> int:
    """Deliver, and return the exit code."""
    from worker import redelivering, replaying

    endpoint = session.endpoint_for(
        context,
        destination.url,
        headers=destination.headers,
        plain_http=destination.plain_http,
    )
    plan = redelivering.plan_of(replaying.read_bodies(files))
    if destination.dry_run:
        _print_plan(endpoint, plan)
        return failures.DONE
    return asyncio.run(_deliver(endpoint, plan))


def _print_plan(endpoint: "Endpoint", plan: "Plan") -> None:
    from worker.cli import printing

    for batch in plan.batches:
        size = printing.size(batch.size_bytes)
        printing.print_line(
            f"would post  {printing.cell(batch.file)}  {batch.what}, {size}"
        )
    _print_end(endpoint, plan, sent=())


async def _deliver(endpoint: "Endpoint", plan: "Plan") -> int:
    import structlog

    from worker import redelivering
    from worker.cli import printing

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    sent: list[Redelivered] = []
    try:
        async for each in redelivering.redeliver(
            endpoint, plan, answer_seconds=ANSWER_SECONDS
        ):
            sent.append(each)
            status = each.outcome.status or "---"
            file = printing.cell(each.batch.file)
            printing.print_line(
                f"{status}  {file}  {each.batch.what}: {each.outcome.verdict.words}"
            )
    finally:
        _print_end(endpoint, plan, sent=sent)
        refused = sum(not each.is_taken for each in sent)
        log.warning(
            "replay.posted",
            to=endpoint.shown,
            by=session.user(),
            delivered=len(sent) - refused,
            refused=refused,
            not_sent=len(plan.batches) - len(sent),
        )
    return failures.NEEDS_ATTENTION if refused else failures.DONE


def _print_end(
    endpoint: "Endpoint", plan: "Plan", *, sent: "Sequence[Redelivered]"
) -> None:
    """What it came to, also where it was cut short."""
    from worker.cli import printing

    taken = sum(each.is_taken for each in sent)
    refused = len(sent) - taken
    printing.print_line()
    printing.print_fields(
        ("to", endpoint.shown),
        ("delivered", taken or None),
        ("refused", refused or None),
        ("not sent", len(plan.batches) - len(sent) or None),
        (
            "left out",
            f"{plan.left_out} of Event Grid itself" if plan.left_out else None,
        ),
        ("next", LOOK_CLOSER if any(map(_may_be_mended, sent)) else None),
    )


def _may_be_mended(each: "Redelivered") -> bool:
    """Whether it is the endpoint, or the key, that was wrong: 400 is said of the events."""
    return not each.is_taken and each.outcome.status != HTTPStatus.BAD_REQUEST
