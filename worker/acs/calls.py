"""Recordings and transfers, by Call Automation's client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from azure.communication.callautomation import (
    AzureBlobContainerRecordingStorage,
    ChannelAffinity,
    PhoneNumberIdentifier,
)
from azure.core.exceptions import AzureError, ResourceNotFoundError

from worker.acs.answers import RecordingState, Transfer, TransferState
from worker.acs.clients import Clients
from worker.acs.named import identifier
from worker.acs.trouble import AcsUnavailableError, error_from, unreadable
from worker.acs.wishes import MoveWish, StartWish, TransferWish
from worker.errors import WorkerError
from worker.ports import Clock

POLL_SECONDS = 1.0
_CONTENT = {"audio": "audio", "audio-video": "audioVideo"}
_AS_BEFORE = "connected"
_STATES = {
    "transferring": TransferState.TRANSFERRING,
    "transferaccepted": TransferState.TRANSFERRED,
}


@asynccontextmanager
async def told(clients: Clients) -> AsyncIterator[None]:
    """Turn what the SDK raises into ours."""
    try:
        yield
    except (AzureError, TimeoutError) as error:
        raise error_from(error, host=clients.resource.host) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise unreadable(clients.resource.host) from error


async def start(clients: Clients, wish: StartWish) -> RecordingState:
    """Start a recording."""
    options: dict[str, Any] = {
        "server_call_id": wish.which.server_call,
        "group_call_id": wish.which.group_call,
        "room_id": wish.which.room,
        "call_connection_id": wish.which.call_connection,
        "recording_state_callback_url": wish.callback,
        "recording_content_type": _CONTENT[wish.shape.content],
        "recording_channel_type": wish.shape.channel,
        "recording_format_type": wish.shape.format,
        "pause_on_start": wish.is_paused or None,
        "audio_channel_participant_ordering": [identifier(each) for each in wish.order],
        "channel_affinity": [
            ChannelAffinity(identifier(who), channel)
            for channel, who in sorted(wish.affinity.items())
        ],
        "recording_storage": AzureBlobContainerRecordingStorage(wish.container)
        if wish.container
        else None,
    }
    said = {name: value for name, value in options.items() if value}
    async with told(clients):
        found = await clients.calls.start_recording(**said)
    return _state_from(found, "")


async def state(clients: Clients, recording_id: str) -> RecordingState:
    """How a recording stands."""
    async with told(clients):
        found = await clients.calls.get_recording_properties(recording_id)
    return _state_from(found, recording_id)


def _state_from(found: Any, recording_id: str) -> RecordingState:
    return RecordingState(
        recording_id=found.recording_id or recording_id,
        state=_text(found.recording_state),
        kind=_text(found.recording_kind),
    )


async def stop(clients: Clients, recording_id: str) -> RecordingState:
    """End a recording; its chunks come with their event, minutes later."""
    async with told(clients):
        await clients.calls.stop_recording(recording_id)
    return RecordingState(recording_id=recording_id, state="inactive")


async def pause(clients: Clients, recording_id: str) -> RecordingState:
    """Record nothing from now on, until it is resumed."""
    async with told(clients):
        await clients.calls.pause_recording(recording_id)
    return RecordingState(recording_id=recording_id, state="inactive")


async def resume(clients: Clients, recording_id: str) -> RecordingState:
    """Go on after a pause."""
    async with told(clients):
        await clients.calls.resume_recording(recording_id)
    return RecordingState(recording_id=recording_id, state="active")


async def transfer(clients: Clients, wish: TransferWish) -> Transfer:
    """Ask for a transfer; whether the target takes it shows later."""
    call = clients.calls.get_call_connection(wish.call_connection)
    number = PhoneNumberIdentifier(wish.caller_id) if wish.caller_id else None
    async with told(clients):
        found = await call.transfer_call_to_participant(
            identifier(wish.target),
            operation_context=wish.context,
            operation_callback_url=wish.callback,
            transferee=identifier(wish.transferee) if wish.transferee else None,
            sip_headers=wish.sip_headers or None,
            voip_headers=wish.voip_headers or None,
            source_caller_id_number=number,
        )
    return Transfer(
        call_connection=wish.call_connection,
        state=TransferState.TRANSFERRING,
        context=found.operation_context or wish.context,
    )


async def transfer_state(clients: Clients, call_connection: str) -> TransferState:
    """How a transfer of that call stands now.

    NONE: the call says nothing of one: none has begun, it failed, or it was accepted and the
    call has ended for us, as it does then.
    """
    return _transfer_in(await _call_state(clients, call_connection))


async def _call_state(clients: Clients, call_connection: str) -> str:
    """Empty: there is no such call, or no more."""
    call = clients.calls.get_call_connection(call_connection)
    try:
        async with told(clients):
            found = await call.get_call_properties()
    except WorkerError as error:
        if isinstance(error.__cause__, ResourceNotFoundError):
            return ""
        raise
    return (_text(found.call_connection_state) or "").casefold()


def _transfer_in(call: str) -> TransferState:
    return _STATES.get(call, TransferState.NONE)


async def wait_for_transfer(
    clients: Clients, begun: Transfer, *, clock: Clock, seconds: float
) -> TransferState:
    """Look until it is over, or for that long; then it is still TRANSFERRING."""
    ends_at = clock.monotonic() + seconds
    was_seen = False
    while True:
        # It was asked for: that nobody can be asked about it now doesn't end it.
        with suppress(AcsUnavailableError):
            call = await _call_state(clients, begun.call_connection)
            now = _transfer_in(call)
            if now is TransferState.TRANSFERRED:
                return now
            if now is TransferState.NONE and was_seen:
                # Nobody took it if the call is as it was; if it is gone, the callback says why.
                return TransferState.FAILED if call == _AS_BEFORE else now
            was_seen = was_seen or now is TransferState.TRANSFERRING
        if clock.monotonic() >= ends_at:
            return TransferState.TRANSFERRING if was_seen else TransferState.NONE
        await clock.sleep(POLL_SECONDS)


async def move(clients: Clients, wish: MoveWish) -> Transfer:
    """Take participants into another call of ours."""
    call = clients.calls.get_call_connection(wish.to_call)
    async with told(clients):
        found = await call.move_participants(
            [identifier(each) for each in wish.participants],
            wish.from_call,
            operation_context=wish.context,
            operation_callback_url=wish.callback,
        )
    return Transfer(
        call_connection=wish.from_call,
        state=TransferState.TRANSFERRING,
        context=found.operation_context or wish.context,
        moved=wish.participants,
        to_call=wish.to_call,
    )


def _text(said: object) -> str | None:
    """An enum of the SDK or a word that it doesn't know, as the service writes it."""
    return None if said is None else str(getattr(said, "value", said))
