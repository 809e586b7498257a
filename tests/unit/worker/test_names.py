"""Names in the archive: frozen for ever, harmless for any event, one for each thing."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.factories import SOURCE, a_chunk, an_announcement
from tests.fakes.clock import START
from worker import names
from worker.archives.object_names import segments
from worker.model import ChunkKey, RecordingKey

FOLDER = "recordings/2026/03/01/call-1/6721b9a7677e69ca/"
ANY_TEXT = st.text(max_size=20) | st.text("./\\~%\0aA-_", max_size=8)
TRICKS = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "..%2f..%2fetc",
    "a/b",
    "a\\b",
    "/etc/passwd",
    "C:\\x",
    ".hidden",
    "ends.",
    "a\0b",
    "a\nb",
    "a b",
    "é",
    "\ud800",
    "~abc",
    "a" * 129,
    "a" * 100_000,
    "doc.source-deleted",
    "doc.content",
    "doc.erased",
    "CON",
    "nul",
    "Aux.mp4",
    "com1",
    "LPT9.a.b",
]


def test_golden_names_of_a_chunk() -> None:
    """The names under which archives already hold recordings never change."""
    chunk = a_chunk()

    assert names.content_name(chunk) == f"{FOLDER}0000-0-eus-d1-doc1.mp4"
    assert (
        names.content_name(chunk, candidate=2) == f"{FOLDER}0000-0-eus-d1-doc1.r2.mp4"
    )
    assert names.metadata_name(chunk) == f"{FOLDER}0000-0-eus-d1-doc1.metadata.json"
    assert (
        names.metadata_name(chunk, candidate=9)
        == f"{FOLDER}0000-0-eus-d1-doc1.r9.metadata.json"
    )


def test_golden_names_beside_the_recording() -> None:
    """Receipts are found by the chunk's key alone, manifests by folder and number."""
    key = ChunkKey("0-eus-d1-doc1")

    assert names.receipt_name(key) == "receipts/ee/0-eus-d1-doc1.json"
    assert (
        names.source_deleted_name(key)
        == "receipts/ee/0-eus-d1-doc1.source-deleted.json"
    )
    assert names.content_proof_name(a_chunk()) == (
        "receipts/ee/0-eus-d1-doc1.5f3e94c2.content.json"
    )
    assert names.erased_name(key) == "receipts/ee/0-eus-d1-doc1.erased.json"
    assert (
        names.erased_name(key, candidate=2) == "receipts/ee/0-eus-d1-doc1~2.erased.json"
    )
    assert names.manifest_name("f/", 1) == "f/manifest.0001.json"
    assert names.hold_name("f/", 1) == "f/hold.0001.json"
    assert names.erasing_name("f/", 12) == "f/erasing.0012.json"
    assert names.checksums_name("f/", 12345) == "f/manifest.12345.sha256"
    assert names.control_name(12) == "control/000012.json"
    assert names.replayed_name("https://a/c", "A/1.json", '"0x1"') == (
        "replayed/3b/3b46fabaa32c30d3d19f0be3033f01d412c1562c.json"
    )
    assert names.quarantine_name(b"{", START) == (
        "quarantine/2026/03/01/"
        "021fb596db81e6d02bf3d2586ee3981fe519f275c0ac9ca76bbcf2ebb4097d96.json"
    )


def test_golden_names_of_a_notice() -> None:
    """By the day of what happened, in UTC; its markers sort right behind it."""
    late = START.astimezone(timezone(timedelta(hours=-13)))
    notice = names.notice_name("recording-at-risk-rec-20260301", late)

    assert notice == "notices/20260301/recording-at-risk-rec-20260301.json"
    assert names.notices_folder(START.date()) == "notices/20260301/"
    assert names.notice_sent_name(notice) == f"{notice}.sent"
    assert names.notice_refused_name(notice) == f"{notice}.refused"


