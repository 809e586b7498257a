"""`doctor`: what is wrong, and how to mend it."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worker.cli import failures, piping, redelivery, session
from worker.cli.options import AsJson

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from collections.abc import Sequence

    from samples.event_grid import Schema
    from worker.endpoint import Endpoint
    from worker.ops.config import ConfigReport
    from worker.ops.doctor import Examination, Finding, Tell
    from worker.own_checks.deployment import Deployment
    from worker.settings_rules import Use

GRADE_COLUMNS = len("skipped")
CHECK_COLUMNS = len("handshake, Event Grid's schema")
ABOUT_ENDPOINTS = "--header, --schema, --topic and --plain-http"

EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="Ask a deployed endpoint instead, as a subscription has it.",
    ),
]
WantedFor = Annotated[
    Literal["serve", "webhook", "consume"],
    typer.Option("--for", help="Check what this verb needs."),
]
DeadLetters = Annotated[
    str | None,
    typer.Option(
        "--dead-letters",
        metavar="URL",
        help="Container of Event Grid's dead letters; else dead-letters, beside the"
        " archive.",
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


def doctor(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    endpoint: EndpointUrl = None,
    wanted_for: WantedFor = "serve",
    dead_letters: DeadLetters = None,
    header: redelivery.Header = None,
    schema: OneSchema = None,
    topic: Topic = None,
    plain_http: redelivery.PlainHttp = False,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong, and which command mends it.

    It looks at settings, disks, identities, clock, source, archive, queue, dead letters, and
    writes one small object, always the same, and a probe that no worker takes for a chunk.

    --endpoint asks an endpoint as Event Grid does: both handshakes, a test delivery that
    nobody acts on (its event is of the type invalid.recording-worker.doctor.test), one with
    a wrong key, which leaves a line delivery.refused in its log; certificate, /readyz. A key
    in the URL is seen by everybody on this machine; WORKER_WEBHOOK_KEYS is not.

    Exit 3 if something needs attention, 1 if nothing is there, 78 if a setting is wrong.
    """
    if endpoint is None:
        if header or schema or topic or plain_http:
            raise typer.BadParameter(f"{ABOUT_ENDPOINTS} go with --endpoint")
        _examine_here(context, wanted_for, dead_letters, as_json=as_json)
        return
    if dead_letters:
        raise typer.BadParameter("--endpoint and --dead-letters exclude each other")
    named = session.endpoint_for(
        context, endpoint, headers=header or (), plain_http=plain_http, topic=topic
    )
    _examine_endpoint(named, schema, as_json=as_json)


def _examine_here(
    context: typer.Context, wanted_for: str, dead_letters: str | None, *, as_json: bool
) -> None:
    from worker.ops.config import config_report
    from worker.settings import inspect_process
    from worker.settings_rules import Use

    use = Use(wanted_for)
    inspection = inspect_process(session.invocation_of(context).env_file, use=use)
    deployment = None
    if inspection.settings is not None:
        deployment = session.deployment_for(context, use, dead_letters=dead_letters)
    _begin(f"recording-worker {use}", as_json=as_json)
    found = asyncio.run(
        _examined_here(
            deployment, config_report(inspection), use, tell=_teller(as_json=as_json)
        )
    )
    if deployment is None:
        _print_json(found, as_json=as_json)
        raise typer.Exit(failures.CONFIGURATION)
    _end(found, as_json=as_json)


def _examine_endpoint(
    endpoint: "Endpoint", schema: "Schema | None", *, as_json: bool
) -> None:
    schemas: Sequence[Schema] = (schema,) if schema else ("eventgrid", "cloudevents")
    _begin(endpoint.shown, as_json=as_json)
    found = asyncio.run(_examined(endpoint, schemas, tell=_teller(as_json=as_json)))
    _end(found, as_json=as_json)


async def _examined_here(
    deployment: "Deployment | None",
    report: "ConfigReport",
    use: "Use",
    *,
    tell: "Tell",
) -> "Examination":
    from worker.own_checks.checks import examine

    return await examine(deployment, report, use, tell=tell)


async def _examined(
    endpoint: "Endpoint", schemas: "Sequence[Schema]", *, tell: "Tell"
) -> "Examination":
    from worker.clock import SystemClock
    from worker.endpoint_checks.checks import examine
    from worker.endpoint_checks.visit import visiting

    async with visiting(
        endpoint,
        schemas=schemas,
        clock=SystemClock(),
        answer_seconds=redelivery.ANSWER_SECONDS,
    ) as visit:
        return await examine(visit, tell=tell)


def _begin(of: str, *, as_json: bool) -> None:
    from worker.cli import printing

    if not as_json:
        printing.print_line(printing.cell(of))


def _teller(*, as_json: bool) -> "Tell":
    """A line as soon as it is known; a document comes as a whole."""
    return (lambda _: None) if as_json else _print_finding


def _print_finding(found: "Finding") -> None:
    """One line, and below it what helps."""
    from worker.cli import printing

    if found.grade == "not ok":
        piping.end_with(failures.NEEDS_ATTENTION)
    told = ": ".join(filter(None, (found.seen, found.means)))
    line = f"{found.grade:<{GRADE_COLUMNS}}  {found.check:<{CHECK_COLUMNS}}  {told}"
    printing.print_line(printing.cell(line))
    if found.hint:
        printing.print_line(f"{'':<{GRADE_COLUMNS}}  hint: {found.hint}")
    printing.flush()


def _end(found: "Examination", *, as_json: bool) -> None:
    if found.needs_attention:
        piping.end_with(failures.NEEDS_ATTENTION)
    _print_json(found, as_json=as_json)
    if not found.is_reachable:
        raise typer.Exit(failures.FAILED)
    raise typer.Exit(
        failures.NEEDS_ATTENTION if found.needs_attention else failures.DONE
    )


def _print_json(found: "Examination", *, as_json: bool) -> None:
    from worker.cli import printing

    if as_json:
        printing.print_json(found)
