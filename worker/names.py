"""Names in the archive: pure functions of the event, so that running twice writes once.

Golden-tested in tests/unit/worker/test_names.py; a change here is a change of format.
"""

import hashlib
import itertools
import re
from datetime import UTC, date, datetime
from urllib.parse import unquote, urlsplit

from worker.model import Announcement, Chunk, ChunkKey, RecordingKey

_SAFE_ID = re.compile(
    r"(?!(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$))"  # devices of Windows
    r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?"
)
_TAKEN_ENDINGS = (".content", ".source-deleted", ".erased")
"""An id with such an end could name its receipt as another's record is named."""
_USUAL_LOCATION = re.compile(
    r"https://[A-Za-z0-9.:-]+/v1/objects/(?!(?i:objects)/)([A-Za-z0-9._-]+)/content/[a-z]+"
)
"""As ACS writes it; told in a fraction of the time that any other takes."""
_EXTENSIONS = {"mp4": "mp4", "mp3": "mp3", "wav": "wav"}
_FORM = re.compile(r"/v[0-9]+/objects/[^/?]+(?:/(?P<view>[^?]+))?")
CONTENT_VIEW = "content/video"
"""Also of audio alone."""
METADATA_VIEW = "content/acsmetadata"
DELETE_VIEWS = ("", "content/deletedata")
"""A document is deleted by itself, or by this name of it."""
RECEIPTS = "receipts/"
RECORDINGS = "recordings/"
QUARANTINE = "quarantine/"
NOTICES = "notices/"
CONTROL = "control/"
REPLAYED = "replayed/"
PROBE = "probe/doctor.json"
"""What `doctor` writes, and nothing else ever."""
VERIFICATIONS = "reports/verify/"
RECONCILIATIONS = "reports/reconcile/"


def safe_id(text: str) -> str:
    """Return `text` if it is harmless as a path segment, else `~` and a hash.

    `~` never occurs in a harmless id, so no id can pose as the hash of another.
    """
    is_harmless = _SAFE_ID.fullmatch(text) and not text.endswith(_TAKEN_ENDINGS)
    return text if is_harmless else "~" + digest(text)[:40]


def digest(*parts: str) -> str:
    """sha256 (hex) over the parts, each with its length, so that parts can't run together."""
    framed: list[bytes] = []
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        framed += (b"%d:" % len(data), data)
    return hashlib.sha256(b"".join(framed)).hexdigest()


def chunk_key(document_id: str, content_location: str) -> ChunkKey:
    """Return the chunk's identity.

    It is the documentId if the content location bears it. Otherwise (no documentId, or one
    that the location contradicts) a hash of both stands in, so that a false announcement
    can't take the real chunk's place in the archive.
    """
    if document_id and belongs(content_location, document_id):
        return ChunkKey(safe_id(document_id))
    return ChunkKey("~" + digest(document_id, content_location)[:40])


def belongs(location: str, document_id: str) -> bool:
    """Whether a location's path has the segment `document_id` behind `objects`."""
    return bool(document_id) and document_in(location) == document_id


def document_in(location: str) -> str:
    """The one segment of a location's path behind `objects`; empty: none, or several."""
    if usual := _USUAL_LOCATION.fullmatch(location):
        return usual[1]
    return _document_in(location)


def _document_in(location: str) -> str:
    try:
        segments = [unquote(part) for part in urlsplit(location).path.split("/")]
    except ValueError:
        return ""
    pairs = itertools.pairwise(segments)
    found = [second for first, second in pairs if first.casefold() == "objects"]
    return found[0] if len(found) == 1 else ""


def view_of(location: str) -> str | None:
    """What of its document a location is of, as it is written; empty: all of it.

    None: it has none of the forms that are documented, so that nobody knows what is there.
    """
    found = _FORM.fullmatch(location_path(location))
    return None if found is None else found["view"] or ""


def other_key(chunk: Chunk) -> ChunkKey:
    """The key of a chunk whose documentId already has a receipt for other locations."""
    metadata = location_path(chunk.metadata_location or "")
    content = location_path(chunk.content_location)
    return ChunkKey("~" + digest(chunk.document_id, content, metadata)[:40])


def location_path(location: str) -> str:
    """Path and query of a location: what it names, whatever regional host serves it."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return location
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def recording_key(
    *,
    recording_id: str | None,
    call_id: str | None,
    started_at: datetime | None,
    fallback: str = "",
) -> RecordingKey:
    """Short hash of recordingId, or of call id and start where the subject has none.

    `fallback` stands in where the event says none of the three, so that unrelated
    recordings don't become one.
    """
    if recording_id:
        return RecordingKey(digest("recording", recording_id)[:16])
    if fallback and not call_id and started_at is None:
        return RecordingKey(digest("fallback", fallback)[:16])
    start = started_at.isoformat() if started_at else ""
    return RecordingKey(digest("call", call_id or "", start)[:16])


def recording_folder(announcement: Announcement, recording: RecordingKey) -> str:
    """`recordings/yyyy/mm/dd/call/recording/`, by the start of the recording (UTC)."""
    started_at = announcement.recording_start_time or announcement.event_time
    day = "0000/00/00"
    if started_at:
        at = started_at.astimezone(UTC)
        # Not by strftime, which takes longer than all the rest, for every chunk.
        day = f"{at.year:04d}/{at.month:02d}/{at.day:02d}"
    call = safe_id(announcement.call_id or "no-call")
    return f"{RECORDINGS}{day}/{call}/{recording}/"


def content_name(chunk: Chunk, *, candidate: int = 1) -> str:
    """The content's name; candidate 2 and up are `….r2.mp4`, for conflicts and mismatches."""
    kind = (chunk.announcement.format_type or "").casefold()
    return f"{_stem(chunk)}{_turn(candidate)}.{_EXTENSIONS.get(kind, 'bin')}"


