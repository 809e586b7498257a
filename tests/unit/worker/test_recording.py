"""A recording as a whole: complete or not, and a manifest that any worker makes alike."""

import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import RETENTION, an_announcement, some_chunks
from tests.fakes.clock import START
from tests.proofs import a_proof
from worker import announced, names, recording
from worker.model import ChunkKey, Sibling
from worker.recording import (
    DURATION_TOLERANCE_MS,
    END_NOT_ANNOUNCED,
    NEVER_ANNOUNCED,
    NOT_ARCHIVED,
    RecordingView,
)
from worker.stored import Manifest, MissingChunk, Receipt, encode

WHOLE_MS = 600_000
KEYS = [ChunkKey(f"k{n}") for n in range(4)]
SIBLINGS = st.builds(
    Sibling,
    key=st.sampled_from(KEYS),
    index=st.integers(0, 5),
    end_reason=st.sampled_from([None, "SessionEnded", "ChunkIsBeingRecorded", "x"]),
)


def a_sibling(index: int, end_reason: str | None = None, *, key: str = "") -> Sibling:
    return Sibling(key=ChunkKey(key or f"k{index}"), index=index, end_reason=end_reason)


def a_receipt(sibling: Sibling, *, duration_ms: float | None = None) -> Receipt:
    return replace(
        a_proof(sibling.key),
        index=sibling.index,
        end_reason=sibling.end_reason,
        chunk_duration_ms=duration_ms,
    )


def a_view(
    announced: Iterable[Sibling] = (),
    receipts: Iterable[Receipt] = (),
    *,
    dead: Mapping[ChunkKey, str] | None = None,
    duration_ms: int | None = WHOLE_MS,
) -> RecordingView:
    announcement = an_announcement(recording_duration_ms=duration_ms)
    [chunk] = some_chunks(1, announcement=announcement)
    return RecordingView(
        recording=chunk.recording,
        announcement=announcement,
        folder=names.recording_folder(announcement, chunk.recording),
        announced={sibling.key: sibling for sibling in announced},
        receipts={receipt.key: receipt for receipt in receipts},
        dead=dead or {},
        alive=frozenset(),
        is_closed_by_another=False,
        deadline=START + RETENTION,
    )


def with_durations(
    *durations_ms: float | None, whole_ms: int | None = WHOLE_MS
) -> RecordingView:
    """Chunks 0.. with these durations, all archived; none says that it is the last."""
    announced = [a_sibling(index) for index in range(len(durations_ms))]
    receipts = [
        a_receipt(sibling, duration_ms=duration)
        for sibling, duration in zip(announced, durations_ms, strict=True)
    ]
    return a_view(announced, receipts, duration_ms=whole_ms)


def missing(view: RecordingView) -> list[tuple[int, str | None, str]]:
    return [(m.index, m.key, m.reason) for m in recording.missing_of(view)]


def test_union_holds_every_chunk_of_every_announcement() -> None:
    """Each event may announce only some of the chunks."""
    one, two, three = a_sibling(0), a_sibling(1), a_sibling(2)

    assert announced.union([[one, two], [], [two, three]]) == {
        "k0": one,
        "k1": two,
        "k2": three,
    }


@pytest.mark.parametrize("weaker", [None, "", "ChunkIsBeingRecorded", "x"])
def test_union_keeps_the_end_that_any_announcement_gives(weaker: str | None) -> None:
    """A chunk announced while it was being recorded is the last one once an event says so."""
    early, final = a_sibling(0, weaker), a_sibling(0, "sessionEnded")

    assert announced.union([[early], [final]]) == {"k0": final}
    assert announced.union([[final], [early]]) == {"k0": final}


def test_union_keeps_a_reason_over_none() -> None:
    """An event that gives no end reason takes none away."""
    silent, said = a_sibling(0), a_sibling(0, "ChunkMaximumTimeExceeded")

    assert announced.union([[silent], [said]]) == {"k0": said}
    assert announced.union([[said], [silent]]) == {"k0": said}


@given(st.lists(st.lists(SIBLINGS, max_size=4), max_size=4), st.randoms())
def test_union_is_the_same_in_any_order(
    announcements: list[list[Sibling]], random: Random
) -> None:
    """Workers that meet the announcements in different orders agree."""
    shuffled = [random.sample(siblings, len(siblings)) for siblings in announcements]
    random.shuffle(shuffled)

    union = announced.union(announcements)

    assert announced.union(shuffled) == union
    assert announced.union([union.values(), *announcements]) == union
    assert set(union) == {s.key for siblings in announcements for s in siblings}


