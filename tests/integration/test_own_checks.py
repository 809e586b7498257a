"""What the doctor says where it runs: each thing that it checks is broken for real, once."""

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient

from samples.acs import StandIn
from samples.faults import Fault
from tests import canaries
from tests.azurite import KEY as ACCOUNT_KEY
from tests.azurite import Azurite, container_signature
from tests.conftest import UniqueName
from tests.fakes.archive import MemoryArchive
from tests.fakes.clock import START, ManualClock
from tests.identity import OBJECT, IdentityEndpoint
from tests.isolation import isolated_logs
from tests.storage_proxy import Fault as StorageFault
from tests.storage_proxy import StorageProxy
from worker import filesystems, names, opening
from worker.__main__ import main
from worker.model import Stored
from worker.ops.config import config_report
from worker.ops.doctor import Examination, Finding, Grade
from worker.own_checks import archive as archive_check
from worker.own_checks import dead_letters, deployment, disks
from worker.own_checks.checks import examine
from worker.own_checks.deployment import Deployment, guarded
from worker.own_checks.source import NOBODYS, hosts_of
from worker.settings import Settings, inspect
from worker.settings_rules import Use

OTHER_KEY = "b3RoZXIga2V5IG9mIHRoZSByZXNvdXJjZQ=="
Environment = dict[str, str]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def acs(clock: ManualClock) -> AsyncIterator[StandIn]:
    async with StandIn(now=clock.now) as acs:
        yield acs


@pytest.fixture
def environment(acs: StandIn) -> Environment:
    """Whom to ask for chunks, whatever the stores."""
    return {
        "AZURE_COMMUNICATION_CONNECTION_STRING": acs.connection_string,
        "WORKER_SOURCE_HOSTS": acs.regional_host,
        "WORKER_ARCHIVE_RESERVE_MIB": "1",
        "WORKER_WEBHOOK_KEYS": "of-event-grid",
    }


@pytest.fixture
async def here(environment: Environment, tmp_path: Path) -> Environment:
    """Archive and queue on this machine, as a first start has left them."""
    found = environment | {
        "WORKER_ARCHIVE": f"file:{tmp_path / 'archive'}",
        "WORKER_QUEUE": f"sqlite:{tmp_path / 'queue.db'}",
    }
    await start(found)
    return found


@pytest.fixture
async def there(
    environment: Environment, own_account: Azurite, unique_name: UniqueName
) -> Environment:
    """The same in an account."""
    name = unique_name("doctor")
    found = environment | {
        "AZURE_STORAGE_CONNECTION_STRING": own_account.connection_string,
        "WORKER_ARCHIVE": own_account.container(name, "below"),
        "WORKER_QUEUE": own_account.queue(name),
    }
    await start(found)
    return found


@pytest.fixture(params=["here", "there"])
def either(request: pytest.FixtureRequest) -> Environment:
    found: Environment = request.getfixturevalue(request.param)
    return found


async def start(environment: Mapping[str, str]) -> None:
    settings = Settings.load(environment, use=Use.SERVE)
    async with (
        opening.open_archive(settings) as archive,
        opening.open_queue(settings, create=True, archive=archive),
    ):
        pass


async def look(
    environment: Mapping[str, str],
    clock: ManualClock,
    *,
    use: Use = Use.SERVE,
    dead_letters_url: str = "",
) -> Examination:
    """What is found; nothing in it may be a secret, and it is told line by line."""
    inspection = inspect(environment, use=use)
    told: list[Finding] = []
    found = await examine(
        deployed(inspection.settings, clock, use=use, url=dead_letters_url),
        config_report(inspection),
        use,
        tell=told.append,
    )
    assert tuple(told) == found.findings
    programs = {each.hint.split()[0] for each in found.findings if each.hint}
    assert programs <= {"recording-worker", "az", "chmod", "curl", "date", "df"}
    text = repr(found)
    assert canaries.seen(text) == []
    assert not [each for each in (OTHER_KEY, ACCOUNT_KEY, "sig=") if each in text]
    return found


def deployed(
    settings: Settings | None, clock: ManualClock, *, use: Use, url: str
) -> Deployment | None:
    if settings is None:
        return None
    place = dead_letters.place_of(url) if url else None
    return Deployment(settings=settings, use=use, clock=clock, dead_letters=place)


def of(found: Examination, check: str, grade: Grade | None = None) -> Finding:
    """The one finding of this check, or that of this grade."""
    (one,) = [
        each
        for each in found.findings
        if each.check == check and grade in {None, each.grade}
    ]
    return one


