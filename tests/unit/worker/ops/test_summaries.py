"""Exports of Azure Monitor's table of recordings, in every shape that people have."""

import json
from datetime import UTC, datetime

import pytest

from worker.ops.summaries import SummaryError, SummaryRow, parse

AT = datetime(2026, 3, 1, 9, 30, 15, tzinfo=UTC)
ROW = SummaryRow(
    recording_id="r1", chunks=2, started_at=AT, length_s=15000.5, ended="CallEnded"
)
SAID = {
    "TimeGenerated": "2026-03-01T14:00:00Z",
    "RecordingId": "r1",
    "ChunkCount": 2,
    "RecordingStartTime": "2026-03-01T09:30:15Z",
    "RecordingLength": 15000.5,
    "RecordingEndReason": "CallEnded",
}
PORTAL = (
    "\ufeffTimeGenerated [UTC],RecordingId,ChunkCount,RecordingStartTime [UTC],"
    "RecordingLength,RecordingEndReason\r\n"
    '"3/1/2026, 2:00:00.123 PM",r1,2,"3/1/2026, 9:30:15.000 AM",15000.5,CallEnded\r\n'
)
LOGGED = {
    "time": "2026-03-01T14:00:00Z",
    "category": "RecordingSummary",
    "properties": {
        "recordingId": "r1",
        "chunkCount": "2",
        "recordingStartTime": "2026-03-01T09:30:15Z",
        "recordingLength": "15000.5",
        "recordingEndReason": "CallEnded",
    },
}
OTHER = {"category": "RecordingIncomingOperations", "properties": {}}


@pytest.mark.parametrize(
    "text",
    [
        PORTAL,
        json.dumps([SAID]),
        json.dumps([{key: str(value) for key, value in SAID.items()}]),
        json.dumps(
            {
                "tables": [
                    {
                        "name": "PrimaryResult",
                        "columns": [{"name": name, "type": "x"} for name in SAID],
                        "rows": [list(SAID.values())],
                    }
                ]
            }
        ),
        "\n".join(json.dumps(each) for each in (LOGGED, OTHER)) + "\n\n",
        json.dumps({"records": [OTHER, LOGGED]}),
        json.dumps({**LOGGED, "properties": json.dumps(LOGGED["properties"])}),
    ],
    ids=["portal", "az", "az-text", "api", "lines", "records", "nested-text"],
)
def test_every_shape_says_the_same(text: str) -> None:
    """CSV of the portal, JSON of the command and of the API, lines of a setting."""
    assert parse(text.encode()) == [ROW]


def test_excel_is_understood() -> None:
    """Which saves text as UTF-16."""
    assert parse(PORTAL.lstrip("\ufeff").encode("utf-16")) == [ROW]


def test_recording_counts_once_with_the_most_chunks() -> None:
    """A log may come twice, and grow."""
    more = {**SAID, "ChunkCount": 3}

    (row,) = parse(json.dumps([SAID, more, SAID]).encode())

    assert row.chunks == 3


def test_what_is_not_said_is_none() -> None:
    """Only the id and the count are needed; times that can't be read are none."""
    rows = [
        {"RecordingId": "a", "ChunkCount": 1},
        {
            "RecordingId": "b",
            "ChunkCount": 1,
            "RecordingStartTime": "soon",
            "RecordingLength": "inf",
            "RecordingEndReason": 3,
        },
        {"RecordingId": "c", "ChunkCount": 1, "RecordingStartTime": 3},
        {"RecordingId": "d", "ChunkCount": 1, "RecordingLength": True},
        {"RecordingId": "e", "ChunkCount": 1, "properties": "text"},
    ]

    found = parse(json.dumps(rows).encode())

    assert [(r.started_at, r.length_s, r.ended) for r in found] == [
        (None, None, None)
    ] * 5
    naive = [{**SAID, "RecordingStartTime": "2026-03-01T09:30:15"}]
    assert parse(json.dumps(naive).encode())[0].started_at == AT


def test_table_without_rows_is_empty() -> None:
    """Nobody was recorded."""
    assert parse(b"RecordingId,ChunkCount\n") == []
    assert parse(b"[]") == []


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff",
        b"PNG,x\n1,2\n",
        b"RecordingId,ChunkCount\n ,1\n",
        b"RecordingId,ChunkCount\nr,\n",
        b"RecordingId,ChunkCount\nr,-1\n",
        b"RecordingId,ChunkCount\nr,999999\n",
        b'RecordingId,ChunkCount\n"' + b"x" * 200_000 + b'",1\n',
        b"[3]",
        b"{torn",
        b"[" * 100_000,
        b'{"tables": [{"columns": [{}], "rows": []}]}',
        b'{"tables": [{"columns": [{"name": "a"}], "rows": [[1, 2]]}]}',
        b'{"tables": [3]}',
    ],
)
def test_what_is_no_export_is_refused(data: bytes) -> None:
    """In one line, whatever it is."""
    with pytest.raises(SummaryError) as raised:
        parse(data)

    assert "\n" not in str(raised.value)
    assert raised.value.hint == "recording-worker recordings reconcile --help"