def test_golden_hashes() -> None:
    """What stands in for an id that is absent, false or harmful never changes."""
    content = a_chunk().content_location
    of_call = names.recording_key(recording_id=None, call_id="call-1", started_at=START)
    of_nothing = names.recording_key(recording_id=None, call_id=None, started_at=None)
    of_chunk = names.recording_key(
        recording_id=None, call_id=None, started_at=None, fallback="doc1"
    )

    assert names.safe_id("../../etc/passwd") == (
        "~f083bb4f810e921783ad8ac5cef139cf7e2f976c"
    )
    assert names.chunk_key("", content) == "~91cda04aca2bfeef8f808188c7576db159394fee"
    assert names.chunk_key("other", content) == (
        "~e7735c095d2bfc99d8c0ba678b256712ad141837"
    )
    assert of_call == "07e46f486f1d2727"
    assert of_nothing == "919e1bd04dc8b106"
    assert of_chunk == "044ef86f1916de7f"


@pytest.mark.parametrize(
    ("format_type", "extension"),
    [("mp4", "mp4"), ("WAV", "wav"), ("Mp3", "mp3"), ("flac", "bin"), (None, "bin")],
)
def test_extension_follows_the_announced_format(
    format_type: str | None, extension: str
) -> None:
    """Three formats have their extension, whatever else is announced has .bin."""
    chunk = a_chunk(announcement=an_announcement(format_type=format_type))

    assert names.content_name(chunk).endswith(f"-doc1.{extension}")


def test_folder_is_of_the_day_in_utc() -> None:
    """The day is that of the start of the recording, wherever it was noted."""
    east = datetime(2026, 3, 1, 1, 0, tzinfo=timezone(timedelta(hours=5)))
    announcement = an_announcement(recording_start_time=east)

    folder = names.recording_folder(announcement, RecordingKey("r"))

    assert folder == "recordings/2026/02/28/call-1/r/"


def test_folder_without_a_start_is_of_the_event_and_without_both_of_no_day() -> None:
    """Events that say less still have one folder each."""
    late = START + timedelta(days=1)
    said = an_announcement(recording_start_time=None, event_time=late)
    silent = an_announcement(recording_start_time=None, event_time=None, call_id=None)

    assert names.recording_folder(said, RecordingKey("r")) == (
        "recordings/2026/03/02/call-1/r/"
    )
    assert names.recording_folder(silent, RecordingKey("r")) == (
        "recordings/0000/00/00/no-call/r/"
    )


def test_recordings_of_a_call_are_told_apart_by_their_start() -> None:
    """Without a recordingId, call and start together name the recording."""
    keys = {
        names.recording_key(recording_id=None, call_id=call, started_at=start)
        for call in ("c1", "c2", None)
        for start in (START, START + timedelta(seconds=1), None)
    }

    assert len(keys) == 9


def test_recording_id_outranks_call_and_start() -> None:
    """Events of one recording that tell its call or start differently have one key."""
    keys = {
        names.recording_key(recording_id="r", call_id=call, started_at=start)
        for call in ("c1", None)
        for start in (START, None)
    }

    assert len(keys) == 1


@pytest.mark.parametrize(
    ("recording_id", "call_id", "started_at"),
    [("r", None, None), (None, "c", None), (None, None, START)],
)
def test_fallback_counts_only_where_nothing_is_said(
    recording_id: str | None, call_id: str | None, started_at: datetime | None
) -> None:
    """Whatever the event says of its recording names it, and its chunks don't."""
    keys = {
        names.recording_key(
            recording_id=recording_id,
            call_id=call_id,
            started_at=started_at,
            fallback=fallback,
        )
        for fallback in ("", "doc1", "doc2")
    }

    assert len(keys) == 1


@pytest.mark.parametrize("text", TRICKS)
def test_harmful_id_is_hashed(text: str) -> None:
    """An id that could leave its folder, or pose as another name, becomes a hash."""
    safe = names.safe_id(text)

    assert safe.startswith("~")
    assert len(safe) == 41


