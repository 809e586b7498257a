"""The options by which entries of the queue are chosen."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import times
from worker.clock import SystemClock
from worker.model import ChunkState

if TYPE_CHECKING:
    from worker.ops.selecting import Selection

Reason = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="REASON", help="Only with this reason; repeat."),
]
Call = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Only of this call, or server call."),
]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(
        metavar="SPAN", help="Only announced so long ago: 2h.", parser=times.span
    ),
]
Within = Annotated[
    timedelta | None,
    typer.Option(
        metavar="SPAN", help="Only with no more time left: 6h.", parser=times.span
    ),
]


def selection(
    *,
    state: ChunkState | None = None,
    reasons: list[str] | None = None,
    call: str | None = None,
    worker: str | None = None,
    older_than: timedelta | None = None,
    within: timedelta | None = None,
) -> "Selection":
    from worker.ops.selecting import Selection

    said = [("--call", call), ("--worker", worker)]
    said += [("--reason", reason) for reason in reasons or ()]
    for option, text in said:
        # A variable of a shell that is not set must not mean: whatever it is.
        if text is not None and not text.strip():
            raise typer.BadParameter("it is empty", param_hint=option)
    now = SystemClock().now()
    return Selection(
        state=state,
        reasons=tuple(reasons or ()),
        call=call,
        worker=worker,
        received_before=None if older_than is None else now - older_than,
        expires_before=None if within is None else now + within,
    )