def broken(found: Examination, check: str) -> Finding:
    """What alone needs attention."""
    assert found.needs_attention
    wrong = [each for each in found.findings if each.grade is Grade.NOT_OK]
    assert {each.check for each in wrong} == {check}
    (one,) = wrong
    return one


async def test_all_is_well(either: Environment, clock: ManualClock) -> None:
    """Nothing needs attention, nothing is left but one object, however often it is asked."""
    first = await look(either, clock)
    found = await look(either, clock)

    assert not first.needs_attention
    assert not found.needs_attention
    assert found.is_reachable
    assert of(found, archive_check.WRITE).seen.startswith("a probe lies there")
    assert of(found, "handshake").grade is Grade.SKIPPED
    settings = Settings.load(either)
    async with opening.open_archive(settings, create=False) as archive:
        assert [name async for name in archive.list("")] == [names.PROBE]


async def test_nothing_is_there_before_the_first_start(
    environment: Environment, tmp_path: Path, clock: ManualClock
) -> None:
    """Nothing is made by looking."""
    folder = tmp_path / "first"
    found = await look(
        environment
        | {
            "WORKER_ARCHIVE": f"file:{folder / 'archive'}",
            "WORKER_QUEUE": f"sqlite:{folder / 'queue.db'}",
        },
        clock,
    )

    assert not found.is_reachable
    assert of(found, archive_check.WRITE).hint == "recording-worker serve"
    assert of(found, "queue").hint == "recording-worker serve"
    assert not folder.exists()


async def test_settings_that_are_wrong_are_all_that_is_looked_at(
    here: Environment, clock: ManualClock
) -> None:
    """A line each, and the command that shows them."""
    wrong = {"WORKER_MAX_CHUNKS": "none", "WORKER_ARCHVE": "x"}

    found = await look(here | wrong, clock)

    assert {each.check for each in found.findings} == {"settings"}
    assert len(found.findings) == 2
    assert found.findings[0].hint == "recording-worker config --for serve"


async def test_setting_that_is_odd_is_noted(
    here: Environment, clock: ManualClock
) -> None:
    """It stops no start."""
    found = await look(here | {"WORKER_PORT": "8080"}, clock)

    assert of(found, "settings").grade is Grade.NOTE
    assert not found.needs_attention


async def test_disk_without_room_is_not_ok(
    here: Environment, clock: ManualClock
) -> None:
    """Chunks would wait; the queue's disk has its own measure."""
    found = await look(here | {"WORKER_ARCHIVE_RESERVE_MIB": "1048576"}, clock)

    wrong = of(found, "disk of archive", Grade.NOT_OK)
    assert "1048576 of them in reserve" in wrong.seen
    assert wrong.hint.startswith("df -h ")
    # The archive itself refuses to be written to, for the same reason.
    assert of(found, archive_check.WRITE).grade is Grade.NOT_OK


