"""Finding a recording by any id that people hold.

Names answer where they can: a documentId names its receipt, the other ids that a folder's
name is made of are compared while names are listed. Only what no name says (serverCallId,
participant) is looked for in documents, one recording after the other.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from worker import names
from worker.abilities import FolderListing
from worker.errors import NewerFormatError
from worker.model import ChunkKey
from worker.ops import metadata
from worker.ops.ahead import ahead
from worker.ports import Archive
from worker.stored import Erased, Manifest, Receipt, StoredFormatError, decode

T = TypeVar("T")
_FOLDER = re.compile(
    r"recordings/(?P<day>\d{4}/\d\d/\d\d)/(?P<call>[^/]+)/(?P<recording>[^/]+)/"
)
_STEPS_TO_DAY = 2
_DIGITS = 4
_MARKS = ("hold.", "erasing.")
_JSON = ".json"
_TOMBSTONE = ".erased.json"
_METADATA = ".metadata.json"
_CHUNK_FILE = re.compile(r"\d{4,}-(?P<key>.+?)(\.r\d+)?(\.metadata\.json|\.[a-z0-9]+)")
_HASHED_KEY = re.compile(r"~[0-9a-f]{40}")
_SERVER_CALL = re.compile(r"/serverCallId/([^/]+)", re.IGNORECASE)
_SHORTEST_PREFIX = 4
"""Shorter beginnings of an id would find half the archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The files of one recording; `files` are names in it, in order."""

    path: str
    day: str
    call: str
    recording: str
    files: tuple[str, ...]
    receipts: tuple[ChunkKey, ...] = ()
    """Chunks known by their receipt alone: one proven in the user's storage has no file."""

    @property
    def manifest_number(self) -> int | None:
        """The number of the current manifest."""
        return _highest(self.files, "manifest.")

    @property
    def manifest_numbers(self) -> list[int]:
        """Of all manifests, the oldest first."""
        return _numbers(self.files, "manifest.")

    @property
    def chunk_files(self) -> list[tuple[ChunkKey, str]]:
        """Names of contents and metadata documents, whole, each with its chunk."""
        matches = (_CHUNK_FILE.fullmatch(file) for file in self.files)
        return [(ChunkKey(m["key"]), self.path + m.string) for m in matches if m]

    @property
    def hold_number(self) -> int | None:
        """The number of the hold document that counts."""
        return _highest(self.files, "hold.")

    @property
    def is_erasing(self) -> bool:
        """Whether an erasure was begun that has not come to its end."""
        return _highest(self.files, "erasing.") is not None

    @property
    def is_marked(self) -> bool:
        """Whether there may be a hold or an erasure: one look, for all in a long list."""
        return bool([file for file in self.files if file.startswith(_MARKS)])

    @property
    def keys(self) -> list[ChunkKey]:
        """Of all chunks that have a file here, or are known by their receipt."""
        matches = (_CHUNK_FILE.fullmatch(file) for file in self.files)
        by_file = {ChunkKey(match["key"]) for match in matches if match}
        return sorted(by_file | set(self.receipts))

    @property
    def metadata_files(self) -> list[str]:
        """Names of the metadata documents, whole."""
        return [self.path + file for file in self.files if file.endswith(_METADATA)]


async def find(archive: Archive, text: str, *, day: str = "") -> AsyncIterator[Folder]:
    """Folders of the recordings that `text` means; the cheapest look that finds any counts.

    `text` is a documentId or the key that stands for it, a recordingId or the recording's
    key, a callId, (of these three also the beginning), a serverCallId, a participant's raw
    id, a folder, or a file in it. `day` (`2026`, `2026/03`, `2026/03/01`) narrows the look.
    Raises NewerFormatError or StoredFormatError if only a receipt that can't be read is left.
    """
    for look in (_by_place, _by_document, _by_name, _by_contents):
        found = False
        async for folder in look(archive, text, within(day)):
            found = True
            yield folder
        if found:
            return
    # Not "nobody knows it" of what is there and can't be read.
    await stored(archive, names.receipt_name(_key(text)), Receipt)


