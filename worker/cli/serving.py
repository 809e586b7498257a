"""`serve`, `webhook` and `consume`: the verbs that work until they are stopped."""

import asyncio
from typing import Annotated

import typer

from worker.cli import session


def serve(context: typer.Context) -> None:
    """Receive events and bring their chunks home, in one process.

    It listens at WORKER_LISTEN. SIGTERM ends it once what is in hand is done, or
    WORKER_DRAIN_SECONDS are over; a second one at once.
    """
    from worker import serving
    from worker.settings_rules import Use

    asyncio.run(serving.run_serve(session.settings_for(context, Use.SERVE)))


def webhook(context: typer.Context) -> None:
    """Receive events and queue their chunks, no more.

    It listens at WORKER_LISTEN; `consume` brings home what it queues.
    """
    from worker import serving
    from worker.settings_rules import Use

    asyncio.run(serving.run_webhook(session.settings_for(context, Use.WEBHOOK)))


def consume(
    context: typer.Context,
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="Stop when nothing is left to do.")
    ] = False,
) -> None:
    """Bring queued chunks home; listen to nobody.

    It sorts deliveries that a webhook deferred, and with WORKER_INBOX reads the events that
    Event Grid puts there. SIGTERM ends it once what is in hand is done, or
    WORKER_DRAIN_SECONDS are over; a second one at once.
    """
    from worker import serving
    from worker.settings_rules import Use

    settings = session.settings_for(context, Use.CONSUME)
    code = asyncio.run(serving.run_consume(settings, until_empty=until_empty))
    raise typer.Exit(code)
