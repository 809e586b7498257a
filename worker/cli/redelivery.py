"""`replay --to`: saved events to a deployed endpoint, a line for each request."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import failures, piping, session

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from collections.abc import Iterator

    from worker.endpoint import Endpoint
    from worker.posting import Bodies
    from worker.redelivering import Batch, Redelivered, RedeliveredRow

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
    bool,
    typer.Option(
        "--dry-run", help="With --to, or of a container: say what would be done."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="With --to, or of a container: print JSON lines.")
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
    as_json: bool


def destination(
    to: str | None,
    header: list[str] | None,
    plain_http: bool,
    dry_run: bool,
    as_json: bool,
) -> Destination | None:
    """None: not to an endpoint."""
    if to is None:
        if header or plain_http:
            raise typer.BadParameter("--header and --plain-http go with --to")
        return None
    return Destination(
        url=to,
        headers=header or (),
        plain_http=plain_http,
        dry_run=dry_run,
        as_json=as_json,
    )


def replay_to(
    context: typer.Context, files: Sequence[Path], destination: Destination
) -> int:
    """Deliver, and return the exit code."""
    from worker import replaying

    endpoint = session.endpoint_for(
        context,
        destination.url,
        headers=destination.headers,
        plain_http=destination.plain_http,
    )
    work = _Work(
        endpoint=endpoint,
        bodies=replaying.read_bodies(files),
        as_json=destination.as_json,
    )
    if destination.dry_run:
        work.plan()
    else:
        asyncio.run(work.deliver())
    return failures.NEEDS_ATTENTION if work.refused else failures.DONE


@dataclass(slots=True, kw_only=True)
class _Work:
    """File by file, so that no more than one is held."""

    endpoint: "Endpoint"
    bodies: "Bodies"
    as_json: bool
    planned: int = 0
    left_out: int = 0
    taken: int = 0
    refused: int = 0
    may_be_mended: bool = False

    def plan(self) -> None:
        """Say what would be posted."""
        from worker.redelivering import row_of

        for batch in self._batches():
            size = row_of(batch).size_bytes
            self._print(
                row_of(batch), f"would post  {batch.file}  {batch.what}, {_size(size)}"
            )
        self._print_end()

    async def deliver(self) -> None:
        """Post, and say for each what was answered; what it came to, also if cut short."""
        from worker import redelivering

        batches = self._batches()
        try:
            async with redelivering.open_redelivery(
                self.endpoint, answer_seconds=ANSWER_SECONDS
            ) as redelivery:
                for batch in batches:
                    self._add(await redelivery.send(batch))
        finally:
            # The others are counted.
            for _ in batches:
                pass
            self._log()
            self._print_end()

    def _batches(self) -> "Iterator[Batch]":
        from worker.redelivering import plan_of

        for body in self.bodies:
            plan = plan_of([body])
            self.left_out += plan.left_out
            self.planned += len(plan.batches)
            yield from plan.batches

    def _add(self, each: "Redelivered") -> None:
        from worker.redelivering import row_of

        outcome = each.outcome
        self.taken += each.is_taken
        self.refused += not each.is_taken
        if not each.is_taken:
            piping.end_with(failures.NEEDS_ATTENTION)
        # 400 is said of the events; else it is the endpoint, or the key, that is wrong.
        is_mendable = outcome.status != HTTPStatus.BAD_REQUEST
        self.may_be_mended |= is_mendable and not each.is_taken
        status, batch = outcome.status or "---", each.batch
        line = f"{status}  {batch.file}  {batch.what}: {outcome.verdict.words}"
        self._print(row_of(batch, each), line)

    def _print(self, row: "RedeliveredRow", line: str) -> None:
        from worker.cli import printing

        if self.as_json:
            printing.print_json_lines([row])
        else:
            printing.print_line(printing.cell(line))

    def _print_end(self) -> None:
        from worker.cli import printing

        if self.as_json:
            return
        left_out = f"{self.left_out} of Event Grid itself" if self.left_out else None
        printing.print_line()
        printing.print_fields(
            ("to", self.endpoint.shown),
            ("delivered", self.taken or None),
            ("refused", self.refused or None),
            ("not sent", self._not_sent or None),
            ("left out", left_out),
            ("next", LOOK_CLOSER if self.may_be_mended else None),
        )

    @property
    def _not_sent(self) -> int:
        return self.planned - self.taken - self.refused

    def _log(self) -> None:
        import structlog

        log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
        log.warning(
            "replay.posted",
            to=self.endpoint.shown,
            by=session.user(),
            delivered=self.taken,
            refused=self.refused,
            not_sent=self._not_sent,
        )


def _size(size_bytes: int) -> str:
    from worker.cli import printing

    return printing.size(size_bytes)