def within(day: str) -> str:
    """Where the recordings of a day, a month or a year lie; of all days without one."""
    return f"{names.RECORDINGS}{day}/" if day else names.RECORDINGS


async def days(archive: FolderListing, day: str) -> AsyncIterator[str]:
    """The days of a year or a month, or all, in order: `2026/03/01`; of a day itself."""
    if day.count("/") == _STEPS_TO_DAY:
        yield day
        return
    for folder in await archive.subfolders(within(day)):
        below = folder.removeprefix(names.RECORDINGS).rstrip("/")
        async for each in days(archive, below):
            yield each


async def folders(archive: Archive, prefix: str) -> AsyncIterator[Folder]:
    """Every recording below a prefix, in the order of names; holds the files of one."""
    path, files = "", list[str]()
    async for name in archive.list(prefix):
        above, slash, file = name.rpartition("/")
        if above + slash != path:
            if folder := _folder(path, files):
                yield folder
            path, files = above + slash, []
        files.append(file)
    if folder := _folder(path, files):
        yield folder


async def with_manifests(
    archive: Archive, prefix: str
) -> AsyncIterator[tuple[Folder, bytes | None]]:
    """The same, each with the bytes of its current manifest, if it has one."""
    if isinstance(archive, FolderListing):
        async for listed in archive.list_folders(prefix, pick=_current_manifest):
            if folder := _folder(listed.folder, listed.files):
                yield folder, listed.picked
        return

    async def read(folder: Folder) -> bytes | None:
        name = _current_manifest(folder.files)
        return await archive.read(folder.path + name) if name else None

    async for folder, manifest in ahead(folders(archive, prefix), read):
        yield folder, manifest


async def erased(archive: Archive, text: str) -> AsyncIterator[Erased]:
    """Tombstones of a document, or of a recording by its key or recordingId.

    They say nothing else that could lead to it. Reads all of them, unless it is a document's.
    """
    keys = {_key(text)}
    recordings = {
        text,
        names.recording_key(recording_id=text, call_id=None, started_at=None),
    }
    own = await _readable(archive, names.erased_name(_key(text)), Erased)
    if own is not None:
        recordings.add(own.recording)
    async for name in archive.list(names.RECEIPTS):
        if not name.endswith(_TOMBSTONE):
            continue
        tombstone = await _readable(archive, name, Erased)
        if tombstone and (tombstone.recording in recordings or tombstone.key in keys):
            yield tombstone


async def stored(archive: Archive, name: str, kind: type[T]) -> T | None:
    """A document of the archive. Raises NewerFormatError or StoredFormatError."""
    data = await archive.read(name)
    return decode(kind, data) if data is not None else None


async def _readable(archive: Archive, name: str, kind: type[T]) -> T | None:
    """The same for a look that goes on: what can't be read must hide nothing else."""
    with suppress(NewerFormatError, StoredFormatError):
        return await stored(archive, name, kind)
    return None


def _current_manifest(files: Sequence[str]) -> str | None:
    """The manifest with the highest number."""
    number = _highest(files, "manifest.")
    return names.manifest_name("", number) if number else None


def _highest(files: Sequence[str], start: str) -> int | None:
    numbers = _numbers(files, start)
    return numbers[-1] if numbers else None


def _numbers(files: Sequence[str], start: str) -> list[int]:
    """The numbers of documents that begin so, in order: `manifest.0001.json` has 1.

    Not by a regular expression: all files of an archive come by here.
    """
    shown = [
        file[len(start) : -len(_JSON)]
        for file in files
        if file.startswith(start) and file.endswith(_JSON)
    ]
    return sorted(
        [
            int(each)
            for each in shown
            if len(each) >= _DIGITS and each.isascii() and each.isdecimal()
        ]
    )


def _folder(path: str, files: Sequence[str]) -> Folder | None:
    match = _FOLDER.fullmatch(path)
    if match is None:
        return None
    day, call, key = match["day"], match["call"], match["recording"]
    return Folder(path=path, day=day, call=call, recording=key, files=tuple(files))


