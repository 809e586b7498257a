"""`acs …` in this process, at a stand-in for the control API."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from samples.control import replies
from samples.control.replies import Reply
from samples.control.service import KEY, ControlStandIn
from tests import canaries
from tests.fakes.clock import ManualClock
from tests.identity import IdentityEndpoint, IssuedTokens
from tests.isolation import isolated_logs
from worker.__main__ import main
from worker.acs import calls
from worker.acs.answers import Transfer, TransferState
from worker.acs.clients import Clients, open_clients
from worker.acs.resources import Resource
from worker.acs.trouble import AcsForbiddenError, error_from
from worker.cli import acs_calls

ALICE, BOB, PHONE = "8:acs:a_1", "8:acs:b_2", "+14255550123"
TEAMS = "8:orgid:11111111-2222-4333-8444-555555555555"
SERVER_CALL = "aHR0cHM6Ly9jb252LmV4YW1wbGUvY29udi8x"
CONNECTION = "AZURE_COMMUNICATION_CONNECTION_STRING"
ENDPOINT = "AZURE_COMMUNICATION_ENDPOINT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def fields(self) -> dict[str, str]:
        """What `print_fields` printed, by name."""
        pairs = (line.split(None, 1) for line in self.out.splitlines())
        return dict(pairs)

    @property
    def logged(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        lines = self.err.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@dataclass(frozen=True, slots=True)
class Operator:
    """Someone at a machine with the key of the stand-in, and nothing else set."""

    capsys: pytest.CaptureFixture[str]

    async def types(self, *arguments: str) -> Ended:
        """Run a command beside the stand-in; the log names nobody, and no secret."""
        code = await asyncio.to_thread(main, ("acs", *arguments))
        captured = self.capsys.readouterr()
        ended = Ended(code=code, out=captured.out, err=captured.err)
        for said in (KEY, ALICE, BOB, TEAMS, PHONE, canaries.OTHER_KEY):
            assert said not in captured.err
        assert KEY not in captured.out
        return ended


@pytest.fixture
async def acs(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ControlStandIn]:
    async with ControlStandIn() as acs:
        monkeypatch.setenv(CONNECTION, acs.connection_string)
        yield acs


@pytest.fixture
def operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Operator]:
    monkeypatch.chdir(tmp_path)
    with isolated_logs():
        yield Operator(capsys)
    assert list(tmp_path.iterdir()) == []


def body_of(acs: ControlStandIn, number: int = -1) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(acs.requests[number].body)
    return body


async def test_recording_is_steered(operator: Operator, acs: ControlStandIn) -> None:
    """From start to stop by its id; each step says how it stands, and is logged."""
    acs.calls.add("c1")
    started = await operator.types("recording", "start", "--call-connection", "c1")
    recording = started.fields["recording"]
    states = []
    for verb in ("pause", "state", "resume", "state", "stop"):
        ended = await operator.types("recording", verb, recording, "--json")
        assert ended.code == 0
        states.append(json.loads(ended.out)["state"])
    gone = await operator.types("recording", "state", recording)

    assert started.fields["state"] == "active"
    # As it was signed: the client's own transport would send `=` for what it signed as `%3D`.
    assert quote(recording, safe="") in acs.requests[-1].target
    assert states == ["inactive", "inactive", "active", "active", "inactive"]
    (line,) = started.logged
    assert line["event"] == "acs.asked"
    assert (line["what"], line["subject"]) == ("recording start", recording)
    assert (line["resource"], bool(line["by"])) == ("127", True)
    assert gone.code == 1
    assert "answered 404 8522: Recording not found." in gone.err
    assert "hint: recording-worker acs recording state --help\n" in gone.err


async def test_all_that_may_be_said_of_a_recording_is_sent(
    operator: Operator, acs: ControlStandIn
) -> None:
    """By server call; unmixed, who is on which channel, own storage, paused."""
    ended = await operator.types(
        *("recording", "start", "--server-call", SERVER_CALL, "--channel", "unmixed"),
        *("--callback", f"https://h.example/api/callbacks?code={canaries.OTHER_KEY}"),
        *("--container", "https://a.blob.core.windows.net/calls", "--pause"),
        *("--channel-order", ALICE, "--channel-order", PHONE),
        *("--affinity", f"1={TEAMS}"),
    )

    assert (ended.code, ended.fields["state"]) == (0, "inactive")
    assert body_of(acs) == {
        "callLocator": {"kind": "serverCallLocator", "serverCallId": SERVER_CALL},
        "recordingStateCallbackUri": "https://h.example/api/callbacks?code="
        + canaries.OTHER_KEY,
        "recordingContentType": "audio",
        "recordingChannelType": "unmixed",
        "recordingFormatType": "wav",
        "audioChannelParticipantOrdering": [
            {"rawId": ALICE, "communicationUser": {"id": ALICE}},
            {
                "rawId": f"4:{PHONE}",
                "phoneNumber": {"value": PHONE, "isAnonymous": False},
            },
        ],
        "channelAffinity": [
            {
                "channel": 1,
                "participant": {
                    "rawId": TEAMS,
                    "microsoftTeamsUser": {
                        "userId": TEAMS.removeprefix("8:orgid:"),
                        "isAnonymous": False,
                        "cloud": "PUBLIC",
                    },
                },
            }
        ],
        "externalStorage": {
            "recordingStorageKind": "azureBlobStorage",
            "recordingDestinationContainerUrl": "https://a.blob.core.windows.net/calls",
        },
        "pauseOnStart": True,
    }


@pytest.mark.parametrize("how", ["--group-call", "--room"])
async def test_call_is_meant_in_other_ways(
    operator: Operator, acs: ControlStandIn, how: str
) -> None:
    """By a group, or by a room."""
    which = acs.rooms.create({}).id

    ended = await operator.types("recording", "start", how, which)

    assert ended.code == 0
    assert which in body_of(acs)["callLocator"].values()


async def test_start_said_again_under_its_id_is_done_once(
    operator: Operator, acs: ControlStandIn
) -> None:
    """Whoever was cut off may say it again."""
    acs.calls.add("c1")
    command = ("recording", "start", "--call-connection", "c1")
    same = ("--request-id", "11111111-2222-4333-8444-555555555555")

    first, again = [await operator.types(*command, *same) for _ in range(2)]
    other = await operator.types(*command)

    assert first.out == again.out != other.out
    assert acs.recordings.started == 2


async def test_dry_run_prints_the_request_and_sends_none(
    operator: Operator, acs: ControlStandIn
) -> None:
    """As the client makes it, but for what opens a callback's endpoint."""
    command = (
        *("recording", "start", "--call-connection", "c1", "--dry-run"),
        *("--callback", f"https://h.example/api/callbacks?code={canaries.OTHER_KEY}"),
    )
    ended = await operator.types(*command)
    as_json = await operator.types(*command, "--json")

    assert (ended.code, acs.requests, ended.logged) == (0, [], [])
    line, _, body = ended.out.partition("\n")
    assert line == f"POST {acs.url}/calling/recordings?api-version=2026-03-12"
    assert json.loads(body)["recordingFormatType"] == "mp4"
    said = json.loads(as_json.out)
    assert (said["method"], said["body"]) == ("POST", json.loads(body))
    assert said["body"]["recordingStateCallbackUri"].endswith("callbacks?[redacted]")
    assert canaries.OTHER_KEY not in ended.out


