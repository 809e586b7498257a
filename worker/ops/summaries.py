"""Azure Monitor's own count of recordings: exports of the table ACSCallRecordingSummary.

One row per recording that became ready, with the number of its chunks. Columns as in
https://learn.microsoft.com/azure/azure-monitor/reference/tables/acscallrecordingsummary;
diagnostic settings that write to storage have the same in `properties`, in camel case
(https://learn.microsoft.com/azure/communication-services/concepts/analytics/logs/recording-logs).
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from worker.errors import WorkerError

MOST_CHUNKS = 10_000
"""More is no count of four-hour chunks: it would be years."""


class SummaryError(WorkerError):
    """The file is no export of the table."""

    reason = "summary"
    hint = "recording-worker recordings reconcile --help"


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """What Azure Monitor says of one recording."""

    recording_id: str
    chunks: int
    started_at: datetime | None
    length_s: float | None
    ended: str | None


def parse(data: bytes) -> list[SummaryRow]:
    """Rows of an export: CSV of the portal, JSON of `az monitor log-analytics query`, of the
    query's API, or lines of a diagnostic setting. Raises SummaryError.

    A recording that has several rows counts once, with the most chunks.
    """
    text = _text(data)
    found: dict[str, SummaryRow] = {}
    for number, said in enumerate(_records(text), start=1):
        row = _row(said, number)
        known = found.get(row.recording_id, row)
        most = max(known.chunks, row.chunks)
        found[row.recording_id] = replace(known, chunks=most)
    return list(found.values())


def _text(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SummaryError("the summary is no text") from error


def _records(text: str) -> Iterator[Mapping[str, Any]]:
    if text.lstrip()[:1] not in {"[", "{"}:
        try:
            yield from map(_named, csv.DictReader(io.StringIO(text)))
        except csv.Error as error:
            raise SummaryError("the summary is neither JSON nor CSV") from error
        return
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        yield from _lines(text)
        return
    yield from _of_document(document)


def _lines(text: str) -> Iterator[Mapping[str, Any]]:
    for line in text.splitlines():
        if line.strip():
            try:
                document = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SummaryError("the summary is neither JSON nor CSV") from error
            yield from _of_document(document)


def _of_document(document: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(document, list):
        for each in document:
            yield from _of_document(each)
    elif not isinstance(document, dict):
        raise SummaryError("the summary has something that is no row")
    elif isinstance(document.get("tables"), list):
        yield from _of_tables(document["tables"])
    elif isinstance(document.get("records"), list):
        yield from _of_document(document["records"])
    elif _is_summary(document):
        yield _named(document)


def _is_summary(document: Mapping[str, Any]) -> bool:
    """A diagnostic setting writes other categories into the same container."""
    category = document.get("category")
    return not isinstance(category, str) or "summary" in category.casefold()


def _of_tables(tables: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for table in tables:
        try:
            columns = [column["name"] for column in table["columns"]]
            rows = [dict(zip(columns, row, strict=True)) for row in table["rows"]]
        except (TypeError, KeyError, ValueError) as error:
            raise SummaryError("the summary's table can't be read") from error
        yield from map(_named, rows)


def _named(record: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Names without case, nor the time zone that the portal puts behind them."""
    properties = record.get("properties")
    if isinstance(properties, str):
        try:
            properties = json.loads(properties)
        except ValueError:
            properties = None
    both = {**record, **(properties if isinstance(properties, dict) else {})}
    return {str(key).split(" [")[0].strip().casefold(): both[key] for key in both}


def _row(said: Mapping[str, Any], number: int) -> SummaryRow:
    recording_id = said.get("recordingid")
    if not isinstance(recording_id, str) or not recording_id.strip():
        raise SummaryError(
            f"row {number} has no RecordingId: is it this table's export?"
        )
    chunks = _number(said.get("chunkcount"))
    if chunks is None or not 0 <= chunks <= MOST_CHUNKS:
        raise SummaryError(f"row {number} has no ChunkCount that can be")
    return SummaryRow(
        recording_id=recording_id.strip(),
        chunks=int(chunks),
        started_at=_time(said.get("recordingstarttime")),
        length_s=_number(said.get("recordinglength")),
        ended=_word(said.get("recordingendreason")),
    )


def _number(value: Any) -> float | None:
    """Exports write numbers as text as well."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < float("inf") else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


_SHAPES = ("%m/%d/%Y, %I:%M:%S.%f %p", "%m/%d/%Y, %I:%M:%S %p", "%m/%d/%Y %H:%M:%S")
"""How the portal writes moments into CSV, UTC; everything else writes ISO 8601."""


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        found = (_by_shape(text, shape) for shape in _SHAPES)
        return next((each for each in found if each), None)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _by_shape(text: str, shape: str) -> datetime | None:
    # Python reads six digits of a second, the portal writes three.
    try:
        return datetime.strptime(text, shape).replace(tzinfo=UTC)
    except ValueError:
        return None
