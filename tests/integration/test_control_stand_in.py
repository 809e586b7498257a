"""The stand-in for the control API, as the official clients of Microsoft see it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import aiohttp
import pytest
from azure.communication import rooms
from azure.communication.callautomation import (
    ChannelAffinity,
    CommunicationUserIdentifier,
)
from azure.communication.callautomation.aio import CallAutomationClient
from azure.communication.rooms import ParticipantRole, RoomParticipant
from azure.communication.rooms.aio import RoomsClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)

from samples.control import __main__ as control
from samples.control.service import KEY, RESOURCE_ID, ControlStandIn
from worker.sdk_options import options_for

SERVER_CALL = "aHR0cHM6Ly9jb252LmV4YW1wbGUvY29udi8x"
ALICE = CommunicationUserIdentifier("8:acs:a_1")
BOB = CommunicationUserIdentifier("8:acs:b_2")
# Each client has classes of its own for the same identities.
CAROL = rooms.CommunicationUserIdentifier("8:acs:c_3")
DAVE = rooms.CommunicationUserIdentifier("8:acs:d_4")


@pytest.fixture
async def acs() -> AsyncIterator[ControlStandIn]:
    async with ControlStandIn() as acs:
        yield acs


@asynccontextmanager
async def calling(
    acs: ControlStandIn, key: str = KEY
) -> AsyncIterator[CallAutomationClient]:
    credential = AzureKeyCredential(key)
    async with CallAutomationClient(
        acs.url, credential, **options_for(acs.url)
    ) as client:
        yield client


@asynccontextmanager
async def rooming(acs: ControlStandIn) -> AsyncIterator[RoomsClient]:
    credential = AzureKeyCredential(KEY)
    async with RoomsClient(acs.url, credential, **options_for(acs.url)) as client:
        yield client


async def test_recording_goes_from_start_to_stop(acs: ControlStandIn) -> None:
    """Started, asked for, paused, resumed, stopped; then nobody knows it any more."""
    async with calling(acs) as client:
        started = await client.start_recording(server_call_id=SERVER_CALL)
        recording_id = started.recording_id or ""
        states = [started.recording_state]
        await client.pause_recording(recording_id)
        states.append(
            (await client.get_recording_properties(recording_id)).recording_state
        )
        await client.resume_recording(recording_id)
        states.append(
            (await client.get_recording_properties(recording_id)).recording_state
        )
        await client.stop_recording(recording_id)

        assert states == ["active", "inactive", "active"]
        with pytest.raises(ResourceNotFoundError, match="8522"):
            await client.get_recording_properties(recording_id)


@pytest.mark.parametrize(
    "unfit",
    [
        {"server_call_id": "no-server-call"},
        {"recording_channel_type": "unmixed", "recording_format_type": "mp4"},
        {"recording_content_type": "audio", "recording_format_type": "mp4"},
        {"channel_affinity": [ChannelAffinity(ALICE, 0)]},
        {
            "recording_content_type": "audio",
            "recording_channel_type": "unmixed",
            "recording_format_type": "wav",
            "audio_channel_participant_ordering": [ALICE] * 6,
        },
    ],
)
async def test_unfit_recording_is_refused(
    acs: ControlStandIn, unfit: dict[str, Any]
) -> None:
    """As the service does, with a code and a message."""
    async with calling(acs) as client:
        with pytest.raises(HttpResponseError) as refused:
            await client.start_recording(**({"server_call_id": SERVER_CALL} | unfit))

    assert refused.value.status_code == HTTPStatus.BAD_REQUEST
    assert refused.value.error is not None
    assert refused.value.error.code == "BadRequest"


async def test_recording_of_no_such_call_is_refused(acs: ControlStandIn) -> None:
    """By a connection, or by a room."""
    async with calling(acs) as client:
        with pytest.raises(ResourceNotFoundError, match="Call not found"):
            await client.start_recording(call_connection_id="c1")
        with pytest.raises(ResourceNotFoundError, match="does not exist"):
            await client.start_recording(room_id="1")


async def test_room_lives_and_dies(acs: ControlStandIn) -> None:
    """Made, changed by a merge patch, listed with those of other pages, removed."""
    until = datetime.now(UTC) + timedelta(days=10)
    async with rooming(acs) as client:
        made = [await client.create_room() for _ in range(5)]
        first = made[0].id
        changed = await client.update_room(room_id=first, valid_until=until)
        listed = [room.id async for room in client.list_rooms()]
        await client.delete_room(first)

        assert listed == [room.id for room in made]
        assert str(changed.valid_until).startswith(until.strftime("%Y-%m-%dT%H:%M:%S"))
        assert changed.valid_from == made[0].valid_from
        with pytest.raises(ResourceNotFoundError) as gone:
            await client.get_room(first)
        assert gone.value.error is not None
        assert gone.value.error.code == "NotFound"
    patch = next(asked for asked in acs.requests if asked.method == "PATCH")
    assert patch.headers["Content-Type"] == "application/merge-patch+json"


async def test_participants_come_change_and_go(acs: ControlStandIn) -> None:
    """By raw id, each with a role."""
    async with rooming(acs) as client:
        room = await client.create_room(
            participants=[RoomParticipant(communication_identifier=CAROL)]
        )
        await client.add_or_update_participants(
            room_id=room.id,
            participants=[
                RoomParticipant(
                    communication_identifier=who, role=ParticipantRole.COLLABORATOR
                )
                for who in (CAROL, DAVE)
            ],
        )
        await client.remove_participants(room_id=room.id, participants=[CAROL])
        left = [each async for each in client.list_participants(room.id)]

    assert [(each.communication_identifier.raw_id, each.role) for each in left] == [
        (DAVE.raw_id, "Collaborator")
    ]


@pytest.mark.parametrize(
    "unfit",
    [
        {"valid_until": datetime(2099, 1, 1, tzinfo=UTC)},
        {
            "participants": [
                RoomParticipant(
                    communication_identifier=rooms.CommunicationUserIdentifier(
                        f"8:acs:{n}"
                    )
                )
                for n in range(351)
            ]
        },
        {
            "participants": [
                RoomParticipant(communication_identifier=CAROL, role="Owner")
            ]
        },
        {
            "participants": [
                RoomParticipant(
                    communication_identifier=rooms.PhoneNumberIdentifier("+14255550123")
                )
            ]
        },
    ],
    ids=["window", "participants", "role", "phone"],
)
async def test_unfit_room_is_refused(
    acs: ControlStandIn, unfit: dict[str, Any]
) -> None:
    """Windows over 180 days, 351 participants, roles that there are not, phones."""
    async with rooming(acs) as client:
        with pytest.raises(HttpResponseError) as refused:
            await client.create_room(**unfit)

    assert refused.value.status_code == HTTPStatus.BAD_REQUEST
    assert acs.rooms.by_id == {}


async def test_transfer_is_seen_in_the_call(acs: ControlStandIn) -> None:
    """Transferring, then accepted; a second one has nothing to act on."""
    acs.calls.add("c1", ALICE.raw_id)
    async with calling(acs) as client:
        call = client.get_call_connection("c1")
        begun = await call.transfer_call_to_participant(BOB, operation_context="op")
        states = [
            (await call.get_call_properties()).call_connection_state for _ in range(2)
        ]
        with pytest.raises(HttpResponseError, match="8501"):
            await call.transfer_call_to_participant(BOB)

    assert begun.operation_context == "op"
    assert states == ["transferring", "transferAccepted"]


async def test_participants_move_between_calls(acs: ControlStandIn) -> None:
    """Those who are there; nobody else."""
    acs.calls.add("c1", ALICE.raw_id)
    acs.calls.add("c2")
    async with calling(acs) as client:
        there = client.get_call_connection("c2")
        moved = await there.move_participants([ALICE], "c1")
        with pytest.raises(HttpResponseError, match="not all in the call"):
            await there.move_participants([BOB], "c1")

    assert moved.from_call == "c1"
    assert acs.calls.by_id["c2"].participants == [ALICE.raw_id]
    assert acs.calls.by_id["c1"].participants == []


async def test_wrong_key_opens_nothing(acs: ControlStandIn) -> None:
    """Every signature is checked."""
    async with calling(acs, key="bm9ib2R5") as client:
        with pytest.raises(ClientAuthenticationError, match="the signature differs"):
            await client.start_recording(server_call_id=SERVER_CALL)

    assert acs.recordings.started == 0


async def test_request_said_again_is_done_once(acs: ControlStandIn) -> None:
    """The same Repeatability-Request-ID is answered the same."""
    headers = {"Repeatability-Request-ID": "11111111-2222-4333-8444-555555555555"}
    async with calling(acs) as client:
        first, again = [
            await client.start_recording(
                server_call_id=SERVER_CALL, headers=dict(headers)
            )
            for _ in range(2)
        ]

    assert first.recording_id == again.recording_id
    assert acs.recordings.started == 1


TOKEN = {"Authorization": "Bearer a-token"}
VERSION = "?api-version=2026-03-12"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/rooms", b"", 400, "BadRequest"),
        ("POST", f"/rooms{VERSION}", b"[", 400, "BadRequest"),
        ("POST", f"/rooms{VERSION}", b"[]", 400, "BadRequest"),
        ("POST", f"/rooms{VERSION}", b'{"validFrom": "soon"}', 400, "BadRequest"),
        ("PATCH", f"/rooms/1{VERSION}", b"{}", 415, "UnsupportedMediaType"),
        ("GET", f"/nowhere{VERSION}", b"", 404, "NotFound"),
        ("POST", f"/calling/recordings{VERSION}", b"{}", 400, "BadRequest"),
        (
            "POST",
            f"/calling/recordings{VERSION}",
            b'{"callLocator": {"kind": "roomCallLocator"}}',
            400,
            "BadRequest",
        ),
    ],
)
async def test_what_no_client_sends_is_refused_too(
    acs: ControlStandIn, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    """With the error body of the API; a token opens as a key does."""
    acs.tokens.add("a-token")
    async with (
        aiohttp.ClientSession(acs.url) as session,
        session.request(method, path, data=body, headers=TOKEN) as answer,
    ):
        said = await answer.json()

    assert (answer.status, said["error"]["code"]) == (status, code)
    assert answer.headers["x-ms-error-code"] == code


async def test_patch_and_repeat_need_what_they_need(acs: ControlStandIn) -> None:
    """A patch of nobody, and an id without its time."""
    acs.tokens.add("a-token")
    room = acs.rooms.create({})
    sent = TOKEN | {"Content-Type": "application/merge-patch+json"}
    async with aiohttp.ClientSession(acs.url) as session:
        patched = await session.patch(
            f"/rooms/{room.id}/participants{VERSION}", data=b"{}", headers=sent
        )
        repeated = await session.post(
            f"/rooms{VERSION}",
            data=b"{}",
            headers=TOKEN | {"Repeatability-Request-ID": "1"},
        )
        bodies = [json.loads(await each.read()) for each in (patched, repeated)]

    assert [body["error"]["message"] for body in bodies] == [
        "participants is missing.",
        "Repeatability-First-Sent is missing.",
    ]


async def test_stand_in_says_where_it_is() -> None:
    """And has the calls that were named."""
    announced = asyncio.Event()
    seen: list[str] = []

    def announce(line: str) -> None:
        seen.append(line)
        announced.set()

    stopping = asyncio.Event()
    options = control.options_from(["--call", f"c1={ALICE.raw_id}", "--call", "c2"])
    async with asyncio.TaskGroup() as group:
        serving = control.serve(options, stopping=stopping, announce=announce)
        group.create_task(serving)
        await announced.wait()
        ready = json.loads(seen[0])
        async with CallAutomationClient(
            ready["url"], AzureKeyCredential(KEY), **options_for(ready["url"])
        ) as client:
            call = await client.get_call_connection("c1").get_call_properties()
        stopping.set()

    assert call.targets is not None
    assert [each.raw_id for each in call.targets] == [ALICE.raw_id]
    assert ready["resource_id"] == RESOURCE_ID


def test_stand_in_ends_by_a_signal() -> None:
    """As a process of its own; its line comes when it is ready."""
    ended = subprocess.Popen(
        [sys.executable, "-m", "samples.control"], stdout=subprocess.PIPE, text=True
    )
    assert ended.stdout is not None
    with ended:
        assert json.loads(ended.stdout.readline())["url"].startswith("http://127")
        ended.terminate()
    assert ended.returncode == 0