@pytest.mark.parametrize(
    "command",
    [
        ("recording", "state", "r1"),
        ("recording", "stop", "r1"),
        ("recording", "pause", "r1"),
        ("recording", "resume", "r1"),
        ("room", "create", "--presenter", ALICE),
        ("room", "get", "1"),
        ("room", "list"),
        ("room", "delete", "1"),
        ("room", "participants", "list", "1"),
        ("room", "participants", "add", "1", "--attendee", ALICE),
        ("room", "participants", "remove", "1", BOB),
        ("call", "transfer", "c1", "--to", PHONE, "--caller-id", PHONE, "--wait", "9"),
        ("call", "transfer", "c1", "--to-call", "c2", "--participant", BOB),
    ],
    ids=" ".join,
)
async def test_every_verb_can_be_rehearsed(
    operator: Operator, acs: ControlStandIn, command: tuple[str, ...]
) -> None:
    """It prints one request, and nothing is asked."""
    ended = await operator.types(*command, "--dry-run")

    assert (ended.code, acs.requests, ended.logged) == (0, [], [])
    assert ended.out.split()[1].startswith(acs.url)
    assert ended.err == "a dry run: nothing was sent\n"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (("recording", "start"), "exactly one of --server-call"),
        (("recording", "stop", ""), "it is empty"),
        (("room", "get", ""), "it is empty"),
        (("room", "delete", " "), "it is empty"),
        (("call", "transfer", "", "--to", BOB), "it is empty"),
        (("call", "transfer", "c1", "--to-call", ""), "it is empty"),
        (("recording", "start", "--room", "1", "--request-id", "7"), "invalid value"),
        (
            ("recording", "start", "--room", "1", "--group-call", "2"),
            "exactly one of --server-call",
        ),
        (
            (
                *("recording", "start", "--room", "1"),
                *("--channel", "unmixed", "--format", "mp4"),
            ),
            "unmixed recordings are wav",
        ),
        (
            ("recording", "start", "--room", "1", "--affinity", f"0={ALICE}"),
            "a mixed recording has one channel",
        ),
        (
            ("recording", "start", "--room", "1", "--affinity", f"first={ALICE}"),
            "--affinity is CHANNEL=ID",
        ),
        (
            ("recording", "start", "--room", "1", "--affinity", ALICE),
            "--affinity is CHANNEL=ID",
        ),
        (
            (
                *("recording", "start", "--room", "1", "--channel", "unmixed"),
                *("--affinity", f"0={ALICE}", "--affinity", f"00={BOB}"),
            ),
            "--affinity is CHANNEL=ID",
        ),
        (
            ("recording", "start", "--room", "1", "--affinity", f"{'9' * 5000}={BOB}"),
            "--affinity is CHANNEL=ID",
        ),
        (("room", "create", "--until", "2099-01-01T00:00Z"), "180 days at most"),
        (("room", "create", "--until", "tomorrow"), "invalid value"),
        (("room", "create", "--from", "2026-01-01T00:00"), "invalid value"),
        (("room", "create", "--until", "9999-12-31T23:59-01:00"), "invalid value"),
        (
            ("room", "create", *(f"--attendee=8:acs:{n}" for n in range(351))),
            "350 participants at most, not 351",
        ),
        (("room", "create", "--attendee", "bob"), "an identity is"),
        (("room", "create", "--attendee", PHONE), "a phone is in no room's list"),
        (
            ("room", "participants", "add", "1", "--presenter", f"4:{PHONE}"),
            "a phone is in no room's list",
        ),
        (
            ("room", "create", "--attendee", BOB, "--presenter", BOB),
            "somebody is named twice",
        ),
        (("room", "update", "1"), "say what to change"),
        (("room", "participants", "add", "1"), "say who"),
        (("call", "transfer", "c1"), "say where to"),
        (("call", "transfer", "c1", "--to", BOB, "--to-call", "c2"), "say where to"),
        (("call", "transfer", "c1", "--to", "voicemail"), "no server-side API"),
        (("call", "transfer", "c1", "--to", BOB, "--participant", BOB), "goes with"),
        (("call", "transfer", "c1", "--to-call", "c2", "--wait", "1"), "goes with"),
        (("call", "transfer", "c1", "--to-call", "c2"), "say who moves"),
        (
            ("call", "transfer", "c1", "--to", BOB, "--sip-header", "X"),
            "--sip-header is NAME=VALUE",
        ),
    ],
)
async def test_what_acs_would_refuse_is_not_asked(
    operator: Operator, acs: ControlStandIn, command: tuple[str, ...], error: str
) -> None:
    """Wrong usage: exit 2, one line, and the help that would have helped."""
    ended = await operator.types(*command)

    assert (ended.code, ended.out, acs.requests) == (2, "", [])
    first, second = ended.err.splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert second.startswith("hint: recording-worker acs ")
    assert second.endswith(" --help")


