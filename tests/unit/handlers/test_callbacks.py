"""What Call Automation calls back about is told in one line each, without who took part."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from handlers.callbacks import CallbackReceiver
from handlers.receiver import ReceivedKind
from handlers.refusals import RefusedError
from handlers.statuses import Refusal
from tests.unit.worker.measured import measured
from worker.telemetry.instruments import CALLBACKS

SECRET = "8:acs:alice-of-accounts"
IDS = {
    "callConnectionId": "c1",
    "correlationId": "11111111-2222",
    "serverCallId": SECRET,
}
RESULT = {"code": 603, "subCode": 560000, "message": f"{SECRET} declined."}


def an_event(kind: str, **data: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "source": "calling/callConnections/c1",
        "type": f"Microsoft.Communication.{kind}",
        "specversion": "1.0",
        "data": data,
    }


async def told(
    *events: Any, receiver: CallbackReceiver | None = None
) -> list[dict[str, Any]]:
    """The lines that these events cause."""
    with capture_logs() as lines:
        body = json.dumps(list(events)).encode()
        await (receiver or CallbackReceiver()).receive(body, origin="webhook")
    assert SECRET not in str(lines)
    return [dict(line) for line in lines]


@pytest.mark.parametrize(
    ("kind", "data", "level", "said"),
    [
        (
            "RecordingStateChanged",
            IDS | {"recordingId": "eyJhIjoiMSJ9=", "state": "active"},
            "info",
            {"recording_id": "eyJhIjoiMSJ9=", "state": "active"},
        ),
        (
            "StartRecordingFailed",
            IDS | {"recordingId": "eyJhIjoiMSJ9=", "resultInformation": RESULT},
            "error",
            {"recording_id": "eyJhIjoiMSJ9=", "code": 603, "sub_code": 560000}
            | {"state": None},
        ),
        (
            "CallTransferAccepted",
            IDS
            | {"transferTarget": {"rawId": SECRET}, "resultInformation": {"code": 200}},
            "info",
            {"state": "Transferred", "code": 200},
        ),
        (
            "CallTransferFailed",
            IDS | {"operationContext": SECRET, "resultInformation": RESULT},
            "warning",
            {"state": "Failed", "code": 603, "sub_code": 560000},
        ),
    ],
)
async def test_callback_is_one_line(
    kind: str, data: dict[str, Any], level: str, said: dict[str, Any]
) -> None:
    """Of which call and recording, how it stands, and the codes."""
    (line,) = await told(an_event(kind, **data))

    assert (
        line
        == {
            "event": "callback.received",
            "log_level": level,
            "type": kind,
            "call_connection_id": "c1",
            "correlation_id": "11111111-2222",
        }
        | said
    )


async def test_what_is_of_no_known_shape_is_left_out() -> None:
    """Whatever a service may say one day."""
    (line,) = await told(
        an_event(
            "RecordingStateChanged",
            recordingId="two words",
            state=["active"],
            callConnectionId=7,
            resultInformation={"code": "603", "subCode": True},
        ),
        an_event("CallConnected", callConnectionId="c1"),
        "no event",
    )

    assert line == {
        "event": "callback.received",
        "log_level": "info",
        "type": "RecordingStateChanged",
        "state": None,
    }


async def test_callbacks_are_counted_by_type() -> None:
    """Those that nobody here waits for, together."""
    receiver = CallbackReceiver()
    kinds = ("CallTransferFailed", "CallTransferFailed", "CallConnected", "Odd.Type")
    body = json.dumps([an_event(kind, resultInformation=None) for kind in kinds])

    received = await receiver.receive(body.encode(), origin="webhook")

    assert dict(receiver.counts) == {"CallTransferFailed": 2, "other": 2}
    assert (received.events, received.ignored) == (4, 2)
    assert received.kind is ReceivedKind.ACCEPTED


async def test_none_that_anyone_waits_for_is_fine() -> None:
    """Call Automation tells more than this."""
    body = json.dumps([an_event("CallConnected")]).encode()

    received = await CallbackReceiver().receive(body, origin="webhook")

    assert received.kind is ReceivedKind.IGNORED


async def test_what_is_no_callback_is_refused() -> None:
    """It won't be one the next time."""
    with pytest.raises(RefusedError) as refused:
        await CallbackReceiver().receive(b"<html>", origin="webhook")

    assert refused.value.refusal is Refusal.BAD_CALLBACK


async def test_callbacks_are_counted_by_kind() -> None:
    """A kind that nobody knows is `other`, whatever it calls itself: the sender chose it."""
    with measured() as numbers:
        await told(
            an_event("RecordingStateChanged", **IDS, recordingId="r", state="active"),
            an_event("StrangerThings", **IDS),
            an_event("StrangerStill", **IDS),
        )

    assert numbers.of(CALLBACKS, type="RecordingStateChanged") == 1
    assert numbers.of(CALLBACKS, type="other") == 2
    assert len(numbers.sums) == 2