def test_end_is_known_from_the_last_chunk() -> None:
    """`SessionEnded` on the chunk of the highest index ends the recording."""
    assert recording.end_of(a_view([a_sibling(0, "x"), a_sibling(1, "SESSIONENDED")]))
    assert recording.end_of(a_view([a_sibling(0, "SessionEnded")])) == "session-ended"


@pytest.mark.parametrize(
    "announced",
    [
        [],
        [a_sibling(0)],
        [a_sibling(0, "ChunkMaximumTimeExceeded")],
        [a_sibling(0, "SessionEnded"), a_sibling(1, "ChunkMaximumTimeExceeded")],
        [a_sibling(0, "SessionEnded"), a_sibling(1)],
    ],
)
def test_end_is_unknown_without_it(announced: list[Sibling]) -> None:
    """An end that a later chunk contradicts is none."""
    assert recording.end_of(a_view(announced)) is None


def test_any_chunk_of_the_last_index_may_end_the_recording() -> None:
    """Two documents can have one index; either may be the one that says so."""
    twins = [a_sibling(1, "x", key="a"), a_sibling(1, "SessionEnded", key="b")]

    assert recording.end_of(a_view([a_sibling(0), *twins])) == "session-ended"
    assert recording.end_of(a_view([a_sibling(0), *reversed(twins)])) == "session-ended"


@pytest.mark.parametrize(
    ("durations_ms", "is_end"),
    [
        ((WHOLE_MS,), True),
        ((400_000, 200_000), True),
        ((400_000.5, 199_999.5), True),
        ((WHOLE_MS - DURATION_TOLERANCE_MS,), True),
        ((WHOLE_MS + DURATION_TOLERANCE_MS,), True),
        ((WHOLE_MS - DURATION_TOLERANCE_MS - 1,), False),
        ((WHOLE_MS + DURATION_TOLERANCE_MS + 1,), False),
        ((400_000,), False),
        ((WHOLE_MS, None), False),
        ((None, WHOLE_MS), False),
        ((None,), False),
        ((), False),
    ],
)
def test_durations_that_add_up_are_an_end(
    durations_ms: tuple[float | None, ...],
    is_end: bool,  # noqa: FBT001 - a column
) -> None:
    """All chunks say how long they are, and together they are the whole."""
    ended = recording.end_of(with_durations(*durations_ms))

    assert ended == ("durations" if is_end else None)


@pytest.mark.parametrize(
    "reason", ["ChunkMaximumTimeExceeded", "chunkMaximumSizeExceeded"]
)
def test_chunk_that_says_more_follows_is_no_end(reason: str) -> None:
    """A last chunk shorter than the tolerance can't go missing unseen."""
    view = with_durations(WHOLE_MS)
    (only,) = view.announced.values()
    goes_on = replace(view, announced={only.key: replace(only, end_reason=reason)})

    assert recording.end_of(goes_on) is None


@pytest.mark.parametrize("whole_ms", [None, 0])
def test_recording_without_a_duration_has_nothing_to_add_up_to(
    whole_ms: int | None,
) -> None:
    """No sum equals what was never said."""
    assert recording.end_of(with_durations(0.0, whole_ms=whole_ms)) is None


def test_durations_of_one_index_count_once_and_the_shorter() -> None:
    """Twins don't make up for a missing chunk, and their order changes nothing."""
    twins = [
        a_receipt(a_sibling(0, key="a"), duration_ms=300_000),
        a_receipt(a_sibling(0, key="b"), duration_ms=WHOLE_MS),
    ]
    equal = [a_receipt(a_sibling(0, key=key), duration_ms=WHOLE_MS / 2) for key in "ab"]

    assert recording.end_of(a_view([], twins)) is None
    assert recording.end_of(a_view([], reversed(twins))) is None
    assert recording.end_of(a_view([], equal)) is None


def test_nothing_is_missing_of_a_complete_recording() -> None:
    """Indexes without a gap, all archived, and an end."""
    announced = [a_sibling(0), a_sibling(1, "SessionEnded")]

    assert missing(a_view(announced, map(a_receipt, announced))) == []


def test_announced_chunk_without_a_receipt_is_missing_with_its_reason() -> None:
    """What was given up says why; the rest is not archived yet."""
    announced = [a_sibling(0), a_sibling(1), a_sibling(2, "SessionEnded")]
    view = a_view(
        announced,
        [a_receipt(announced[2])],
        dead={ChunkKey("k1"): "source-expired"},
    )

    assert missing(view) == [
        (0, "k0", NOT_ARCHIVED),
        (1, "k1", "source-expired"),
    ]