async def test_room_is_made_changed_and_removed(
    operator: Operator, acs: ControlStandIn
) -> None:
    """Its window and whether it dials out; what is not said stays."""
    made = await operator.types(
        *("room", "create", "--from", "2027-01-01T00:00Z"),
        *("--until", "2027-03-01T00:00Z", "--pstn-dial-out"),
    )
    room = made.fields["room"]
    changed = await operator.types(
        "room", "update", room, "--until", "2027-02-01T01:00+01:00"
    )
    quiet = await operator.types("room", "update", room, "--no-pstn-dial-out")
    shown = await operator.types("room", "get", room, "--json")
    removed = await operator.types("room", "delete", room)
    again = await operator.types("room", "delete", room, "--json")

    assert made.fields["until"] == "2027-03-01T00:00:00.000000Z"
    assert changed.fields["until"] == "2027-02-01T00:00:00.000000Z"
    assert changed.fields["from"] == "2027-01-01T00:00:00.000000Z"
    assert quiet.fields["dials"] == "out  no"
    assert json.loads(shown.out)["pstn_dial_out"] is False
    assert (removed.code, removed.fields["deleted"]) == (0, "yes")
    assert (again.code, acs.rooms.by_id) == (1, {})


async def test_update_that_would_not_fit_is_refused(
    operator: Operator, acs: ControlStandIn
) -> None:
    """Against the window that the room has."""
    room = acs.rooms.create({"validFrom": "2027-01-01T00:00Z"}).id

    ended = await operator.types("room", "update", room, "--until", "2027-12-01T00:00Z")

    assert (ended.code, len(acs.requests)) == (2, 1)
    assert "180 days at most" in ended.err