@pytest.mark.parametrize(
    "text",
    ["a", "0-eus-d12-0f3a", "a.b_c-D", "a" * 128, "-", "_", "console", "com", "a.nul"],
)
def test_harmless_id_is_kept(text: str) -> None:
    """An operator finds a document under its own id."""
    assert names.safe_id(text) == text


@given(document=ANY_TEXT, call=ANY_TEXT, index=st.integers(0, 2**40))
@example(document="..", call="..", index=0)
def test_any_event_has_names_that_an_archive_takes(
    document: str, call: str, index: int
) -> None:
    """No id from an event leaves the folder it belongs in, or fails at the archive's door."""
    chunk = a_chunk(
        document_id=document, index=index, announcement=an_announcement(call_id=call)
    )

    content = segments(names.content_name(chunk))

    assert content[:4] == ("recordings", "2026", "03", "01")
    assert len(content) == 7
    assert len(segments(names.metadata_name(chunk, candidate=9))) == 7
    assert len(segments(names.receipt_name(chunk.key))) == 3


@given(ANY_TEXT, ANY_TEXT)
@example("a", "a ")
def test_ids_never_share_a_name(one: str, other: str) -> None:
    """Different ids have different names, hashed or not."""
    assume(one != other)

    assert names.safe_id(one) != names.safe_id(other)


@given(st.lists(ANY_TEXT, max_size=4), st.lists(ANY_TEXT, max_size=4))
@example(["a", "b"], ["ab"])
@example(["1:a"], ["a"])
@example(["a", ""], ["a"])
def test_parts_of_a_digest_never_run_together(one: list[str], other: list[str]) -> None:
    """Two lists of parts have one digest only if they are the same list."""
    assert (names.digest(*one) == names.digest(*other)) == (one == other)


@given(
    st.from_regex(r"[a-z0-9.-]{1,6}", fullmatch=True),
    st.from_regex(r"[a-z0-9.-]{1,6}", fullmatch=True),
    st.sampled_from(
        ["", ".source-deleted", ".content", ".erased", "~2.erased", ".json"]
    ),
)
@example("doc", "doc", ".source-deleted")
@example("doc", "doc", ".erased")
@example("doc", "doc", ".r2")
@example("doc", "doc", ".content")
def test_no_chunk_takes_the_name_of_anothers_record(
    one: str, other: str, ending: str
) -> None:
    """Receipt, records and content proof of any two chunks have names of their own."""
    first, second = (ChunkKey(names.safe_id(text)) for text in (one, other + ending))
    assume(first != second)

    def files(key: ChunkKey) -> set[str]:
        proof = names.content_proof_name(a_chunk(key=key))
        tombs = [names.erased_name(key, candidate=number) for number in (1, 2)]
        of = (names.receipt_name(key), names.source_deleted_name(key), proof, *tombs)
        # The folder is a hash that would part most pairs by chance alone.
        return {name.rpartition("/")[2] for name in of}

    assert len(files(first)) == 5
    assert not files(first) & files(second)


def test_chunk_whose_location_bears_its_document_is_known_by_it() -> None:
    """The documentId is the identity of a chunk that is what it says."""
    assert names.chunk_key("d1", f"{SOURCE}/v1/objects/d1/content/video") == "d1"


@given(ANY_TEXT, ANY_TEXT)
def test_false_announcement_never_takes_the_key_of_the_real_chunk(
    document: str, other: str
) -> None:
    """A location that bears another document gets a key of its own, whatever id is claimed."""
    assume(document and document != other and "/" not in other)
    real = names.chunk_key(document, f"{SOURCE}/v1/objects/{document}/content")
    false = names.chunk_key(document, f"{SOURCE}/v1/objects/x{other}/content")
    assume(document != f"x{other}")

    assert real != false


@pytest.mark.parametrize(
    "path",
    [
        "/v1/objects/doc",
        "/v1/objects/doc/content/video",
        "/v1/OBJECTS/doc/content",
        "/v1/objects/d%6Fc",
        "/objects/doc?objects/other#objects/other",
    ],
)
def test_location_belongs_to_the_document_in_its_path(path: str) -> None:
    """The segment behind `objects` says whose the location is, however it is written."""
    assert names.belongs(SOURCE + path, "doc")