def test_archived_chunk_is_not_missing_though_it_was_given_up() -> None:
    """The receipt counts, whatever became of one of its entries."""
    announced = [a_sibling(0, "SessionEnded")]
    view = a_view(announced, map(a_receipt, announced), dead={ChunkKey("k0"): "x"})

    assert missing(view) == []


def test_end_that_nobody_announced_is_missing() -> None:
    """More may have been recorded than anybody said."""
    announced = [a_sibling(0)]

    assert missing(a_view(announced, map(a_receipt, announced))) == [
        (1, None, END_NOT_ANNOUNCED)
    ]
    assert missing(a_view()) == [(0, None, END_NOT_ANNOUNCED)]


@pytest.mark.parametrize(
    ("indexes", "gaps"),
    [
        ([0, 1, 2], []),
        ([2], [0]),
        ([0, 2], [1]),
        ([0, 5], [1]),
        ([1, 3, 7], [0, 2, 4]),
        ([0, 10**12], [1]),
        ([2**62], [0]),
        ([0, 0, 1, 1], []),
    ],
)
def test_gap_is_told_once_by_its_first_index(
    indexes: list[int], gaps: list[int]
) -> None:
    """An index is untrusted: a huge one makes one line, not a million."""
    *rest, last = [
        a_sibling(index, key=f"k{position}") for position, index in enumerate(indexes)
    ]
    announced = [*rest, replace(last, end_reason="SessionEnded")]

    found = missing(a_view(announced, map(a_receipt, announced)))

    assert found == [(gap, None, NEVER_ANNOUNCED) for gap in gaps]


@given(st.lists(SIBLINGS, max_size=6), st.sets(st.sampled_from(KEYS)), st.randoms())
def test_manifest_is_the_same_whatever_the_order(
    siblings: list[Sibling], archived: set[ChunkKey], random: Random
) -> None:
    """Racing workers make one manifest, byte for byte."""
    union = announced.union([siblings])
    held = [
        a_receipt(sibling, duration_ms=150_000.1 * (n + 1))
        for n, sibling in enumerate(union.values())
        if sibling.key in archived
    ]
    dead = {key: "source-expired" for key in union if key not in archived}

    def shuffled() -> Manifest:
        return recording.manifest_of(
            a_view(
                random.sample(list(union.values()), len(union)),
                random.sample(held, len(held)),
                dead=dict(random.sample(list(dead.items()), len(dead))),
            )
        )

    manifest = shuffled()

    assert encode(shuffled()) == encode(manifest)
    assert recording.checksums_of(shuffled()) == recording.checksums_of(manifest)
    assert manifest.complete == (not manifest.missing)


def archived_recording(count: int = 2) -> tuple[RecordingView, dict[str, bytes]]:
    """A recording in the archive: its view, and its objects by name."""
    view = a_view()
    objects: dict[str, bytes] = {}
    receipts = []
    for chunk in some_chunks(count):
        proof = a_proof(chunk.document_id)
        content, metadata = (
            replace(
                proof.content,
                name=name,
                size_bytes=len(name),
                sha256=hashlib.sha256(name.encode()).hexdigest(),
            )
            for name in (names.content_name(chunk), names.metadata_name(chunk))
        )
        objects |= {p.name: p.name.encode() for p in (content, metadata)}
        receipts.append(
            replace(
                proof,
                key=chunk.key,
                index=chunk.index,
                end_reason=chunk.end_reason,
                content=content,
                metadata=metadata,
            )
        )
    announced = [
        Sibling(key=r.key, index=r.index, end_reason=r.end_reason) for r in receipts
    ]
    held = {receipt.key: receipt for receipt in receipts}
    union = {sibling.key: sibling for sibling in announced}
    return replace(view, announced=union, receipts=held), objects


def test_manifest_tells_the_recording_by_index() -> None:
    """What a reader needs stands in one document, with names beside it in the folder."""
    view, _ = archived_recording()

    manifest = recording.manifest_of(view)

    assert manifest.complete
    assert manifest.ended == "session-ended"
    assert (manifest.recording_id, manifest.call_id) == ("recording-1", "call-1")
    assert manifest.started_at == START - timedelta(minutes=10)
    assert manifest.duration_ms == WHOLE_MS
    first, second = manifest.chunks
    assert (first.index, second.index) == (0, 1)
    assert first.content == "0000-0-eus-d1-doc1-0.mp4"
    assert first.metadata == "0000-0-eus-d1-doc1-0.metadata.json"
    assert first.receipt == names.receipt_name(first.key)
    assert first.size_bytes == view.receipts[first.key].content.size_bytes
    assert first.metadata_size_bytes == len(view.folder) + len(first.metadata)
    assert second.end_reason == "SessionEnded"