@pytest.mark.parametrize("said", ["soon", "2027-01-01T00:00:00", None])
async def test_update_of_a_room_without_a_window_is_told(
    operator: Operator, acs: ControlStandIn, said: str | None
) -> None:
    """What it has can't be kept, as nobody can read it."""
    room = acs.rooms.create({})
    acs.planned = [Reply(status=200, body=room.shown() | {"validFrom": said})]

    ended = await operator.types(
        *("room", "update", room.id, "--until", "2027-02-01T00:00Z")
    )

    assert (ended.code, len(acs.requests)) == (1, 1)
    assert "answered what its client can't read\n" in ended.err


async def test_update_is_rehearsed_on_the_room_as_it_is(
    operator: Operator, acs: ControlStandIn
) -> None:
    """It is read, and not changed."""
    room = acs.rooms.create({"validFrom": "2027-01-01T00:00Z"}).id

    ended = await operator.types("room", "update", room, "--pstn-dial-out", "--dry-run")

    assert [asked.method for asked in acs.requests] == ["GET"]
    body = json.loads(ended.out.partition("\n")[2])
    assert body["pstnDialOutEnabled"] is True
    assert body["validFrom"] == "2027-01-01T00:00:00Z"
    assert body["validUntil"].startswith("2027-06-30")


async def test_rooms_are_listed_over_pages(
    operator: Operator, acs: ControlStandIn
) -> None:
    """All of them, or as many as are wanted."""
    made = [acs.rooms.create({}).id for _ in range(5)]

    table = await operator.types("room", "list")
    lines = await operator.types("room", "list", "--json", "--limit", "3")

    assert [line.split()[0] for line in table.out.splitlines()[1:]] == made
    listed = [json.loads(line)["id"] for line in lines.out.splitlines()]
    assert listed == made[:3]


