"""Names under `announced/`: they carry the facts, so that listing them answers most questions.

    deliveries/yyyy/mm/dd/hh/DIGEST.PART.CHUNKS.EXPIRY.json   what was announced, as received
    deliveries/…/….fanned                                     its chunks have messages
    recordings/RECORDING/ROW.REF                              who belongs together
    documents/hh/DOCUMENT/ROW.REF                             who names a document
    due/yyyymmdd/hh/mmss.ROW.REF                              who expires when
    due/…/….MARK.INSTANT                                      what became of it
    dead/RECORDING/ROW.NNN.REASON.json                        who was given up, and why
    dead/RECORDING/ROW.NNN.revived                            announced again since
    foreign/SHA256                                            a message that is none of ours

All but deliveries and the reasons of the dead are empty. A REF leads back to the delivery:
its part and the place within it. Golden-tested; a change here is a change of format.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from worker import names
from worker.model import Chunk, RecordingKey

ROOT = "announced/"
DELIVERIES = f"{ROOT}deliveries/"
RECORDINGS = f"{ROOT}recordings/"
DOCUMENTS = f"{ROOT}documents/"
DUE = f"{ROOT}due/"
DEAD = f"{ROOT}dead/"
REVIVED = "revived"
LONGEST_SLUG = 60
_MOMENT = "%Y%m%dT%H%M%SZ"
_INSTANT = "%Y%m%dT%H%M%S%fZ"
_PUNCTUATION = str.maketrans("", "", "/TZ")
# Each thing has one name: no number with more zeros, no year that %Y writes shorter.
_EXPIRY = r"(?P<expiry>[1-9]\d{7}T\d{6}Z)"
_NUMBER = r"(?P<number>\d{4}|[1-9]\d{4,8})"
_PART_NAME = re.compile(
    DELIVERIES + r"(?P<hour>[1-9]\d{3}/\d\d/\d\d/\d\d)/(?P<digest>[0-9a-f]{32})"
    rf"\.{_NUMBER}\.(?P<chunks>\d\d)\.{_EXPIRY}\.(?P<ending>json|fanned|urgent)",
    re.ASCII,
)
_REF_PATTERN = (
    rf"(?P<hour>[1-9]\d{{9}})-(?P<digest>[0-9a-f]{{32}})-{_NUMBER}-(?P<chunks>\d\d)"
    rf"-{_EXPIRY}-(?P<position>\d\d)"
)
_REF = re.compile(_REF_PATTERN, re.ASCII)
_ROW_AND_REF = re.compile(
    rf".*/(?P<row>[0-9a-f]{{32}})\.(?P<ref>{_REF_PATTERN})", re.ASCII
)
_DUE_NAME = re.compile(
    DUE + r"(?P<at>[1-9]\d{7}/\d\d/\d{4})\.(?P<row>[0-9a-f]{32})\."
    rf"(?P<ref>{_REF_PATTERN})(?:\.(?P<mark>[a-z]+)\.(?P<instant>[1-9]\d{{7}}T\d{{12}}Z))?",
    re.ASCII,
)
_DEAD_NAME = re.compile(
    DEAD + r"(?P<recording>[^/]+)/(?P<row>[0-9a-f]{32})"
    r"\.(?P<number>\d{3}|[1-9]\d{3,8})\.(?:(?P<reason>[a-z0-9-]+)\.json|revived)",
    re.ASCII,
)


class NoNameError(ValueError):
    """The text is not a name of ours."""


class Mark(StrEnum):
    """What is noted beside a due name; the latest counts. In the order of a chunk's life."""

    URGENT = "urgent"
    """Not a state: a message for it is in the urgent queue."""
    DEAD = "dead"
    PENDING = "pending"
    """Announced again after its death."""
    MOVED = "moved"
    """It is due earlier, under another name."""
    WAITING = "waiting"
    ARCHIVED = "archived"
    DELETED = "deleted"


