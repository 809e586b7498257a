"""`doctor`: what is wrong, and how to mend it."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worker.cli import failures, redelivery, session

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from collections.abc import Sequence

    from samples.event_grid import Schema
    from worker.endpoint import Endpoint
    from worker.ops.doctor import Examination

EndpointUrl = Annotated[
    str,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="A deployed endpoint, as a subscription has it.",
    ),
]
OneSchema = Annotated[
    Literal["eventgrid", "cloudevents"] | None,
    typer.Option("--schema", help="Of the subscription; else both are tried."),
]
Topic = Annotated[
    str | None,
    typer.Option(
        "--topic",
        metavar="ID",
        help="ARM id of the topic; else the first of WORKER_EVENT_TOPICS.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def doctor(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    endpoint: EndpointUrl,
    header: redelivery.Header = None,
    schema: OneSchema = None,
    topic: Topic = None,
    plain_http: redelivery.PlainHttp = False,
    as_json: AsJson = False,
) -> None:
    """Ask an endpoint as Event Grid does, and say what mends it.

    Both handshakes, a test delivery that nobody acts on (its event is of the type
    invalid.recording-worker.doctor.test), one with a wrong key, which leaves a line
    delivery.refused in its log; certificate, /readyz.

    Exit 3 if something needs attention, 1 if nobody is there. A key in the URL is seen by
    everybody on this machine; WORKER_WEBHOOK_KEYS is not.
    """
    from worker.cli import printing

    schemas: Sequence[Schema] = (schema,) if schema else ("eventgrid", "cloudevents")
    named = session.endpoint_for(
        context,
        endpoint,
        headers=header or (),
        plain_http=plain_http,
        topic=topic,
    )
    found = asyncio.run(_examined(named, schemas))
    printing.print_json(found) if as_json else _print(found)
    if not found.is_reachable:
        raise typer.Exit(failures.FAILED)
    raise typer.Exit(
        failures.NEEDS_ATTENTION if found.needs_attention else failures.DONE
    )


async def _examined(endpoint: "Endpoint", schemas: "Sequence[Schema]") -> "Examination":
    from worker.clock import SystemClock
    from worker.endpoint_checks.checks import examine
    from worker.endpoint_checks.visit import visiting

    async with visiting(
        endpoint,
        schemas=schemas,
        clock=SystemClock(),
        answer_seconds=redelivery.ANSWER_SECONDS,
    ) as visit:
        return await examine(visit)


def _print(found: "Examination") -> None:
    """One line each, and below it what helps."""
    from worker.cli import printing

    printing.print_line(printing.cell(found.of))
    grades = max(len(each.grade) for each in found.findings)
    checks = max(len(each.check) for each in found.findings)
    for each in found.findings:
        told = ": ".join(filter(None, (each.seen, each.means)))
        line = f"{each.grade:<{grades}}  {each.check:<{checks}}  {told}"
        printing.print_line(printing.cell(line))
        if each.hint:
            printing.print_line(f"{'':<{grades}}  hint: {each.hint}")