async def _by_place(archive: Archive, text: str, prefix: str) -> AsyncIterator[Folder]:
    match = _FOLDER.search(text if text.endswith("/") else f"{text}/")
    if match is not None and match[0].startswith(prefix):
        async for folder in folders(archive, match[0]):
            yield folder


async def _by_document(
    archive: Archive, text: str, prefix: str
) -> AsyncIterator[Folder]:
    key = _key(text)
    receipt = await _readable(archive, names.receipt_name(key), Receipt)
    # One that can't be read leaves the names of the chunk's files.
    if receipt is None or not receipt.recording_folder.startswith(prefix):
        return
    found = False
    async for folder in folders(archive, receipt.recording_folder):
        found = True
        yield folder
    if not found and (folder_of := _folder(receipt.recording_folder, [])):
        yield _with_receipt(folder_of, key)


def _key(text: str) -> ChunkKey:
    return ChunkKey(text if _HASHED_KEY.fullmatch(text) else names.safe_id(text))


def _with_receipt(folder: Folder, key: ChunkKey) -> Folder:
    return Folder(
        path=folder.path,
        day=folder.day,
        call=folder.call,
        recording=folder.recording,
        files=folder.files,
        receipts=(key,),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meant:
    """What an id may be, worked out once for all folders."""

    text: str = field(repr=False)
    call: str = field(init=False)
    recording: str = field(init=False)

    def __post_init__(self) -> None:
        call = names.safe_id(self.text).casefold()
        object.__setattr__(self, "call", call)
        recording = names.recording_key(
            recording_id=self.text, call_id=None, started_at=None
        )
        object.__setattr__(self, "recording", recording)

    def by(self, folder: Folder) -> bool:
        """Whether the folder's name, or a file's, bears the id or begins with it."""
        if self.recording == folder.recording or self.call == folder.call.casefold():
            return True
        if len(self.text) < _SHORTEST_PREFIX:
            return False
        ids = (folder.recording, folder.call)
        return any(each.startswith(self.text) for each in ids) or self._names_file(
            folder
        )

    def _names_file(self, folder: Folder) -> bool:
        """A chunk that has no receipt yet is known by its files."""
        may_be = any(self.text in file for file in folder.files)
        return may_be and self.text in folder.keys


async def _by_name(archive: Archive, text: str, prefix: str) -> AsyncIterator[Folder]:
    meant = _Meant(text=text)
    async for folder in folders(archive, prefix):
        if text and meant.by(folder):
            yield folder


async def _by_contents(
    archive: Archive, text: str, prefix: str
) -> AsyncIterator[Folder]:
    """The dear look: reads every recording's documents."""
    if len(text) < _SHORTEST_PREFIX:
        return

    async def is_told(folder: Folder) -> bool:
        return await _tells(archive, folder, text)

    async for folder, told in ahead(folders(archive, prefix), is_told):
        if told:
            yield folder


async def _tells(archive: Archive, folder: Folder, text: str) -> bool:
    if text in await _ids(archive, folder):
        return True
    for name in folder.metadata_files:
        if metadata.told_by(await archive.read(name) or b"").is_with(text):
            return True
    return False


async def _ids(archive: Archive, folder: Folder) -> set[str | None]:
    """Ids that no name says; a document that can't be read says none."""
    ids: set[str | None] = set()
    try:
        if number := folder.manifest_number:
            name = names.manifest_name(folder.path, number)
            manifest = await stored(archive, name, Manifest)
            return _ids_of_manifest(manifest) if manifest else ids
        for key in folder.keys:
            receipt = await stored(archive, names.receipt_name(key), Receipt)
            if receipt is not None:
                ids |= {receipt.document_id, server_call_id(receipt.event)}
    except (NewerFormatError, StoredFormatError):
        pass
    return ids


def _ids_of_manifest(manifest: Manifest) -> set[str | None]:
    documents = {chunk.document_id for chunk in manifest.chunks}
    return {manifest.server_call_id, manifest.call_id, *documents}


def server_call_id(event: dict[str, Any]) -> str | None:
    """The serverCallId in the subject of a stored event, if it has one."""
    found = _SERVER_CALL.search(str(event.get("subject", "")))
    return found[1] if found else None