async def test_participants_are_let_in_and_put_out(
    operator: Operator, acs: ControlStandIn
) -> None:
    """In four roles, by raw id."""
    guest = "8:acs:c_3"
    room = acs.rooms.create({}).id
    added = await operator.types(
        *("room", "participants", "add", room, "--presenter", ALICE),
        *("--collaborator", BOB, "--attendee", guest, "--consumer", TEAMS, "--json"),
    )
    removed = await operator.types("room", "participants", "remove", room, BOB)
    table = await operator.types("room", "participants", "list", room)
    lines = await operator.types("room", "participants", "list", room, "--json")

    assert json.loads(added.out)["participants"] == 4
    assert removed.fields["done"] == "remove 1"
    left = {ALICE: "Presenter", guest: "Attendee", TEAMS: "Consumer"}
    rows = dict(line.split() for line in table.out.splitlines()[1:])
    assert rows == left
    said = [json.loads(line) for line in lines.out.splitlines()]
    assert {each["id"]: each["role"] for each in said} == left


async def test_transfer_says_all_that_it_may(
    operator: Operator, acs: ControlStandIn
) -> None:
    """To a phone: whose number it shows, who is handed over, what goes along."""
    acs.calls.add("c1", ALICE)
    ended = await operator.types(
        *("call", "transfer", "c1", "--to", PHONE, "--transferee", ALICE),
        *("--caller-id", "+14255550199", "--sip-header", "X-MS-Custom-Case=7"),
        *("--voip-header", "case=7", "--context", "op-1"),
        *("--callback", "https://h.example/api/callbacks"),
    )

    assert (ended.code, ended.fields["state"]) == (0, "Transferring")
    assert ended.fields["context"] == "op-1"
    said = body_of(acs)
    assert said["targetParticipant"]["phoneNumber"]["value"] == PHONE
    assert said["transferee"]["rawId"] == ALICE
    assert said["sourceCallerIdNumber"]["value"] == "+14255550199"
    assert said["customCallingContext"] == {
        "sipHeaders": {"X-MS-Custom-Case": "7"},
        "voipHeaders": {"case": "7"},
    }
    assert said["operationCallbackUri"] == "https://h.example/api/callbacks"


async def test_teams_user_takes_a_transfer(
    operator: Operator, acs: ControlStandIn
) -> None:
    """And a Teams app."""
    for kind, target in (("User", TEAMS), ("App", f"28{TEAMS[1:]}")):
        acs.calls.add("c1", ALICE)
        ended = await operator.types("call", "transfer", "c1", "--to", target)

        assert ended.code == 0
        assert body_of(acs)["targetParticipant"][f"microsoftTeams{kind}"]


async def test_people_move_into_another_call(
    operator: Operator, acs: ControlStandIn
) -> None:
    """The server-side way to hand over to a call that goes on."""
    acs.calls.add("c1", ALICE, BOB)
    acs.calls.add("c2")
    ended = await operator.types(
        *("call", "transfer", "c1", "--to-call", "c2", "--participant", BOB, "--json")
    )

    said = json.loads(ended.out)
    assert (said["to_call"], said["moved"]) == ("c2", [BOB])
    assert acs.calls.by_id["c2"].participants == [BOB]
    (line,) = ended.logged
    assert (line["what"], line["subject"], line["state"]) == (
        *("call move", "c1", "Transferring"),
    )


@pytest.mark.parametrize(
    ("seen", "state", "code"),
    [
        (["transferAccepted"], "Transferred", 0),
        (["transferring", "connected"], "Failed", 1),
        (["transferring"] * 9, "Transferring", 3),
    ],
)
async def test_transfer_is_waited_for(
    operator: Operator,
    acs: ControlStandIn,
    monkeypatch: pytest.MonkeyPatch,
    seen: list[str],
    state: str,
    code: int,
) -> None:
    """0 once it is taken, 1 if it is not, 3 if nobody knows yet."""
    monkeypatch.setattr(acs_calls, "SystemClock", lambda: ManualClock(auto=True))
    acs.planned = [Reply(status=202, body={}), *map(_state, seen)]

    ended = await operator.types("call", "transfer", "c1", "--to", BOB, "--wait", "5")

    assert (ended.code, ended.fields["state"]) == (code, state)
    assert ("callback.received" in ended.err) is (code == 3)