RANK = {mark: rank for rank, mark in enumerate(Mark)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartName:
    """Up to 99 chunks of one delivery. `hour` is when it came, `expires_at` the earliest."""

    hour: datetime
    digest: str
    number: int
    chunks: int
    expires_at: datetime

    @property
    def _stem(self) -> str:
        of = f"{self.digest}.{self.number:04d}.{self.chunks:02d}"
        return f"{hour_folder(self.hour)}{of}.{self.expires_at:{_MOMENT}}"

    @property
    def document(self) -> str:
        return f"{self._stem}.json"

    @property
    def fanned(self) -> str:
        return f"{self._stem}.fanned"

    @property
    def urgent(self) -> str:
        return f"{self._stem}.urgent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """One chunk of a part. As text it has one length, so that marks sort behind their name."""

    part: PartName
    position: int

    def __str__(self) -> str:
        part = self.part
        of = f"{part.digest}-{part.number:04d}-{part.chunks:02d}"
        expiry = f"{part.expires_at:{_MOMENT}}"
        return f"{part.hour:%Y%m%d%H}-{of}-{expiry}-{self.position:02d}"


def whole_hour(at: datetime) -> datetime:
    """The hour, in UTC, that a delivery's folder is called by."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def whole_second(at: datetime) -> datetime:
    """As far as a name knows the time; never later."""
    return at.astimezone(UTC).replace(microsecond=0)


def hour_folder(hour: datetime) -> str:
    return f"{DELIVERIES}{hour:%Y/%m/%d/%H}/"


def day_folders(root: str, start: datetime, end: datetime) -> Iterator[str]:
    """The folders of all days between, for DELIVERIES or DUE."""
    form = "%Y/%m/%d/" if root == DELIVERIES else "%Y%m%d/"
    day = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while day <= end:
        yield f"{root}{day:{form}}"
        day += timedelta(days=1)


def parse_part(name: str) -> tuple[PartName, str]:
    """A name in DELIVERIES, and its ending: json, fanned or urgent."""
    found = _matched(_PART_NAME, name)
    return _part(found), found["ending"]


def parse_ref(text: str) -> Ref:
    found = _matched(_REF, text)
    return Ref(part=_part(found), position=int(found["position"]))


def _matched(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if found is None:
        raise NoNameError(f"not a name of ours: {text[:80]!r}")
    return found


def _part(found: re.Match[str]) -> PartName:
    return PartName(
        hour=_time(found["hour"]),
        digest=found["digest"],
        number=int(found["number"]),
        chunks=int(found["chunks"]),
        expires_at=_time(found["expiry"]),
    )


def _time(text: str) -> datetime:
    """Read any of the forms above: year to hour at least. Much faster than strptime."""
    digits = text.translate(_PUNCTUATION)
    ends = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14), (14, 20))
    year, month, day, hour, minute, second, micro = (
        int(digits[start:end] or 0) for start, end in ends
    )
    try:
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)
    except ValueError as error:
        raise NoNameError(f"not a time: {text!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class DueName:
    """One announcement of a chunk, by when it expires."""

    at: datetime
    row: str
    ref: str

    def __str__(self) -> str:
        return f"{self.second}{self.row}.{self.ref}"

    @property
    def second(self) -> str:
        """What the names of all that expires in the same second begin with."""
        return f"{DUE}{self.at:%Y%m%d/%H/%M%S}."

    def marked(self, mark: Mark, now: datetime) -> str:
        return f"{self}.{mark}.{now.astimezone(UTC):{_INSTANT}}"


def due_name(expires_at: datetime, *, row: str, ref: str) -> DueName:
    return DueName(at=whole_second(expires_at), row=row, ref=ref)


def parse_due(name: str) -> tuple[DueName, tuple[datetime, Mark] | None]:
    """A name in DUE, and the mark on it with its time."""
    found = _matched(_DUE_NAME, name)
    due = DueName(at=_time(found["at"]), row=found["row"], ref=found["ref"])
    if found["mark"] is None:
        return due, None
    if found["mark"] not in RANK:
        raise NoNameError(f"not a mark of ours: {found['mark']!r}")
    return due, (_time(found["instant"]), Mark(found["mark"]))


def recording_folder(recording: RecordingKey) -> str:
    return f"{RECORDINGS}{recording}/"


def document_folder(document_id: str) -> str:
    digest = names.digest(document_id)[:40]
    return f"{DOCUMENTS}{digest[:2]}/{digest}/"


def documents_of(chunk: Chunk) -> set[str]:
    """What a chunk names: by its id, and by its content location."""
    return {chunk.document_id, names.document_in(chunk.content_location)} - {""}


def index_names(chunk: Chunk, *, row: str, ref: str) -> list[str]:
    """All names by which the ledger finds a chunk again; the due name comes last."""
    folders = [recording_folder(chunk.recording)]
    folders += map(document_folder, sorted(documents_of(chunk)))
    due = due_name(chunk.expires_at, row=row, ref=ref)
    return [*(f"{folder}{row}.{ref}" for folder in folders), str(due)]


def parse_entry(name: str) -> tuple[str, str]:
    """Row and ref of a name in RECORDINGS or DOCUMENTS."""
    found = _matched(_ROW_AND_REF, name)
    return found["row"], found["ref"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """The `number`-th time that a row was given up."""

    recording: str
    row: str
    number: int
    reason: str

    @property
    def _stem(self) -> str:
        return f"{DEAD}{self.recording}/{self.row}.{self.number:03d}"

    @property
    def document(self) -> str:
        return f"{self._stem}.{self.reason}.json"

    @property
    def revived(self) -> str:
        return f"{self._stem}.{REVIVED}"


def parse_death(name: str) -> tuple[Death, bool]:
    """A name in DEAD, and whether it says that the row was announced again."""
    found = _matched(_DEAD_NAME, name)
    death = Death(
        recording=found["recording"],
        row=found["row"],
        number=int(found["number"]),
        reason=found["reason"] or "",
    )
    return death, found["reason"] is None


def foreign_name(raw: bytes) -> str:
    """Where a foreign message is kept that is too long for the poison queue."""
    return f"{ROOT}foreign/{hashlib.sha256(raw).hexdigest()}"


def slug(reason: str) -> str:
    """A reason as a name can bear it."""
    return (
        re.sub(r"[^a-z0-9]+", "-", reason.lower())[:LONGEST_SLUG].strip("-") or "dead"
    )
