"""`acs recording download` and `delete` in this process, at the stand-in for media."""

import asyncio
import hashlib
import json
import os
import pty
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from samples.acs import StandIn
from samples.faults import Fault
from tests.azurite import Azurite
from tests.factories import a_chunk, a_delivery
from tests.fakes.clock import ManualClock
from tests.isolation import isolated_logs
from tests.proofs import a_proof
from worker import driving, names, opening
from worker.__main__ import main
from worker.archives.directory import DirectoryArchive
from worker.archives.local_file import LocalFile
from worker.errors import AlreadyExistsError, IntegrityError
from worker.model import ChunkKey
from worker.ops.acs_media import UnprovenError, proof_of
from worker.ports import Archive
from worker.settings import Settings
from worker.settings_rules import Use
from worker.stored import SourceDeleted, decode, encode

"""Signatures are held against the clock of the machine."""
DOC = "0-eus-d1-a1b2c3"
DATA = bytes(range(256)) * 8192
METADATA = b'{"chunkDocumentId": "0-eus-d1-a1b2c3"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Operator:
    """Someone who is asked for nothing, as no terminal is there."""

    capsys: pytest.CaptureFixture[str]

    async def types(self, *arguments: str) -> Ended:
        code = await asyncio.to_thread(main, ("acs", "recording", *arguments))
        captured = self.capsys.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)


@pytest.fixture
async def acs(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandIn]:
    async with StandIn() as acs:
        acs.put(DOC, content=DATA, metadata=METADATA)
        monkeypatch.setenv(
            "AZURE_COMMUNICATION_CONNECTION_STRING", acs.connection_string
        )
        hosts = f"{acs.global_host},{acs.regional_host}"
        monkeypatch.setenv("WORKER_SOURCE_HOSTS", hosts)
        monkeypatch.setenv("WORKER_BLOCK_MIB", "1")
        yield acs


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def operator(
    home: Path,  # noqa: ARG001 - where it is typed
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Operator]:
    with isolated_logs():
        yield Operator(capsys)


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def a_receipt(home: Path, **other: object) -> None:
    """An archive that proves DOC, as a worker would have left it."""
    async with DirectoryArchive(
        home / "data/archive", clock=ManualClock(), reserve_bytes=0
    ) as archive:
        await put_proof(archive, **other)


async def put_proof(archive: Archive, **other: object) -> None:
    proof = a_proof(DOC)
    for name, data in (("c.mp4", DATA), ("c.json", METADATA)):
        await archive.create(f"recordings/{name}", data)
    content, metadata = (
        replace(proof.content, name=f"recordings/{name}", size_bytes=size)
        for name, size in (("c.mp4", len(DATA)), ("c.json", len(METADATA)))
    )
    said: dict[str, object] = {"content": content, "metadata": metadata} | other
    receipt = replace(proof, **said)  # type: ignore[arg-type]  # what a test says
    await archive.create(names.receipt_name(ChunkKey(DOC)), encode(receipt))