def _state(state: str) -> Reply:
    return Reply(status=200, body={"callConnectionState": state})


GONE = replies.not_found(replies.CALL_NOT_FOUND, "Call not found.").reply
BUSY = Reply(status=429, headers={"Retry-After": "1"})


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (["transferring", "transferAccepted"], TransferState.TRANSFERRED),
        (["connected", "transferring", "connected"], TransferState.FAILED),
        (["transferring", "disconnected"], TransferState.NONE),
        (["transferring", GONE], TransferState.NONE),
        ([BUSY, "transferring", BUSY, "transferAccepted"], TransferState.TRANSFERRED),
        (["transferring"] * 8, TransferState.TRANSFERRING),
        (["transferring", *[BUSY] * 7], TransferState.TRANSFERRING),
        (["connected"] * 8, TransferState.NONE),
    ],
)
async def test_transfer_is_seen_through(
    acs: ControlStandIn, seen: list[str | Reply], state: TransferState
) -> None:
    """By looks at the call, a second apart, for as long as one may wait.

    One that is not answered is no end of it.
    """
    acs.planned = [_state(each) if isinstance(each, str) else each for each in seen]
    clock = ManualClock(auto=True)
    begun = Transfer(
        call_connection="c1", state=TransferState.TRANSFERRING, context=None
    )

    async with opened(acs) as clients:
        found = await calls.wait_for_transfer(clients, begun, clock=clock, seconds=5)

    assert found is state
    assert set(clock.sleeps) <= {1.0}


def opened(acs: ControlStandIn) -> Any:
    return open_clients(Resource(name="127", endpoint=acs.url, key=KEY))


async def test_refusal_while_waiting_is_told(acs: ControlStandIn) -> None:
    """It is not taken for the end of the call."""
    acs.planned = [replies.error(403, "Denied", "No.")]  # type: ignore[arg-type]  # a number will do
    async with opened(acs) as clients:
        typed: Clients = clients
        with pytest.raises(AcsForbiddenError, match="403 Denied: No"):
            await calls.transfer_state(typed, "c1")


@pytest.mark.parametrize(
    ("reply", "said", "hint"),
    [
        (
            Reply(
                status=429,
                body={"error": {"code": "429", "message": "slow\ndown"}},
                headers={"Retry-After": "7"},
            ),
            "answered 429 429: slow down; try again in 7 s",
            "recording-worker config --for acs",
        ),
        (
            Reply(status=503, body={"error": "of no shape"}),
            "answered 503\n",
            "recording-worker config --for acs",
        ),
        (
            Reply(status=403, body={"error": {"code": "<b>", "message": "no"}}),
            "answered 403: no\n",
            "recording-worker config --for acs",
        ),
        (
            Reply(status=200, body={"no": "room"}),
            "answered what its client can't read\n",
            "recording-worker config --for acs",
        ),
        (Reply(status=409), "answered 409\n", "recording-worker acs room get --help"),
    ],
)
async def test_refusal_is_one_line_with_its_code(
    operator: Operator, acs: ControlStandIn, reply: Reply, said: str, hint: str
) -> None:
    """And a hint that is a command."""
    acs.planned = [reply]

    ended = await operator.types("room", "get", "1")

    assert ended.code == 1
    assert said in ended.err
    assert ended.err.endswith(f"hint: {hint}\n")


async def test_success_of_another_kind_is_no_refusal(
    operator: Operator, acs: ControlStandIn
) -> None:
    """Who reads that it was refused says it again, and it is done twice."""
    acs.planned = [Reply(status=200, body={})]

    ended = await operator.types("recording", "stop", "r1")

    assert ended.code == 1
    assert "answered what its client can't read\n" in ended.err


