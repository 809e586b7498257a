"""`acs call transfer`: to somebody, or into another call."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import acs, failures
from worker.cli.acs import Callback, DryRun, How, RequestId, Resource
from worker.cli.options import AsJson
from worker.clock import SystemClock

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.acs.answers import Transfer
    from worker.acs.clients import Clients
    from worker.acs.wishes import MoveWish, TransferWish

app = typer.Typer(help="Calls that the resource is in.", rich_markup_mode=None)
LONGEST_WAIT_SECONDS = 600
To = Annotated[
    str | None,
    typer.Option(metavar="ID", help="8:acs:…, 8:orgid:… (Teams), or +14255550123."),
]
CallId = Annotated[
    str,
    typer.Argument(metavar="CALL", callback=acs.named, help="Its callConnectionId."),
]
ToCall = Annotated[
    str | None,
    typer.Option(
        metavar="CALL", callback=acs.named, help="Move --participant there instead."
    ),
]
Participants = Annotated[
    list[str] | None,
    typer.Option("--participant", metavar="ID", help="Who moves, with --to-call."),
]
Transferee = Annotated[
    str | None, typer.Option(metavar="ID", help="Who is handed over, of several.")
]
CallerId = Annotated[
    str | None, typer.Option(metavar="NUMBER", help="What a phone shows.")
]
SipHeaders = Annotated[
    list[str] | None,
    typer.Option("--sip-header", metavar="NAME=VALUE", help="For phones."),
]
VoipHeaders = Annotated[
    list[str] | None,
    typer.Option("--voip-header", metavar="NAME=VALUE", help="For ACS and Teams."),
]
Operation = Annotated[
    str | None,
    typer.Option("--context", metavar="TEXT", help="Comes back in the callback."),
]
Wait = Annotated[
    int,
    typer.Option(min=0, max=LONGEST_WAIT_SECONDS, help="Seconds to see it through."),
]
_Whom = tuple[str | None, str | None, list[str] | None, list[str] | None]


@app.callback()
def calls() -> None:
    """Calls that the resource is in."""


@app.command(
    "transfer",
    epilog="Example: recording-worker acs call transfer c1 --to 8:acs:b --wait 10",
)
def transfer(  # noqa: PLR0913 - each is an independent wish
    context: typer.Context,
    *,
    call: CallId,
    to: To = None,
    to_call: ToCall = None,
    participant: Participants = None,
    transferee: Transferee = None,
    caller_id: CallerId = None,
    sip_header: SipHeaders = None,
    voip_header: VoipHeaders = None,
    callback: Callback = None,
    operation: Operation = None,
    wait: Wait = 0,
    request_id: RequestId = None,
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Hand a call over to somebody, or move people into another call.

    States: None, Transferring, Transferred, Failed. Exit 1 if it failed, 3 if --wait
    ended before it was over. ACS has no transfer to voicemail from a server.
    """
    how = How(
        resource=resource, dry_run=dry_run, request_id=request_id, as_json=as_json
    )
    told = {"callback": callback, "context": operation}
    whom = (transferee, caller_id, sip_header, voip_header)
    if (to is None) == (to_call is None):
        raise acs.UnfitUsageError("say where to by --to or by --to-call", context)
    if to is None and (any(whom) or wait):
        raise acs.UnfitUsageError("--to-call goes with --participant", context)
    if to is not None and participant:
        raise acs.UnfitUsageError("--participant goes with --to-call", context)
    if to is None:
        _move(context, _move_wish(context, call, to_call, participant, told), how)
    else:
        wish = _transfer_wish(context, call, to, told, whom)
        _transfer(context, wish, how, wait=wait)


def _transfer_wish(
    context: typer.Context,
    call: str,
    to: str,
    told: dict[str, str | None],
    whom: _Whom,
) -> "TransferWish":
    from worker.acs import identities
    from worker.acs.wishes import TransferWish

    transferee, caller_id, sip, voip = whom
    with acs.usage(context):
        return TransferWish(
            call_connection=call,
            target=identities.raw_id(to),
            transferee=identities.raw_id(transferee) if transferee else None,
            caller_id=identities.phone_number(caller_id) if caller_id else None,
            sip_headers=acs.pairs_of(sip or [], what="--sip-header", context=context),
            voip_headers=acs.pairs_of(
                voip or [], what="--voip-header", context=context
            ),
            callback=told["callback"],
            context=told["context"],
        )


def _move_wish(
    context: typer.Context,
    call: str,
    to_call: str | None,
    participant: list[str] | None,
    told: dict[str, str | None],
) -> "MoveWish":
    from worker.acs import identities
    from worker.acs.wishes import MoveWish

    with acs.usage(context):
        return MoveWish(
            from_call=call,
            to_call=to_call or "",
            participants=identities.raw_ids(participant or ()),
            callback=told["callback"],
            context=told["context"],
        )


def _transfer(
    context: typer.Context, wish: "TransferWish", how: How, *, wait: int
) -> None:
    from worker.acs import calls as asked
    from worker.acs.answers import TransferState

    async def transferred(clients: "Clients") -> "Transfer":
        begun = await asked.transfer(clients, wish)
        # Before it is waited for: it is asked for, whatever becomes of us.
        _log("call transfer", clients, begun)
        if not wait:
            return begun
        state = await asked.wait_for_transfer(
            clients, begun, clock=SystemClock(), seconds=wait
        )
        return replace(begun, state=state)

    found = acs.ask(context, transferred, how)
    if found is None:
        return
    _print(found, how)
    if found.state is TransferState.FAILED:
        raise typer.Exit(failures.FAILED)
    if wait and found.state is not TransferState.TRANSFERRED:
        sys.stderr.write("hint: the callback says how it ended: callback.received\n")
        raise typer.Exit(failures.NEEDS_ATTENTION)


def _move(context: typer.Context, wish: "MoveWish", how: How) -> None:
    from worker.acs import calls as asked

    async def moved(clients: "Clients") -> "Transfer":
        found = await asked.move(clients, wish)
        _log("call move", clients, found)
        return found

    found = acs.ask(context, moved, how)
    if found is not None:
        _print(found, how)


def _log(what: str, clients: "Clients", begun: "Transfer") -> None:
    acs.log_asked(
        what,
        resource=clients.resource.name,
        subject=begun.call_connection,
        state=begun.state,
    )


def _print(found: "Transfer", how: How) -> None:
    from worker.cli import printing

    if how.as_json:
        printing.print_json(found)
        return
    printing.print_fields(
        ("call", found.call_connection),
        ("state", found.state),
        ("to call", found.to_call),
        ("moved", ", ".join(found.moved)),
        ("context", found.context),
    )