async def test_disk_with_little_room_is_noted(
    here: Environment, clock: ManualClock
) -> None:
    """Before it is full."""
    _, room = (
        each
        for each in (await look(here, clock)).findings
        if each.check == "disk of archive"
    )
    free_mib = int(room.seen.split()[0])
    found = await look(here | {"WORKER_ARCHIVE_RESERVE_MIB": str(free_mib // 2)}, clock)

    assert of(found, "disk of archive", Grade.NOTE).hint.startswith("df -h ")


@pytest.mark.parametrize(("is_real", "grade"), [(True, "not ok"), (False, "note")])
async def test_file_system_that_forgets_is_told(
    environment: Environment,
    clock: ManualClock,
    is_real: bool,  # noqa: FBT001 - a parameter of the test
    grade: str,
) -> None:
    """A rehearsal may lie in memory, a real recording may not."""
    there = {"WORKER_ARCHIVE": "file:/dev/shm/archive", "WORKER_QUEUE": "sqlite:q.db"}
    real = {"WORKER_SOURCE_HOSTS": ".example.com", "WORKER_UNSAFE_STORAGE": "allow"}
    settings = Settings.load(environment | there | (real if is_real else {}))
    looked = Deployment(settings=settings, use=Use.SERVE, clock=clock)

    kind, *_ = await disks.archive_disk(looked)

    assert kind.grade == grade
    assert "tmpfs" in kind.seen
    assert kind.hint == "df -T /dev/shm"


async def test_folder_that_everybody_may_write_to_is_not_ok(
    here: Environment, clock: ManualClock, tmp_path: Path
) -> None:
    """No proof outlasts that."""
    archive = tmp_path / "archive"
    archive.chmod(0o777)

    wrong = broken(await look(here, clock), "disk of archive")

    assert wrong.hint == f"chmod o-w {archive}"
    archive.chmod(0o775)
    assert not (await look(here, clock)).needs_attention


async def test_wrong_key_is_not_ok(
    here: Environment, clock: ManualClock, acs: StandIn
) -> None:
    """The source tells a stranger from one who asks for what is not there."""
    key = "AZURE_COMMUNICATION_CONNECTION_STRING"
    endpoint = acs.connection_string.partition(";")[0]

    found = await look(here | {key: f"{endpoint};accesskey={OTHER_KEY}"}, clock)

    wrong = broken(found, f"source {acs.regional_host}")
    assert "answered 401: not the key or token of contoso" in wrong.seen
    assert wrong.hint.startswith("az communication list-key --name contoso ")
    assert acs.deleted == set()


@pytest.mark.parametrize(
    ("ahead", "grade", "told"),
    [
        (timedelta(minutes=2), Grade.NOTE, "120 s ahead of the source"),
        (timedelta(minutes=-10), Grade.NOT_OK, "600 s behind the source"),
    ],
)
async def test_clock_that_is_off_is_told(
    here: Environment,
    clock: ManualClock,
    ahead: timedelta,
    grade: Grade,
    told: str,
) -> None:
    """Against the date of the source's answer; the key is as good as before."""
    found = await look(here, ManualClock(START + ahead))

    named = of(found, "clock")
    assert (named.grade, named.seen, named.hint) == (grade, told, "date -u")
    assert clock.now() == START
    wrong = {each.check for each in found.findings if each.grade is Grade.NOT_OK}
    assert wrong <= {"clock"}


async def test_clock_that_makes_signatures_invalid_is_not_taken_for_a_wrong_key(
    here: Environment, acs: StandIn
) -> None:
    """One cause, named twice."""
    found = await look(here, ManualClock(START + timedelta(minutes=20)))

    refused = of(found, f"source {acs.regional_host}")
    assert refused.grade is Grade.NOT_OK
    assert "this machine's clock is wrong" in refused.seen
    assert refused.hint == of(found, "clock").hint == "date -u"


async def test_source_that_does_not_listen_is_not_ok(
    here: Environment, clock: ManualClock
) -> None:
    """One line, and no clock to compare with."""
    found = await look(here | {"WORKER_SOURCE_HOSTS": "127.0.0.1:1"}, clock)

    not_reached = broken(found, "source 127.0.0.1:1")
    assert not_reached.hint == "curl --head http://127.0.0.1:1"
    assert not_reached.means == "no chunk comes home"
    assert "clock" not in {each.check for each in found.findings}


async def test_source_that_answers_otherwise_is_noted(
    here: Environment, clock: ManualClock, acs: StandIn
) -> None:
    """A bad hour there says nothing of our key."""
    acs.put(NOBODYS, content=b"", metadata=b"{}")
    acs.plan(NOBODYS, "metadata", [Fault.status(503)])

    found = await look(here, clock)

    named = of(found, f"source {acs.regional_host}")
    assert named.grade is Grade.NOTE
    assert "answered 503" in named.seen


async def test_webhook_asks_no_source(here: Environment, clock: ManualClock) -> None:
    """It holds no key for one."""
    without = {name: text for name, text in here.items() if "COMMUNICATION" not in name}

    found = await look(without, clock, use=Use.WEBHOOK)

    assert not found.needs_attention
    assert not [each for each in found.findings if each.check.startswith("source")]


@pytest.mark.parametrize("use", [Use.SERVE, Use.WEBHOOK])
async def test_endpoint_that_asks_for_nothing_is_noted(
    here: Environment, clock: ManualClock, use: Use
) -> None:
    """On loopback it starts so; but what ends TLS in front of it lets everybody in."""
    without = here | {"WORKER_WEBHOOK_KEYS": "", "WORKER_LISTEN": "127.0.0.1:8080"}

    found = of(await look(without, clock, use=use), "post of a stranger")

    assert found.grade is Grade.NOTE
    assert "127.0.0.1:8080" in found.seen


async def test_known_host_stands_for_its_suffix(
    here: Environment, clock: ManualClock
) -> None:
    """And where none is known, that is said."""
    usual = Settings.load({}, use=Use.READ)
    other = here | {
        "WORKER_SOURCE_HOSTS": ".example.com",
        "WORKER_UNSAFE_STORAGE": "allow",
    }

    found = await look(other, clock)

    assert list(hosts_of(usual)) == ["storage.asm.skype.com"]
    assert of(found, "source").grade is Grade.SKIPPED


async def test_probe_that_was_changed_is_not_ok(
    here: Environment, clock: ManualClock, tmp_path: Path
) -> None:
    """What is read back is not what was written."""
    await look(here, clock)
    probe = tmp_path / "archive" / names.PROBE
    probe.chmod(0o600)
    probe.write_bytes(b"other")

    assert "another content" in broken(await look(here, clock), "archive read").seen


async def test_blob_that_was_changed_is_not_ok(
    there: Environment, clock: ManualClock, own_account: Azurite
) -> None:
    """The same in a container."""
    await look(there, clock)
    name = there["WORKER_ARCHIVE"].rsplit("/", 2)[1]
    text = own_account.connection_string
    async with BlobServiceClient.from_connection_string(text) as service:
        blob = service.get_blob_client(name, f"below/{names.PROBE}")
        await blob.upload_blob(b"other", overwrite=True)

    assert "another content" in broken(await look(there, clock), "archive read").seen


async def test_archive_that_is_a_file_is_not_ok(
    here: Environment, clock: ManualClock, tmp_path: Path
) -> None:
    """There is nothing to write into, and the queue is looked at all the same."""
    staging = tmp_path / "archive" / ".staging"
    staging.rmdir()
    staging.write_text("in the way")

    found = await look(here, clock)

    assert of(found, archive_check.WRITE).grade is Grade.NOT_OK
    assert of(found, "queue").grade is Grade.OK


async def test_container_that_is_gone_is_not_ok(
    there: Environment, clock: ManualClock, own_account: Azurite
) -> None:
    """The hint is the command that makes it."""
    text = own_account.connection_string
    name = there["WORKER_ARCHIVE"].rsplit("/", 2)[1]
    async with BlobServiceClient.from_connection_string(text) as service:
        await service.delete_container(name)

    found = await look(there, clock)

    wrong = of(found, archive_check.WRITE)
    assert wrong.grade is Grade.NOT_OK
    assert wrong.hint.startswith(f"az storage container create --name {name} ")


async def test_archive_that_lets_itself_be_written_over_is_not_ok(
    azurite: Azurite,
    environment: Environment,
    clock: ManualClock,
    unique_name: UniqueName,
) -> None:
    """A service that hears no condition keeps no proof."""
    name = unique_name("overwritten")
    async with StorageProxy(azurite.blob_url) as proxy:
        at = f"{proxy.url}/{name}?{azurite.signature()}"
        found = environment | {
            "WORKER_ARCHIVE": at,
            "WORKER_QUEUE": azurite.queue(name) + f"?{azurite.signature()}",
        }
        await start(found)
        proxy.plan(StorageFault.deaf(), on="put", times=2)
        looked = await look(found, clock)

    wrong = of(looked, archive_check.OVERWRITE)
    assert wrong.grade is Grade.NOT_OK
    assert wrong.means == "no proof outlasts that"


class ForgetfulArchive(MemoryArchive):
    """Says that all is stored."""

    async def stat(self, name: str) -> Stored | None:  # noqa: ARG002 - the port's
        return None


async def test_probe_that_is_gone_at_once_is_not_ok() -> None:
    """Read back, and then nowhere."""
    found = await archive_check.probed(ForgetfulArchive())

    assert found[-1].seen == "the probe is gone"
    assert found[-1].grade is Grade.NOT_OK


async def test_protection_that_is_not_given_is_not_ok(
    there: Environment, clock: ManualClock
) -> None:
    """Azurite takes a policy and keeps none: chunks would be kept at ACS."""
    wrong = broken(
        await look(there | {"WORKER_BLOB_IMMUTABLE_DAYS": "3"}, clock),
        "archive protection",
    )

    assert wrong.seen == "asked for and not there: immutability"
    assert wrong.means == "chunks are archived, and kept at ACS"


class AgedArchive(MemoryArchive):
    """Has a policy that was fresh when the probe was written."""

    async def stat(self, name: str) -> Stored | None:
        stored = await super().stat(name)
        until = (START + timedelta(days=1)).isoformat()
        return stored and replace(stored, protection={"immutable_until": until})

    def unmet(self, protection: Mapping[str, str]) -> list[str]:
        left = datetime.fromisoformat(protection["immutable_until"]) - START
        return ["immutability"] if left < timedelta(days=7) else []


async def test_policy_of_an_old_probe_may_be_nearly_over() -> None:
    """It was whole when it was given; of a new one it must be."""
    archive = AgedArchive()

    new = await archive_check.probed(archive)
    old = await archive_check.probed(archive)

    assert [new[-1].grade, old[-1].grade] == [Grade.NOT_OK, Grade.OK]


@pytest.mark.parametrize(
    ("permission", "grade"), [("racwl", Grade.OK), ("racwdl", Grade.NOTE)]
)
async def test_right_to_delete_is_told(
    azurite: Azurite,
    environment: Environment,
    clock: ManualClock,
    unique_name: UniqueName,
    permission: str,
    grade: Grade,
) -> None:
    """Asked so that nothing is deleted; the hint protects the container from all."""
    name = unique_name("rights")
    account = {
        "WORKER_ARCHIVE": f"{azurite.container(name)}?{azurite.signature()}",
        "WORKER_QUEUE": f"{azurite.queue(name)}?{azurite.signature()}",
    }
    await start(environment | account)
    sas = container_signature(name, permission=permission)
    own = account | {"WORKER_ARCHIVE": f"{azurite.container(name)}?{sas}"}

    first = await look(environment | own, clock)
    found = await look(environment | own, clock)

    assert of(first, "rights").grade is of(found, "rights").grade is grade
    assert not found.needs_attention
    assert of(found, archive_check.WRITE).seen.startswith("a probe lies there")
    assert bool(of(found, "rights").hint) is (grade is Grade.NOTE)


async def test_rights_are_not_known_of_a_container_that_refuses_all(
    there: Environment, clock: ManualClock, own_account: Azurite, azurite: Azurite
) -> None:
    """It is told as the trouble that it is."""
    expired = azurite.signature(lasting=timedelta(hours=-1))
    name = there["WORKER_ARCHIVE"].rsplit("/", 2)[1]

    found = await look(
        there | {"WORKER_ARCHIVE": f"{own_account.container(name)}?{expired}"}, clock
    )

    assert of(found, archive_check.WRITE).grade is Grade.NOT_OK
    assert "expired" in of(found, archive_check.WRITE).seen


async def test_queue_that_is_no_queue_is_not_ok(
    here: Environment, clock: ManualClock, tmp_path: Path
) -> None:
    """Somebody wrote over the file."""
    (tmp_path / "queue.db").write_bytes(b"not a database" * 1000)

    assert broken(await look(here, clock), "queue").hint == "recording-worker config"


async def test_queue_that_forgets_is_not_ok(
    here: Environment, clock: ManualClock, tmp_path: Path
) -> None:
    """What is written is not what is read: a trigger throws it away."""
    with sqlite3.connect(tmp_path / "queue.db") as db:
        db.execute(
            "CREATE TRIGGER forget AFTER INSERT ON heartbeat BEGIN"
            " DELETE FROM heartbeat; END"
        )
    db.close()

    wrong = broken(await look(here, clock), "queue")

    assert wrong.seen == "what is written is not what is read"


@pytest.mark.parametrize("suffix", ["", "-urgent", "-poison"])
async def test_queue_that_is_gone_is_not_ok(
    there: Environment, clock: ManualClock, own_account: Azurite, suffix: str
) -> None:
    """Each of the three is needed."""
    name = there["WORKER_QUEUE"].rsplit("/", 1)[1] + suffix
    text = own_account.connection_string
    async with QueueClient.from_connection_string(text, name) as client:
        await client.delete_queue()

    wrong = broken(await look(there, clock), "queue")

    assert wrong.hint.startswith(f"az storage queue create --name {name} ")


@pytest.mark.parametrize(
    ("use", "grade"), [(Use.SERVE, Grade.NOTE), (Use.WEBHOOK, Grade.OK)]
)
async def test_identity_that_may_only_send_is_told(
    azurite: Azurite,
    environment: Environment,
    clock: ManualClock,
    unique_name: UniqueName,
    use: Use,
    grade: Grade,
) -> None:
    """That is right for a webhook, and what it sent nobody sees."""
    name = unique_name("sender")
    account = {
        "WORKER_ARCHIVE": f"{azurite.container(name)}?{azurite.signature()}",
        "WORKER_QUEUE": f"{azurite.queue(name)}?{azurite.signature()}",
    }
    await start(environment | account)
    async with refusing(azurite) as proxy:
        sender = {"WORKER_QUEUE": f"{proxy.url}/{name}?{azurite.signature()}"}
        found = await look(environment | account | sender, clock, use=use)

    assert of(found, "queue").grade is grade
    assert not found.needs_attention
    text = azurite.connection_string
    async with QueueClient.from_connection_string(text, name) as client:
        assert await client.receive_message() is None


@asynccontextmanager
async def refusing(azurite: Azurite) -> AsyncIterator[StorageProxy]:
    """As Azure refuses who is *Storage Queue Data Message Sender* alone."""
    mismatch = StorageFault.status(403, "AuthorizationPermissionMismatch")
    async with StorageProxy(azurite.queue_url) as proxy:
        for operation in ("peek_messages", "update_message"):
            proxy.plan(mismatch, on=operation, times=100)
        yield proxy


async def test_inbox_is_looked_at(
    there: Environment, clock: ManualClock, own_account: Azurite
) -> None:
    """How much waits in it, or the command that makes it."""
    inbox = {"WORKER_INBOX": own_account.queue("inbox")}
    gone = await look(there | inbox, clock)
    text = own_account.connection_string
    async with QueueClient.from_connection_string(text, "inbox") as client:
        await client.create_queue()
        await client.send_message("x")
    found = await look(there | inbox, clock)

    assert broken(gone, "inbox").hint.startswith("az storage queue create --name inbox")
    assert of(found, "inbox").seen == "1 message in inbox"


async def test_dead_letters_are_looked_for_beside_the_archive(
    there: Environment, clock: ManualClock, own_account: Azurite
) -> None:
    """No container is worth a note, an empty one is right, what lies there is not until it
    is replayed."""
    text = own_account.connection_string
    without = await look(there, clock)
    async with BlobServiceClient.from_connection_string(text) as service:
        container = await service.create_container("dead-letters")
        empty = await look(there, clock)
        letter = "TOPIC/SUB/2026/3/1/9/a.json"
        blob = await container.upload_blob(letter, b"[]")
        found = await look(there, clock)
        etag = (await blob.get_blob_properties()).etag.strip('"')
    where = own_account.container("dead-letters")
    async with opening.open_archive(Settings.load(there)) as archive:
        await archive.create(names.replayed_name(where, letter, etag), b"{}")
    replayed = await look(there, clock)

    assert of(without, "dead letters").grade is Grade.NOTE
    assert "az storage container create --name dead-letters" in (
        of(without, "dead letters").hint
    )
    assert of(empty, "dead letters").grade is Grade.OK
    wrong = broken(found, "dead letters")
    assert wrong.seen.startswith("1 in ")
    assert wrong.hint == f"recording-worker replay {where} --all"
    assert of(replayed, "dead letters").grade is Grade.OK


async def test_dead_letters_that_were_named_have_to_be_there(
    either: Environment, clock: ManualClock, azurite: Azurite
) -> None:
    """With a signature of their own, whatever the archive is."""
    url = f"{azurite.container('no-such-dead-letters')}?{azurite.signature()}"

    wrong = broken(await look(either, clock, dead_letters_url=url), "dead letters")

    assert "ContainerNotFound" in wrong.seen
    assert wrong.hint.startswith("az storage container list ")


async def test_dead_letters_of_a_directory_are_not_known(
    here: Environment, clock: ManualClock
) -> None:
    """The hint says how to name them."""
    assert of(await look(here, clock), "dead letters").hint == dead_letters.SAY


async def put_letters(account: Azurite, count: int) -> None:
    text = account.connection_string
    async with BlobServiceClient.from_connection_string(text) as service:
        container = await service.create_container("dead-letters")
        for number in range(count):
            await container.upload_blob(f"{number}.json", b"[]")


async def test_many_dead_letters_are_not_counted_to_their_end(
    there: Environment,
    clock: ManualClock,
    own_account: Azurite,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is enough to be paged for."""
    monkeypatch.setattr(dead_letters, "MOST", 2)
    await put_letters(own_account, 3)

    found = await look(there, clock)

    assert of(found, "dead letters").seen.startswith("2 in ")


async def test_dead_letters_are_looked_up_some_at_once(
    there: Environment,
    clock: ManualClock,
    own_account: Azurite,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand, one after the other, would be a container that does not answer."""
    both = asyncio.Barrier(2)

    async def neither(*_: object) -> bool:
        await both.wait()
        return False

    monkeypatch.setattr(dead_letters, "is_known", neither)
    await put_letters(own_account, 2)

    found = await look(there, clock)

    assert of(found, "dead letters").seen.startswith("2 in ")


def test_url_of_dead_letters_is_not_repeated() -> None:
    """It may bear a signature."""
    url = f"https://a.b/?sig={canaries.LOCATION_TOKEN}"

    with pytest.raises(dead_letters.DeadLettersUrlError) as told:
        dead_letters.place_of(url)

    assert canaries.seen(str(told.value)) == []
    assert told.value.hint == dead_letters.SAY


async def test_token_is_asked_for_where_no_key_is(
    here: Environment, clock: ManualClock, acs: StandIn, identity: IdentityEndpoint
) -> None:
    """Who refuses it is told, and what to type; the token itself is not."""
    endpoint = acs.connection_string.partition(";")[0].removeprefix("endpoint=")
    by_token = here | {"AZURE_COMMUNICATION_ENDPOINT": endpoint}
    del by_token["AZURE_COMMUNICATION_CONNECTION_STRING"]

    strange = await look(by_token, clock)
    acs.tokens.update(identity.issued)
    identity.status = 400
    refused = await look(by_token, clock)

    to_acs = [each for each in strange.findings if "to ACS" in each.seen]
    assert [each.seen for each in to_acs] == [f"to ACS: Entra ID, object {OBJECT}"]
    assert "answered 401" in of(strange, f"source {acs.regional_host}").seen
    wrong = of(refused, "identity", Grade.NOT_OK)
    assert wrong.seen.startswith("to ACS: no token of Entra ID")
    assert wrong.hint == "az login"
    assert not [token for token in identity.issued if token in repr(strange)]


@pytest.mark.parametrize("token", ["opaque", "eyJhbGciOiJub25lIn0.eyJvaWQiOiI_In0.x"])
async def test_token_that_names_nobody_is_none_the_less_one(
    here: Environment,
    clock: ManualClock,
    acs: StandIn,
    identity: IdentityEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
) -> None:
    """What is in it is Entra ID's own business."""
    endpoint = acs.connection_string.partition(";")[0].removeprefix("endpoint=")
    by_token = here | {"AZURE_COMMUNICATION_ENDPOINT": endpoint}
    del by_token["AZURE_COMMUNICATION_CONNECTION_STRING"]
    monkeypatch.setattr(IdentityEndpoint, "_token", lambda *_: token)
    acs.tokens.add(token)

    found = await look(by_token, clock)

    assert not found.needs_attention
    assert identity.issued
    assert token not in repr(found)


async def test_each_place_has_its_own_identity(
    there: Environment, clock: ManualClock, own_account: Azurite
) -> None:
    """A signature in a URL goes first, and that of a connection string is one, too."""
    signed = own_account.signature()
    found = await look(
        there | {"WORKER_ARCHIVE": f"{there['WORKER_ARCHIVE']}?{signed}"}, clock
    )
    text = own_account.connection_string
    key = text[text.index("AccountKey=") : text.index("BlobEndpoint=")]
    by_signature = text.replace(key, f"SharedAccessSignature={signed};")
    other = await look(there | {"AZURE_STORAGE_CONNECTION_STRING": by_signature}, clock)

    told = [each.seen for each in found.findings if each.check == "identity"]
    assert "to WORKER_ARCHIVE: the signature in its URL" in told
    assert f"to WORKER_QUEUE: the access key of {own_account.account}" in told
    assert of(found, "dead letters").grade is Grade.SKIPPED
    told = [each.seen for each in other.findings if each.check == "identity"]
    assert f"to WORKER_ARCHIVE: the signature of {own_account.account}" in told


async def test_user_without_a_name_is_told_by_number(
    here: Environment, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)

    found = await look(here, clock)

    assert "on this machine: uid 54321" in {each.seen for each in found.findings}


async def test_service_that_fails_says_nothing_of_rights(
    azurite: Azurite,
    environment: Environment,
    clock: ManualClock,
    unique_name: UniqueName,
) -> None:
    """It is told as the trouble that it is."""
    name = unique_name("unsure")
    signed = azurite.signature()
    found = environment | {"WORKER_QUEUE": f"{azurite.queue(name)}?{signed}"}
    async with StorageProxy(azurite.blob_url) as proxy:
        found |= {"WORKER_ARCHIVE": f"{proxy.url}/{name}?{signed}"}
        await start(found)
        busy = StorageFault.status(503, "ServerBusy")
        proxy.plan(busy, on="delete", times=100)
        looked = await look(found, clock)

    wrong = broken(looked, "rights")
    assert "the service is busy" in wrong.seen


async def test_system_that_does_not_tell_its_mounts_is_skipped(
    here: Environment,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Only Linux does."""
    monkeypatch.setattr(filesystems, "MOUNTINFO", tmp_path / "none")

    found = await look(here, clock)

    assert of(found, "disk of archive", Grade.SKIPPED).hint == ""
    assert not found.needs_attention


class Shell:
    """Who types `doctor`, in this very process, with nobody at the source."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._capsys = capsys
        monkeypatch.setenv(
            "AZURE_COMMUNICATION_CONNECTION_STRING",
            "endpoint=https://contoso.communication.azure.com/;accesskey=eA==",
        )
        monkeypatch.setenv("WORKER_SOURCE_HOSTS", "127.0.0.1:1")

    def types(self, *arguments: str) -> tuple[int, str]:
        with isolated_logs():
            code = main(["doctor", *arguments])
        return code, self._capsys.readouterr().out


@pytest.fixture
def shell(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def test_command_tells_people_and_machines(shell: Shell, tmp_path: Path) -> None:
    """1 where nothing is yet, 3 where something is and needs attention."""
    nothing, lines = shell.types()
    (tmp_path / "data" / "archive").mkdir(parents=True)
    something, document = shell.types("--json", "--for", "consume")

    assert (nothing, something) == (1, 3)
    assert "not ok   source 127.0.0.1:1" in lines
    assert "         hint: curl --head http://127.0.0.1:1\n" in lines
    told = json.loads(document)
    assert (told["of"], told["needs_attention"]) == ("recording-worker consume", True)


def test_command_ends_with_the_code_of_settings_that_are_wrong(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every verb."""
    monkeypatch.setenv("WORKER_MAX_CHUNKS", "none")

    code, lines = shell.types()

    assert code == 78
    assert "not ok   settings" in lines


def test_command_takes_the_container_of_dead_letters(shell: Shell) -> None:
    """Nobody is there: one finding more."""
    _, lines = shell.types("--dead-letters", "http://127.0.0.1:1/account/letters")

    assert "not ok   dead letters" in lines


@pytest.mark.parametrize(
    "arguments",
    [("--topic", "t"), ("--endpoint", "https://a.b/", "--dead-letters", "u")],
)
def test_options_that_do_not_go_together_are_usage(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    """Exit 2, before anything is asked."""
    assert shell.types(*arguments) == (2, "")


async def test_storage_that_hangs_is_named_once_for_each_check(
    environment: Environment, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them wait at the same time, and what answers is told beside it."""
    monkeypatch.setattr(deployment, "LONGEST_CHECK_SECONDS", 1.0)
    hanging = Hanging()
    server = await asyncio.start_server(hanging.hold, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    account = f"http://{host}:{port}/devstoreaccount1"
    silent = environment | {
        "AZURE_STORAGE_CONNECTION_STRING": (
            "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
            f"AccountKey={ACCOUNT_KEY};BlobEndpoint={account};QueueEndpoint={account}"
        ),
        "WORKER_ARCHIVE": f"{account}/archive",
        "WORKER_QUEUE": f"{account}/queue",
        "WORKER_INBOX": f"{account}/inbox",
    }

    async with server:
        found = await look(silent, clock)

    hung = {
        each.check: each.seen.removeprefix("no answer within 1 s from ")
        for each in found.findings
        if each.seen.startswith("no answer within")
    }
    assert hung == {
        "archive write": f"{account}/archive",
        "rights": f"{account}/archive",
        "queue": f"{account}/queue",
        "inbox": f"{account}/inbox",
        "dead letters": f"{account}/dead-letters",
    }
    assert hanging.most >= len(hung)
    (source,) = [each for each in found.findings if each.check.startswith("source")]
    assert source.grade is Grade.OK


class Hanging:
    """Accepts connections, and answers on none."""

    def __init__(self) -> None:
        self.most = 0
        self._open = 0

    async def hold(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._open += 1
        self.most = max(self.most, self._open)
        while await reader.read(2**16):
            pass
        self._open -= 1
        writer.close()


async def test_check_that_meets_no_end_or_no_disk_is_a_finding(
    here: Environment, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one is made all the same."""
    monkeypatch.setattr(deployment, "LONGEST_CHECK_SECONDS", 0.01)
    looked = Deployment(settings=Settings.load(here), use=Use.SERVE, clock=clock)

    async def hang(_: Deployment) -> list[Finding]:
        await clock.sleep(1)
        return []

    async def trip(_: Deployment) -> list[Finding]:
        raise OSError(5, "Input/output error")

    (silent,) = await guarded("a", hang, looked)()
    (failed,) = await guarded("b", trip, looked)()

    assert silent.seen == "no answer within 0.01 s"
    assert "Input/output error" in failed.seen