async def test_nobody_there_is_said(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, with the host."""
    monkeypatch.setenv(CONNECTION, f"endpoint=http://127.0.0.1:1/;accesskey={KEY}")

    ended = await operator.types("room", "list")

    assert ended.code == 1
    assert "error: 127.0.0.1:1 did not answer\n" in ended.err


async def test_resource_must_be_known(
    operator: Operator, acs: ControlStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several one is named, by its name or its host; nothing is guessed."""
    other = f"endpoint=https://other.communication.azure.com/;accesskey={KEY}"
    monkeypatch.setenv(CONNECTION, f"{acs.connection_string} {other}")

    none = await operator.types("room", "list")
    empty = await operator.types("room", "list", "--resource", "", "--dry-run")
    wrong = await operator.types("room", "list", "--resource", "third")
    right = await operator.types("room", "list", "--resource", "127")
    host = await operator.types(
        "room", "list", "--resource", "OTHER.communication.azure.com", "--dry-run"
    )

    for unsaid in (none, empty):
        assert "say which resource is meant by --resource: 127, other" in unsaid.err
    assert "no such ACS resource is set up here, but 127, other" in wrong.err
    codes = (none.code, empty.code, wrong.code, right.code)
    assert codes == (1, 1, 1, 0)
    assert host.out.startswith("GET https://other.communication.azure.com/rooms?")


async def test_no_credential_is_a_matter_of_configuration(operator: Operator) -> None:
    """78; `config --for acs`, which other errors hint at, says the same."""
    ended = await operator.types("room", "list")
    code = await asyncio.to_thread(main, ("config", "--for", "acs"))
    told = operator.capsys.readouterr().err

    assert (ended.code, code) == (78, 78)
    problem = f"error: {CONNECTION}: must be set, or {ENDPOINT}"
    assert problem in ended.err
    assert problem in told


async def test_rehearsal_shows_nobody(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, identity: IdentityEndpoint
) -> None:
    """No token is asked for what is not sent."""
    monkeypatch.setenv(ENDPOINT, "https://calls.communication.azure.com")

    ended = await operator.types("room", "delete", "1", "--dry-run", "--json")

    assert (ended.code, identity.asked) == (0, [])
    assert json.loads(ended.out) == {
        "method": "DELETE",
        "url": "https://calls.communication.azure.com/rooms/1?api-version=2025-03-13",
        "body": None,
    }


@pytest.fixture
async def acs_under_tls(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    identity: IdentityEndpoint,
) -> AsyncIterator[ControlStandIn]:
    """The stand-in as the machine's identity asks it: tokens go over https alone."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    async with ControlStandIn(ssl_context=context, host_name="localhost") as acs:
        acs.tokens = IssuedTokens(identity)
        yield acs


async def test_identity_of_the_machine_is_shown_where_there_is_no_key(
    acs_under_tls: ControlStandIn, identity: IdentityEndpoint
) -> None:
    """A token for ACS, of Entra ID."""
    resource = Resource(name="localhost", endpoint=acs_under_tls.url)
    acs_under_tls.calls.add("c1")
    async with open_clients(resource) as clients:
        found = await calls.transfer_state(clients, "c1")

    assert found is TransferState.NONE
    assert identity.asked == ["https://communication.azure.com/"]


async def test_identity_that_is_refused_is_said(
    acs_under_tls: ControlStandIn, identity: IdentityEndpoint
) -> None:
    """In one line."""
    identity.status = 400
    resource = Resource(name="localhost", endpoint=acs_under_tls.url)

    async with open_clients(resource) as clients:
        with pytest.raises(AcsForbiddenError, match="no identity gets a token"):
            await calls.transfer_state(clients, "c1")


def test_bug_of_ours_stays_one() -> None:
    """Only what the SDK raises is explained."""
    with pytest.raises(LookupError):
        error_from(LookupError(), host="h")
