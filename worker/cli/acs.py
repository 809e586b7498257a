"""`acs …`: what an operator asks of Azure Communication Services; how it is asked and told."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer

from worker.cli import session

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.acs.answers import Planned
    from worker.acs.clients import Clients
    from worker.settings import Settings

T = TypeVar("T")
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the request; send nothing.")
]
Resource = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which ACS resource, if several are set up."),
]
RequestId = Annotated[
    UUID | None, typer.Option(help="Said again, it is done no second time.")
]
Callback = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Who is told: this worker's /api/callbacks."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How it is asked: which resource, and whether it is sent at all."""

    resource: str | None = None
    dry_run: bool = False
    request_id: UUID | None = None
    as_json: bool = False


class UnfitUsageError(typer.TyperException):
    """A command line that the service would refuse: told as any other wrong usage."""

    def __init__(self, message: str, context: typer.Context) -> None:
        super().__init__(message)
        self.ctx = context


@contextmanager
def usage(context: typer.Context) -> Iterator[None]:
    """Tell what was refused before the service was asked as wrong usage: exit 2."""
    from worker.acs.trouble import UnfitRequestError

    try:
        yield
    except UnfitRequestError as error:
        raise UnfitUsageError(str(error), context) from error


def ask(
    context: typer.Context, question: "Callable[[Clients], Awaitable[T]]", how: How
) -> "T | None":
    """Ask the resource. None: a dry run, which has printed what would be sent."""
    from worker.acs.clients import WouldSendError, open_clients
    from worker.acs.resources import resource_from
    from worker.acs.trouble import AcsRefusedError

    settings = settings_of(context)
    resource = resource_from(settings, how.resource)

    async def asked() -> T:
        async with open_clients(
            resource,
            rehearse=how.dry_run,
            request_id=str(how.request_id) if how.request_id else None,
        ) as clients:
            return await question(clients)

    with usage(context):
        try:
            return asyncio.run(asked())
        except WouldSendError as stopped:
            print_planned(stopped.planned, as_json=how.as_json)
            return None
        except AcsRefusedError as error:
            error.hint = error.hint or f"{context.command_path} --help"
            raise


def settings_of(context: typer.Context, *, for_media: bool = False) -> "Settings":
    from worker.settings_rules import Use

    use = Use.ACS_MEDIA if for_media else Use.ACS
    return session.settings_for(context, use, level="warning")


def print_planned(planned: "Planned", *, as_json: bool) -> None:
    """Say what would be sent."""
    import json

    from worker.cli import printing

    if as_json:
        printing.print_json(planned)
        return
    printing.print_line(f"{planned.method} {printing.cell(planned.url)}")
    if planned.body is not None:
        # In ASCII, so that nothing of it is obeyed by a terminal.
        printing.print_line(json.dumps(planned.body, indent=2))
    sys.stderr.write("a dry run: nothing was sent\n")


def log_asked(
    what: str, *, resource: str | None, subject: str | None, state: str | None = None
) -> None:
    """The line that says who did what; who takes part in a call is no part of it."""
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    log.warning(
        "acs.asked",
        what=what,
        subject=subject,
        state=state,
        resource=resource,
        by=session.user(),
    )


def named(text: str | None) -> str | None:
    """An id that is there: an empty one would ask for all, or for something else."""
    if text is not None and not text.strip():
        raise typer.BadParameter("it is empty")
    return text


def time_of(text: str) -> datetime:
    """`2026-12-01T10:00Z`: with its zone, for the room is open at one moment everywhere."""
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise typer.BadParameter("a time is like 2026-12-01T10:00Z, with its zone")


def pairs_of(
    texts: Sequence[str],
    *,
    what: str,
    context: typer.Context,
    form: str = "NAME=VALUE",
) -> dict[str, str]:
    """`NAME=VALUE` of an option that may be repeated; no name twice."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value or name in pairs:
            raise UnfitUsageError(
                f"{what} is {form}, each {form.partition('=')[0].lower()} once", context
            )
        pairs[name] = value
    return pairs


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask a person, unless they said yes already; who goes away says no."""
    try:
        return yes or typer.confirm(question, err=True)
    except typer.Abort:
        return False