def metadata_name(chunk: Chunk, *, candidate: int = 1) -> str:
    """The name of the raw acsmetadata bytes."""
    return f"{_stem(chunk)}{_turn(candidate)}.metadata.json"


def _stem(chunk: Chunk) -> str:
    folder = recording_folder(chunk.announcement, chunk.recording)
    return f"{folder}{chunk.index:04d}-{chunk.key}"


def _turn(candidate: int) -> str:
    return "" if candidate == 1 else f".r{candidate}"


def manifest_name(folder: str, number: int) -> str:
    """`manifest.0001.json`: the recording as a whole; the highest number is current."""
    return f"{folder}manifest.{number:04d}.json"


def checksums_name(folder: str, number: int) -> str:
    """`manifest.0001.sha256`: the same in sha256sum format."""
    return f"{folder}manifest.{number:04d}.sha256"


def hold_name(folder: str, number: int) -> str:
    """`hold.0001.json`: whether the recording is under legal hold; the highest counts."""
    return f"{folder}hold.{number:04d}.json"


def erasing_name(folder: str, number: int) -> str:
    """`erasing.0001.json`: what is being erased here; goes last of all."""
    return f"{folder}erasing.{number:04d}.json"


def receipt_name(key: ChunkKey) -> str:
    """`receipts/hh/key.json`: depends on the chunk's identity alone."""
    return f"{_receipt_stem(key)}.json"


def source_deleted_name(key: ChunkKey) -> str:
    """Where the answer of the source to the delete is kept."""
    return f"{_receipt_stem(key)}.source-deleted.json"


def erased_name(key: ChunkKey, *, candidate: int = 1) -> str:
    """The tombstone: a chunk whose recording was erased, and which nobody brings home again.

    Candidates 2 and up (`key~2`) are for a document that several recordings announced.
    """
    # Not `.r2`, which an id may end in.
    turn = "" if candidate == 1 else f"~{candidate}"
    return f"{_receipt_stem(key)}{turn}.erased.json"


def content_proof_name(chunk: Chunk) -> str:
    """Where the content's proof waits while the metadata is still tried for."""
    path = digest(location_path(chunk.content_location))[:8]
    return f"{_receipt_stem(chunk.key)}.{path}.content.json"


def _receipt_stem(key: ChunkKey) -> str:
    return f"{RECEIPTS}{digest(key)[:2]}/{key}"


def verification_name(started_at: datetime, scope: str) -> str:
    """`20260301T120000Z-12345678`: one run, and what it was asked for; sorts by time."""
    at = f"{started_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    return f"{at}-{digest('verification', scope)[:8]}"


def verify_part_name(run: str, number: int, reached: str) -> str:
    """`reports/verify/RUN/000001-3f.json`: a stretch of a run, and how far it came.

    `reached` is the folder of the last receipt, or `recordings`: whoever looks for one
    chunk's verification knows by it where to look.
    """
    return f"{VERIFICATIONS}{run}/{number:06d}-{reached}.json"


def verify_summary_name(run: str) -> str:
    """What a run found; there once it came to its end."""
    return f"{VERIFICATIONS}{run}/summary.json"


def reconcile_name(at: datetime, data: bytes) -> str:
    """`reports/reconcile/20260301T120000Z-12345678.json`."""
    name = f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{hashlib.sha256(data).hexdigest()[:8]}"
    return f"{RECONCILIATIONS}{name}.json"


def quarantine_name(body: bytes, received_at: datetime) -> str:
    """Where a body that could not be understood waits for replay; the same body once a day."""
    name = hashlib.sha256(body).hexdigest()
    return f"{QUARANTINE}{received_at:%Y/%m/%d}/{name}.json"


def control_name(number: int) -> str:
    """`control/000001.json`: whether work is paused; the highest number counts."""
    return f"{CONTROL}{number:06d}.json"


def replayed_name(container: str, blob: str, etag: str) -> str:
    """What marks one version of a blob of dead letters as fed in again."""
    name = digest(container, blob, etag)[:40]
    return f"{REPLAYED}{name[:2]}/{name}.json"


def is_external(name: str) -> bool:
    """Whether a proven object lies outside the archive: then its name is its URL."""
    return name.startswith(("https://", "http://"))


def notices_folder(day: date) -> str:
    """`notices/yyyymmdd/`: what is to be told; by day, so that a look back has an end."""
    return f"{NOTICES}{day:%Y%m%d}/"


def notice_name(notice_id: str, at: datetime) -> str:
    """Where a notice of that moment waits to be told."""
    return f"{notices_folder(at.astimezone(UTC).date())}{notice_id}.json"


def notice_sent_name(notice: str) -> str:
    """What marks a notice as told; sorts right behind it."""
    return f"{notice}.sent"


def notice_refused_name(notice: str) -> str:
    """What marks a notice that nobody will take; sorts right behind it."""
    return f"{notice}.refused"