def test_manifest_of_a_chunk_without_metadata_or_with_flags_says_so() -> None:
    """Nothing is made up for what was not archived."""
    sibling = a_sibling(0, "SessionEnded")
    receipt = replace(a_receipt(sibling), flags=("metadata-missing",))

    [chunk] = recording.manifest_of(a_view([sibling], [receipt])).chunks

    assert chunk.flags == ("metadata-missing",)
    assert (chunk.metadata, chunk.metadata_sha256, chunk.metadata_size_bytes) == (
        None,
        None,
        None,
    )


def sha256sum(folder: Path, checksums: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sha256sum", "--strict", "-c", "-"],  # noqa: S607 - the auditor's own tool
        cwd=folder,
        input=checksums,
        capture_output=True,
        check=False,
    )


def test_auditor_needs_only_sha256sum(tmp_path: Path) -> None:
    """The checksums hold in the manifest's folder, also for a chunk of another day's."""
    view, objects = archived_recording(2)
    key, receipt = next(iter(view.receipts.items()))
    elsewhere = "recordings/2026/02/28/call-1/rec/0000-d.mp4"
    objects[elsewhere] = objects.pop(receipt.content.name)
    content = replace(receipt.content, name=elsewhere)
    receipts = {**view.receipts, key: replace(receipt, content=content)}
    for name, data in objects.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)

    checksums = recording.checksums_of(
        recording.manifest_of(replace(view, receipts=receipts))
    )
    checked = sha256sum(tmp_path / view.folder, checksums)

    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(b": OK\n") == 4
    (tmp_path / elsewhere).write_bytes(b"other")
    assert sha256sum(tmp_path / view.folder, checksums).returncode == 1


def test_checksums_leave_out_what_has_no_hash() -> None:
    """A chunk proven by blocks alone, or without metadata, has no line that would fail."""
    sibling = a_sibling(0, "SessionEnded")
    receipt = a_receipt(sibling)
    unhashed = replace(receipt, content=replace(receipt.content, sha256=None))

    assert recording.checksums_of(
        recording.manifest_of(a_view([sibling], [receipt]))
    ).endswith(b"content.mp4\n")
    assert (
        recording.checksums_of(recording.manifest_of(a_view([sibling], [unhashed])))
        == b""
    )


def a_manifest(*archived: int, lacking: Iterable[int] = ()) -> Manifest:
    """A manifest that holds these chunks and misses those."""
    held = [a_sibling(index) for index in archived]
    manifest = recording.manifest_of(a_view(held, map(a_receipt, held)))
    missed = tuple(MissingChunk(index=n, key=None, reason="x") for n in lacking)
    return replace(manifest, missing=missed, complete=not missed)


@pytest.mark.parametrize(
    ("new", "current", "is_more"),
    [
        (a_manifest(0, 1), a_manifest(0, lacking=[1]), True),
        (a_manifest(0, 1, lacking=[2]), a_manifest(0, lacking=[1, 2]), True),
        (a_manifest(0, 1, lacking=[2]), a_manifest(0), True),
        (a_manifest(0), a_manifest(0, lacking=[1]), True),
        (a_manifest(0, lacking=[2]), a_manifest(0, lacking=[1]), True),
        (a_manifest(0), a_manifest(0), False),
        (a_manifest(0, lacking=[1]), a_manifest(0, lacking=[1]), False),
        (a_manifest(0, lacking=[1]), a_manifest(0), False),
        (a_manifest(0), a_manifest(0, 1, lacking=[2]), False),
        (a_manifest(0, 2), a_manifest(0, 1), False),
        (a_manifest(), a_manifest(0), False),
    ],
)
def test_manifest_supersedes_one_that_says_less(
    new: Manifest,
    current: Manifest,
    is_more: bool,  # noqa: FBT001 - a column
) -> None:
    """More chunks, or a completion, or another lack; a stale view never replaces a full one."""
    assert recording.supersedes(new, current) == is_more


@given(st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)))
def test_manifests_never_supersede_each_other_in_turns(
    one: set[int], other: set[int]
) -> None:
    """Two workers whose views differ in what is archived don't write manifests for ever."""
    first, second = a_manifest(*one), a_manifest(*other)

    assert not (
        recording.supersedes(first, second) and recording.supersedes(second, first)
    )