@pytest.mark.parametrize(
    "location",
    [
        f"{SOURCE}/v1/objects/other",
        f"{SOURCE}/v1/objects/doc2",
        f"{SOURCE}/v1/objects/DOC",
        f"{SOURCE}/v1/objects/other/doc",
        f"{SOURCE}/v1/objects/other/objects/doc",
        f"{SOURCE}/v1/objects/doc/objects/other",
        f"{SOURCE}/v1/objects/doc/objects/doc",
        f"{SOURCE}/v1/objects/doc%2F..%2Fother",
        f"{SOURCE}/v1/objects%2Fdoc",
        f"{SOURCE}/v1/objects//doc",
        f"{SOURCE}/v1/doc",
        f"{SOURCE}/?/objects/doc",
        f"{SOURCE}/#/objects/doc",
        "https://objects/doc",
        "https://[/objects/doc",
        "",
    ],
)
def test_location_of_anything_else_does_not_belong(location: str) -> None:
    """Only one `objects` segment, with exactly this document behind it, will do."""
    assert not names.belongs(location, "doc")


@pytest.mark.parametrize(
    ("path", "view"),
    [
        ("/v1/objects/doc", ""),
        ("/v1/objects/doc/content/video", names.CONTENT_VIEW),
        ("/v22/objects/d%20c/content/acsmetadata", names.METADATA_VIEW),
        ("/v1/objects/doc/content/deletedata?", "content/deletedata"),
        ("/v1/objects/doc/views/thumbnail", "views/thumbnail"),
        ("/v1/objects/doc/", None),
        ("/v1/objects/", None),
        ("/v1/objects/doc?x", None),
        ("/v1/objects/doc/content/video?x", None),
        ("/v1/OBJECTS/doc", None),
        ("/x/v1/objects/doc", None),
        ("/objects/doc", None),
        ("", None),
    ],
)
def test_view_of_a_location_is_what_it_names_of_its_document(
    path: str, view: str | None
) -> None:
    """Only as documented: what is written otherwise could be anything."""
    assert names.view_of(SOURCE + path) == view


def test_view_of_no_url_is_unknown() -> None:
    """An event may say any text."""
    assert names.view_of("https://[/v1/objects/doc") is None


def test_same_body_is_quarantined_once_a_day() -> None:
    """A sender that repeats a bad body all day fills no archive."""
    morning = datetime(2026, 3, 1, 0, 1, tzinfo=UTC)
    evening = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)

    assert names.quarantine_name(b"x", morning) == names.quarantine_name(b"x", evening)
    assert names.quarantine_name(b"x", morning) != names.quarantine_name(b"y", morning)
    assert names.quarantine_name(b"x", morning) != names.quarantine_name(
        b"x", evening + timedelta(days=1)
    )


PARTS = st.sampled_from(
    [
        *("https://", "http://", "us.asm.skype.com", "h:443", "[::1", "user@h", "/"),
        *("/v1", "/objects/", "/Objects", "objects", "0-eus-d1", "%30", "a.b", "a b"),
        *("/content", "/video", "?q=1", "#f", ";p", "\t", "é", "//", ".."),
    ]
)


@given(st.lists(PARTS, max_size=9).map("".join))
@example("https://h/v1/objects/d1/content/video")
@example("https://h/v1/objects/objects/content/video")
@example("https://h/v1/objects/d1/content/objects")
@example("https://h/v1/objects/d1/content/video\n")
def test_the_usual_location_is_read_as_any_other(location: str) -> None:
    """The short way to its document says what the long way says."""
    assert names.document_in(location) == names._document_in(location)


def test_probe_of_the_doctor_is_in_nobodys_way() -> None:
    """One name for ever, below none that anything else lies under."""
    assert names.PROBE == "probe/doctor.json"
    others = (names.RECEIPTS, names.RECORDINGS, names.QUARANTINE, names.NOTICES)
    assert not names.PROBE.startswith((*others, "announced/"))
