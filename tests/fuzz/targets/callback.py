"""A callback's body, and what the log is told of it."""

import json
from collections.abc import Iterable

from structlog.testing import capture_logs

from handlers import callbacks
from handlers.callbacks import OTHER, TOLD, CallbackReceiver
from handlers.receiver import Received
from handlers.refusals import RefusedError
from handlers.statuses import Refusal
from tests.fuzz import mutations
from tests.fuzz.target import Target, ended

WHO = "8:acs:alice"
_FIELDS = {
    *("event", "log_level", "type", "state", "code", "sub_code"),
    *("recording_id", "call_connection_id", "correlation_id"),
}


def check(data: bytes) -> None:
    receiver = CallbackReceiver()
    with capture_logs() as lines:
        received = _received(receiver, data)
    if received is None:
        assert lines == []
        return
    assert receiver.counts.keys() <= {*TOLD, OTHER}
    assert receiver.counts.total() == received.events
    assert len(lines) == received.events - received.ignored
    for line in lines:
        assert line.keys() <= _FIELDS
        for name in ("recording_id", "call_connection_id", "correlation_id"):
            said = line.get(name, "a")
            assert callbacks._SHOWABLE.fullmatch(said)


def _received(receiver: CallbackReceiver, data: bytes) -> Received | None:
    """What became of it; None: it was refused as what is no callback."""
    try:
        received: Received = ended(receiver.receive(data, origin="fuzz"))
    except RefusedError as error:
        if error.refusal is not Refusal.BAD_CALLBACK:
            raise
        return None
    return received


def _seeds() -> Iterable[bytes]:
    data = {
        "callConnectionId": "c1",
        "recordingId": "eyJhIjoiMSJ9",
        "correlationId": "11111111-2222",
        "state": "active",
        "transferTarget": {"rawId": WHO},
        "resultInformation": {"code": 200, "subCode": 0, "message": WHO},
    }
    for kind in (*TOLD, "CallConnected"):
        event = {
            "id": "1",
            "source": "calling",
            "type": f"{callbacks.PREFIX}{kind}",
            "specversion": "1.0",
            "data": data,
        }
        yield json.dumps([event]).encode()
    yield b"[]"
    yield b'{"type": "Microsoft.Communication.CallTransferFailed"}'


CALLBACK = Target(name="callback", check=check, seeds=_seeds, mutate=mutations.of_json)
