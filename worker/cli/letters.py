"""`replay URL`: Event Grid's dead letters, from their container."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import failures, piping, redelivery, session, times
from worker.clock import SystemClock

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.endpoint import Endpoint
    from worker.ops.letters import LetterReplay, LetterRow, Taker
    from worker.ports import Archive
    from worker.settings import Settings
    from worker.storage_places import Place

Since = Annotated[
    datetime | None,
    typer.Option(
        metavar="MOMENT",
        help="Of a container: written since then, or since so long: 6h.",
        parser=times.moment,
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(
        metavar="MOMENT", help="Of a container: written before.", parser=times.moment
    ),
]
Again = Annotated[
    bool, typer.Option("--again", help="Of a container: what was taken before, too.")
]
All = Annotated[bool, typer.Option("--all", help="Of a container: all of it.")]
LOOPBACK = {"WORKER_LISTEN": "127.0.0.1:0"}
"""Nothing listens here; the rule is for who does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which blobs of a container."""

    since: datetime | None
    until: datetime | None
    again: bool
    everything: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which blobs, and where to."""

    url: str = field(repr=False)
    which: Which
    destination: redelivery.Destination | None
    dry_run: bool
    as_json: bool


def refuse_without_container(which: Which) -> None:
    """Files are chosen by their names."""
    if which.since or which.until or which.again or which.everything:
        raise typer.BadParameter(
            "--since, --until, --again and --all go with a container's URL"
        )


def replay_letters(context: typer.Context, wanted: Wanted) -> int:
    """Feed them in, and return the exit code."""
    place = _place(wanted)
    replayed = _Replayed(wanted=wanted, place=place)
    asyncio.run(replayed.run(context))
    if not wanted.as_json:
        replayed.print_end()
    return failures.NEEDS_ATTENTION if replayed.left else failures.DONE


def _place(wanted: Wanted) -> "Place":
    from worker import storage_places
    from worker.storage_places import NoPlaceError, Service

    try:
        place = storage_places.parse(wanted.url, Service.BLOB)
    except NoPlaceError as error:
        raise typer.BadParameter(f"the container's URL {error}") from None
    which = wanted.which
    is_filtered = bool(place.prefix or which.since or which.until)
    if not (is_filtered or which.everything):
        raise typer.BadParameter(
            "say which: a prefix in the URL, --since, --until, or --all of the container"
        )
    if which.everything and is_filtered:
        raise typer.BadParameter("--all goes with no prefix, --since or --until")
    return place


@dataclass(slots=True, kw_only=True)
class _Replayed:
    """One replay, as it goes on."""

    wanted: Wanted
    place: "Place"
    outcomes: "Counter[str]" = field(default_factory=Counter)
    chunks: int = 0
    left: int = 0
    is_remembered: bool = True
    to: str = "queue"

    async def run(self, context: typer.Context) -> None:
        wanted = self.wanted
        async with AsyncExitStack() as stack:
            replay = await self._open(context, stack)
            self.to, self.is_remembered = replay.taker.to, replay.archive is not None
            try:
                async for row in replay.run(
                    since=wanted.which.since,
                    until=wanted.which.until,
                    dry_run=wanted.dry_run,
                ):
                    self._add(row)
            finally:
                if self.outcomes and not wanted.dry_run:
                    self._log(replay.letters.container)

    async def _open(
        self, context: typer.Context, stack: AsyncExitStack
    ) -> "LetterReplay":
        """Everything that it takes; a dry run, and a replay to elsewhere, make nothing."""
        from worker import letterbox, opening, redelivering
        from worker.ops.letters import LetterReplay

        settings, endpoint = self._settings(context)
        letters = letterbox.open_letters(settings, self.place)
        opened = await stack.enter_async_context(letters)
        archive: Archive | None
        taker: Taker
        if endpoint is not None:
            archive = await stack.enter_async_context(
                opening.open_known_archive(settings)
            )
            sending = redelivering.open_redelivery(
                endpoint, answer_seconds=redelivery.ANSWER_SECONDS
            )
            taker = await stack.enter_async_context(sending)
        elif self.wanted.dry_run:
            archive = await stack.enter_async_context(
                opening.open_known_archive(settings)
            )
            taker = letterbox.Nobody()
        else:
            taking = letterbox.open_queue_taker(settings)
            archive, taker = await stack.enter_async_context(taking)
        return LetterReplay(
            letters=opened,
            archive=archive,
            taker=taker,
            again=self.wanted.which.again,
            by=session.user(),
            now=SystemClock().now(),
        )

    def _settings(self, context: typer.Context) -> "tuple[Settings, Endpoint | None]":
        from worker.settings_rules import Use
        from worker.storage_places import signature_texts

        secrets = signature_texts(self.place.sas)
        destination = self.wanted.destination
        if destination is not None:
            return session.settings_and_endpoint(
                context,
                destination.url,
                headers=destination.headers,
                plain_http=destination.plain_http,
                secrets=secrets,
            )
        use = Use.READ if self.wanted.dry_run else Use.WEBHOOK
        settings = session.settings_for(
            context, use, level="warning", overrides=LOOPBACK, secrets=secrets
        )
        return settings, None

    def _add(self, row: "LetterRow") -> None:
        from worker.cli import printing

        self.outcomes[row.outcome] += 1
        self.chunks += row.chunks or 0
        self.left += row.is_left
        if row.is_left:
            piping.end_with(failures.NEEDS_ATTENTION)
        if self.wanted.as_json:
            printing.print_json_lines([row])
        elif row.outcome != "known":
            printing.print_line(printing.cell(f"{row.outcome:<12}  {_said(row)}"))

    def _log(self, container: str) -> None:
        import structlog

        log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
        log.warning(
            "letters.replayed",
            container=container,
            to=self.to,
            by=session.user(),
            replayed=self.outcomes["replayed"],
            known=self.outcomes["known"],
            left=self.left,
        )

    def print_end(self) -> None:
        from worker.cli import printing

        if not self.outcomes:
            printing.print_line("nothing to replay: no dead letter is meant")
            return
        done = self.outcomes["replayed"]
        printing.print_line()
        printing.print_fields(
            ("from", self.place.url),
            ("to be replayed", self.outcomes["would-replay"] or None),
            ("replayed", f"{done} to the {self.to}" if done else None),
            ("chunks", self.chunks or None),
            (
                "known",
                f"{known}, see --again" if (known := self.outcomes["known"]) else None,
            ),
            ("left", self.left or None),
            (
                "not remembered",
                None if self.is_remembered else "there is no archive here",
            ),
            ("next", "recording-worker status --watch" if self.chunks else None),
        )


def _said(row: "LetterRow") -> str:
    from worker.cli import printing

    told = [printing.size(row.size_bytes)]
    told += [printing.count(row.events, "event")] if row.events is not None else []
    told += [printing.count(row.chunks, "chunk")] if row.chunks is not None else []
    told += [f"{row.status}"] if row.is_left and row.status else []
    told += [row.error] if row.error else []
    return f"{row.blob}  {', '.join(told)}"