async def test_download_is_whole_and_by_ranges(
    operator: Operator, acs: StandIn, home: Path
) -> None:
    """Into a file that is there at once, with its hash."""
    location = acs.locations(DOC).content

    ended = await operator.types("download", location, "-o", "chunk.mp4", "--json")

    said = json.loads(ended.out)
    assert (ended.code, said["ranges"]) == (0, 2)
    assert (home / "chunk.mp4").read_bytes() == DATA
    assert said["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert (said["size_bytes"], said["file"]) == (len(DATA), "chunk.mp4")


async def test_download_of_metadata_is_shown(operator: Operator, acs: StandIn) -> None:
    """For people: size and hash."""
    location = acs.locations(DOC).metadata

    ended = await operator.types("download", location, "-o", "m.json")

    assert ended.code == 0
    assert f"sha256  {hashlib.sha256(METADATA).hexdigest()}\n" in ended.out
    line = json.loads(ended.err)
    assert (line["what"], line["subject"]) == ("recording download", DOC)


async def test_resource_is_chosen_where_there_are_several(
    operator: Operator, acs: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name or its host: no event says whose it is."""
    other = "endpoint=https://other.communication.azure.com/;accesskey=d3Jvbmc="
    both = f"{acs.connection_string} {other}"
    monkeypatch.setenv("AZURE_COMMUNICATION_CONNECTION_STRING", both)
    command = ("download", acs.locations(DOC).content, "-o", "chunk.mp4")

    none = await operator.types(*command)
    named = await operator.types(
        *command, "--resource", "contoso.communication.azure.com"
    )

    assert "say which resource is meant by --resource: contoso, other" in none.err
    assert (none.code, named.code) == (1, 0)


async def test_file_that_is_there_stays(
    operator: Operator, acs: StandIn, home: Path
) -> None:
    """Nothing is asked for, and nothing overwritten."""
    (home / "chunk.mp4").write_text("mine")

    ended = await operator.types(
        "download", acs.locations(DOC).content, "-o", "chunk.mp4"
    )

    assert (ended.code, acs.requests) == (1, [])
    assert "chunk.mp4 exists already" in ended.err
    assert (home / "chunk.mp4").read_text() == "mine"


@pytest.mark.parametrize("output", ["", ".", "/"])
async def test_file_must_have_a_name(
    operator: Operator, acs: StandIn, output: str
) -> None:
    """A folder is none."""
    location = acs.locations(DOC).content

    ended = await operator.types("download", location, "-o", output)

    assert (ended.code, acs.requests) == (2, [])
    assert ended.err.startswith("error: --output is the name of a file\n")


async def test_download_that_fails_leaves_nothing(
    operator: Operator, acs: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half of a file under any name, once it was tried often enough."""
    acs.plan(DOC, "content", [Fault.status(404).always()])
    monkeypatch.setattr(
        driving, "SystemClock", lambda: ManualClock(datetime.now(UTC), auto=True)
    )

    ended = await operator.types(
        "download", acs.locations(DOC).content, "-o", "chunk.mp4"
    )

    assert ended.code == 1
    assert "answered 404" in ended.err
    assert files_in(home) == []


async def test_key_goes_to_allowed_hosts_alone(
    operator: Operator, acs: StandIn, home: Path
) -> None:
    """For a download, and for a delete."""
    elsewhere = f"https://files.example/v1/objects/{DOC}"
    got = await operator.types("download", f"{elsewhere}/content/video", "-o", "c.mp4")
    deleted = await operator.types("delete", elsewhere)

    for ended in (got, deleted):
        assert ended.code == 1
        assert "files.example is not an allowed source host" in ended.err
    assert (acs.requests, files_in(home)) == ([], [])


async def test_what_a_receipt_proves_is_deleted_at_once(
    operator: Operator, acs: StandIn, home: Path
) -> None:
    """Nobody is asked; the answer is kept beside the receipt, as a worker does."""
    await a_receipt(home)

    first = await operator.types("delete", acs.locations(DOC).delete, "--json")
    again = await operator.types("delete", acs.locations(DOC).delete)

    assert (first.code, again.code) == (0, 0)
    assert json.loads(first.out) == {
        "document_id": DOC,
        "is_proven": True,
        "why_unproven": None,
        "status": 200,
    }
    assert "answered 404" in again.out
    assert acs.deleted == {DOC}
    record = home / "data/archive" / names.source_deleted_name(ChunkKey(DOC))
    assert decode(SourceDeleted, record.read_bytes()).answer.status == 200
    assert json.loads(first.err)["what"] == "recording delete"


async def test_delete_without_an_answer_is_logged(
    operator: Operator, acs: StandIn, home: Path
) -> None:
    """Who asked for it is known, though nobody knows whether it is done."""
    await a_receipt(home)
    acs.plan(DOC, "delete", [Fault.cut_after(0).always()])

    ended = await operator.types("delete", acs.locations(DOC).delete)

    assert (ended.code, acs.deleted) == (1, {DOC})
    line = json.loads(ended.err.splitlines()[0])
    assert (line["what"], line["subject"]) == ("recording delete", DOC)


async def test_proof_may_lie_in_a_container(
    operator: Operator,
    acs: StandIn,
    azurite: Azurite,
    unique_name: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And so does the answer."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    container = azurite.container(unique_name("acs"), "archive")
    monkeypatch.setenv("WORKER_ARCHIVE", container)
    monkeypatch.setenv("WORKER_QUEUE", azurite.queue(unique_name("acs")))
    settings = Settings.load(dict(os.environ), use=Use.ACS_MEDIA)
    async with opening.open_archive(settings) as archive:
        await put_proof(archive)
        async with opening.open_queue(settings, create=True, archive=archive):
            pass
        ended = await operator.types("delete", acs.locations(DOC).delete)
        record = await archive.read(names.source_deleted_name(ChunkKey(DOC)))

    assert (ended.code, acs.deleted) == (0, {DOC})
    assert decode(SourceDeleted, record or b"").answer.status == 200


async def test_dry_run_says_whether_it_is_proven(
    operator: Operator, acs: StandIn, home: Path
) -> None:
    """And asks ACS for nothing."""
    await a_receipt(home)

    ended = await operator.types("delete", acs.locations(DOC).delete, "--dry-run")

    assert (ended.code, acs.requests) == (0, [])
    assert "proof     in the archive, by its receipt" in ended.out
    assert "nothing was sent: a dry run" in ended.out
    assert f"DELETE {acs.locations(DOC).delete}\n" in ended.out


async def test_download_is_rehearsed(
    operator: Operator, acs: StandIn, home: Path
) -> None:
    """The request without what may be a secret; nothing is sent, and no file made."""
    location = acs.locations(DOC).content

    ended = await operator.types(
        "download", f"{location}?sig=x", "-o", "c", "--dry-run"
    )
    foreign = await operator.types(
        "download", "https://files.example/c", "-o", "c", "--dry-run", "--json"
    )

    assert (ended.code, foreign.code) == (0, 1)
    assert ended.out == f"GET {location}\n"
    assert "not an allowed source host" in foreign.err
    assert (acs.requests, files_in(home)) == ([], [])


FLAGGED = {"flags": ("structure",)}
NO_METADATA = {"metadata": None}
GONE = {"content": replace(a_proof(DOC).content, name="recordings/gone.mp4")}
ABROAD = {"content": replace(a_proof(DOC).content, name="https://a.example/c/d")}


@pytest.mark.parametrize(
    ("receipt", "why"),
    [
        (None, "there is no archive here"),
        (FLAGGED, "its receipt is flagged: structure"),
        (NO_METADATA, "its receipt does not prove all of it"),
        (GONE, "the archive no longer holds what its receipt proves"),
        (ABROAD, "it lies in your own storage, not in the archive"),
    ],
    ids=["no archive", "flagged", "no metadata", "gone", "abroad"],
)
@pytest.mark.parametrize("more", [(), ("--yes",)], ids=["", "yes"])
async def test_unproven_is_not_deleted_where_nobody_can_be_asked(
    operator: Operator,
    acs: StandIn,
    home: Path,
    receipt: dict[str, object] | None,
    why: str,
    more: tuple[str, ...],
) -> None:
    """Whatever a script says: no delete without proof."""
    if receipt is not None:
        await a_receipt(home, **receipt)

    ended = await operator.types("delete", acs.locations(DOC).delete, *more)

    assert (ended.code, acs.requests, acs.deleted) == (1, [], set())
    assert f"error: {why}, and nobody is here to be asked\n" in ended.err
    assert "hint: recording-worker " in ended.err


@pytest.mark.parametrize(
    ("view", "code"), [("video", 0), ("audio", 1)], ids=["proven", "another view"]
)
async def test_all_that_was_announced_of_it_is_proven(
    operator: Operator, acs: StandIn, home: Path, view: str, code: int
) -> None:
    """The delete takes the whole document, and so what is still on its way."""
    await a_receipt(home)
    objects = f"http://{acs.global_host}/v1/objects/{DOC}"
    chunk = a_chunk(
        document_id=DOC,
        content_location=f"{objects}/content/{view}",
        metadata_location=f"{objects}/content/acsmetadata",
    )
    settings = Settings.load(dict(os.environ), use=Use.ACS_MEDIA)
    async with opening.open_queue(settings, create=True) as queue:
        await queue.put(a_delivery(chunk))

    ended = await operator.types("delete", acs.locations(DOC).delete)

    assert (ended.code, acs.deleted == {DOC}) == (code, code == 0)
    assert ("another announcement of it has no receipt" in ended.err) is (code == 1)


async def test_archive_without_the_receipt_proves_nothing(
    operator: Operator, acs: StandIn, home: Path
) -> None:
    """As when the chunk is still on its way."""
    (home / "data/archive").mkdir(parents=True)

    ended = await operator.types("delete", acs.locations(DOC).delete)

    assert "no receipt proves it, and nobody" in ended.err


@pytest.mark.parametrize(
    ("typed", "more", "code"),
    [("y\n", (), 0), ("n\n", (), 1), ("\x04", (), 1), ("", ("--yes",), 0)],
    ids=["yes", "no", "goes away", "said before"],
)
async def test_person_at_a_terminal_is_asked(
    operator: Operator,
    acs: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    more: tuple[str, ...],
    code: int,
) -> None:
    """And told what is missing; the log says that it was not proven."""
    theirs, ours = pty.openpty()
    os.write(theirs, typed.encode())
    with os.fdopen(ours) as terminal, monkeypatch.context() as there:
        there.setattr(sys, "stdin", terminal)
        ended = await operator.types("delete", acs.locations(DOC).delete, *more)
    os.close(theirs)

    assert ended.code == code
    assert (acs.deleted == {DOC}) is (code == 0)
    is_asked = "there is no archive here: delete" in ended.err
    assert is_asked is (more == ())
    if code == 0:
        assert '"what": "recording delete unproven"' in ended.err
        assert "answered 200" in ended.out
    else:
        assert "nothing was deleted" in ended.err
        assert "error:" not in ended.err


@pytest.mark.parametrize("path", ["/content/video", "/content/acsmetadata"])
async def test_what_is_no_delete_location_is_refused(
    operator: Operator, acs: StandIn, path: str
) -> None:
    """Nobody knows what a delete takes there."""
    location = f"http://{acs.global_host}/v1/objects/{DOC}{path}"

    ended = await operator.types("delete", location, "--dry-run")

    assert (ended.code, acs.requests) == (1, [])
    assert "that is no delete location" in ended.err


async def test_file_of_ours_is_written_in_any_order(tmp_path: Path) -> None:
    """And has its name when it is whole; racing for the name is lost without harm."""
    path = tmp_path / "file"
    async with LocalFile(path, block_bytes=4) as file:
        await file.write(4, b"ef")
        await file.write(0, b"abcd")
        with pytest.raises(IntegrityError):
            await file.commit(size=7)
        assert await file.held("origin") == ()
        assert not path.exists()
        path.write_text("another's")
        with pytest.raises(AlreadyExistsError):
            await file.commit(size=6)
        path.unlink()
        await file.commit(size=6)
        assert await file.sha256() == hashlib.sha256(b"abcdef").hexdigest()

    assert path.read_bytes() == b"abcdef"
    assert files_in(tmp_path) == ["file"]


async def test_what_a_killed_download_left_is_removed_by_the_next(
    tmp_path: Path,
) -> None:
    """Not what another one writes at the moment, nor a file of somebody else's."""
    others = [".f[1].mp4.0123456.part", ".g.mp4.01234567.part", ".f[1].mp4.part"]
    for name in (".f[1].mp4.01234567.part", *others):
        (tmp_path / name).write_text("half")
    path = tmp_path / "f[1].mp4"

    async with LocalFile(path, block_bytes=4) as first:
        await first.write(0, b"abcd")
        async with LocalFile(path, block_bytes=4):
            assert len(files_in(tmp_path)) == len(others) + 2
        await first.commit(size=4)

    assert set(files_in(tmp_path)) == {path.name, *others}


async def test_file_system_without_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some that come from elsewhere are."""

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    async with LocalFile(tmp_path / "file", block_bytes=4) as file:
        await file.write(0, b"abcd")
        (tmp_path / "file").write_text("another's")
        with pytest.raises(AlreadyExistsError):
            await file.commit(size=4)
        assert (tmp_path / "file").read_text() == "another's"
        (tmp_path / "file").unlink()
        await file.commit(size=4)

    assert (tmp_path / "file").read_bytes() == b"abcd"
    assert files_in(tmp_path) == ["file"]


async def test_proof_that_is_gone_by_then_deletes_nothing(
    operator: Operator,  # noqa: ARG001 - where it is done
    acs: StandIn,
    home: Path,
) -> None:
    """It is looked up anew when the delete is due."""
    (home / "data/archive").mkdir(parents=True)
    settings = Settings.load(dict(os.environ), use=Use.ACS_MEDIA)
    location = acs.locations(DOC).delete

    with pytest.raises(UnprovenError, match="no receipt proves it"):
        await driving.delete(settings, location, resource=None, unproven=False)

    assert acs.requests == []


class UnprotectedArchive(DirectoryArchive):
    """Was asked for what its objects don't have."""

    def unmet(self, protection: Mapping[str, str]) -> Sequence[str]:  # noqa: ARG002 - the port's
        return ("immutability",)


async def test_what_lacks_its_protection_is_not_proven(home: Path) -> None:
    """As for a worker."""
    await a_receipt(home)
    async with UnprotectedArchive(
        home / "data/archive", clock=ManualClock(), reserve_bytes=0
    ) as archive:
        proof = await proof_of(archive, f"https://h.example/v1/objects/{DOC}")

    assert proof.why_none == "it lacks a protection that was asked for"
