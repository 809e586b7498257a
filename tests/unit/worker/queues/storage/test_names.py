"""Names under `announced/`: golden, and read back as they were made."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import a_chunk
from tests.fakes.clock import START
from worker.archives.object_names import segments
from worker.queues.storage import names
from worker.queues.storage.names import (
    Death,
    DueName,
    Mark,
    NoNameError,
    PartName,
    Ref,
)

DIGEST = "0123456789abcdef" * 2
ROW = "fedcba9876543210" * 2
PART = PartName(
    hour=datetime(2026, 3, 1, 12, tzinfo=UTC),
    digest=DIGEST,
    number=7,
    chunks=64,
    expires_at=datetime(2026, 3, 2, 11, 59, 58, tzinfo=UTC),
)
REF = f"2026030112-{DIGEST}-0007-64-20260302T115958Z-03"
DUE = f"announced/due/20260302/11/5958.{ROW}.{REF}"
TIMES = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy adds it
    max_value=datetime(2999, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def test_names_of_a_part_are_golden() -> None:
    """What tells most is in the name: when, how many, how long."""
    stem = f"announced/deliveries/2026/03/01/12/{DIGEST}.0007.64.20260302T115958Z"

    assert PART.document == f"{stem}.json"
    assert PART.fanned == f"{stem}.fanned"
    assert PART.urgent == f"{stem}.urgent"
    assert names.parse_part(PART.document) == (PART, "json")
    assert names.parse_part(PART.fanned) == (PART, "fanned")
    assert str(Ref(part=PART, position=3)) == REF
    assert names.parse_ref(REF) == Ref(part=PART, position=3)


def test_names_of_a_chunk_are_golden() -> None:
    """By recording, by document, and by deadline last: who is listed there is known."""
    chunk = a_chunk(expires_at=PART.expires_at + timedelta(microseconds=999_999))

    assert names.index_names(chunk, row=ROW, ref=REF) == [
        f"announced/recordings/6721b9a7677e69ca/{ROW}.{REF}",
        f"announced/documents/ee/eedd38dcaff8ba24ce50c5c299df6a919ec07982/{ROW}.{REF}",
        DUE,
    ]


def test_chunk_is_listed_under_both_documents_that_it_names() -> None:
    """A delete at the source would take the one that the location names."""
    located = a_chunk(document_id="d2").content_location
    chunk = replace(a_chunk(document_id="d1"), content_location=located)

    folders = [
        name.rpartition("/")[0] for name in names.index_names(chunk, row=ROW, ref=REF)
    ]

    assert f"{names.document_folder('d1')}" in [f"{folder}/" for folder in folders]
    assert f"{names.document_folder('d2')}" in [f"{folder}/" for folder in folders]
    assert len(folders) == 4


def test_marks_sort_right_behind_their_name() -> None:
    """One pass through a listing tells how each stands."""
    due = names.due_name(PART.expires_at, row=ROW, ref=REF)
    marked = due.marked(Mark.DELETED, START + timedelta(microseconds=7))
    next_one = DUE.replace("-03", "-04")

    assert str(due) == DUE
    assert marked == f"{DUE}.deleted.20260301T120000000007Z"
    assert sorted([next_one, marked, DUE]) == [DUE, marked, next_one]
    assert names.parse_due(DUE) == (due, None)
    assert names.parse_due(marked) == (
        due,
        (START + timedelta(microseconds=7), Mark.DELETED),
    )
    assert DUE.startswith(due.second)


def test_names_of_the_dead_are_golden() -> None:
    """Number and reason can be counted without reading anything."""
    death = Death(recording="r", row=ROW, number=2, reason="bad-host")

    assert death.document == f"announced/dead/r/{ROW}.002.bad-host.json"
    assert death.revived == f"announced/dead/r/{ROW}.002.revived"
    assert names.parse_death(death.document) == (death, False)
    assert names.parse_death(death.revived) == (replace(death, reason=""), True)


@pytest.mark.parametrize(
    ("reason", "slug"),
    [
        ("source-expired", "source-expired"),
        ("Bad Host: 'x'", "bad-host-x"),
        ("é", "dead"),
        ("", "dead"),
        ("r" * 5000, "r" * 60),
    ],
)
def test_any_reason_becomes_a_slug(reason: str, slug: str) -> None:
    """It names an object, whoever wrote it."""
    assert names.slug(reason) == slug


@given(at=TIMES, received=TIMES, position=st.integers(min_value=0, max_value=63))
def test_names_are_read_as_they_were_made(
    at: datetime, received: datetime, position: int
) -> None:
    """To the second; and any archive can hold them."""
    part = replace(
        PART,
        hour=names.whole_hour(received),
        expires_at=names.whole_second(at),
    )
    ref = Ref(part=part, position=position)
    due = names.due_name(at, row=ROW, ref=str(ref))

    assert names.parse_part(part.document)[0] == part
    assert names.parse_ref(str(ref)) == ref
    assert names.parse_due(due.marked(Mark.WAITING, received)) == (
        due,
        (received, Mark.WAITING),
    )
    assert due.at <= at
    assert segments(due.marked(Mark.WAITING, received))


def test_times_elsewhere_are_named_in_utc() -> None:
    """One moment has one name."""
    there = START.astimezone(timezone(timedelta(hours=9)))

    assert names.due_name(there, row=ROW, ref=REF) == names.due_name(
        START, row=ROW, ref=REF
    )
    assert names.whole_hour(there) == START


@pytest.mark.parametrize(
    "name",
    [
        "announced/due/20260302/11/5958.x.y",
        DUE.replace("20260302/", "20261302/"),
        f"{DUE}.deleted",
        f"{DUE}.eaten.20260301T120000000000Z",
        f"{DUE}.deleted.20260001T120000000000Z",
        "announced/deliveries/x.json",
        PART.document.replace("json", "txt"),
        f"announced/dead/r/{ROW}.001.json",
        f"announced/dead/r/{ROW}.0012.host-not-allowed.json",
        DUE.replace("-0007-", "-00007-"),
        PART.document.replace(".0007.", "." + "7" * 4400 + "."),
        PART.document.replace("/2026/", "/0026/"),
        PART.document.replace("/03/01/", "/\u0660\u0663/\u0660\u0661/"),
        "",
    ],
)
def test_foreign_names_are_refused(name: str) -> None:
    """Somebody may keep other things there; whoever lists passes them by."""
    for parse in (names.parse_due, names.parse_part, names.parse_death):
        with pytest.raises(NoNameError):
            parse(name)
    with pytest.raises(NoNameError):
        names.parse_ref(name)
    with pytest.raises(NoNameError):
        names.parse_entry(name)


def test_days_between_are_listed_whole() -> None:
    """The last day too, however short a part of it."""
    end = START + timedelta(hours=13)

    assert list(names.day_folders(names.DUE, START, end)) == [
        "announced/due/20260301/",
        "announced/due/20260302/",
    ]
    assert list(names.day_folders(names.DELIVERIES, START, START)) == [
        "announced/deliveries/2026/03/01/"
    ]


def test_due_name_is_its_own() -> None:
    """Two announcements of one chunk are two names, side by side."""
    one = DueName(at=START, row=ROW, ref=REF)
    other = replace(one, ref=REF.replace("-03", "-04"))

    assert str(one) != str(other)
    assert one.second == other.second
