"""A recording as a file that plays, and what is told of what is not in it."""

import asyncio
import fcntl
import io
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import pytest

from tests.archived import (
    PART_SECONDS,
    archive_chunk,
    archive_manifest,
    archive_recording,
    chunks_of,
    media,
    part,
    said_of,
)
from tests.factories import a_chunk, an_announcement
from tests.fakes.archive import MemoryArchive
from worker import names
from worker.errors import ArchiveUnavailableError, IntegrityError
from worker.ops import reading
from worker.ops.export import (
    ExportReport,
    Gap,
    NoSuchExportError,
    recordings_export,
    recordings_export_chunk,
)
from worker.ops.joining import ExtraMissingError, NotJoinableError
from worker.ops.new_file import FileTakenError, new_file
from worker.ops.reading import ArchiveFile

SIX = tuple(part(number) for number in range(1, 7))
RECORDING = a_chunk().recording
MP4_PACKETS = 416
"""Pictures in the six parts: 26 seconds, 16 a second."""


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "call.mp4"


def place(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


async def export(archive: MemoryArchive, out: Path, **options: bool) -> ExportReport:
    report = await recordings_export(archive, RECORDING, out=out, **options)
    assert report is not None
    return report


def times_of(path: Path) -> dict[str, list[tuple[Fraction, Fraction]]]:
    """When each packet is decoded and shown, in seconds, by kind of stream."""
    times: dict[str, list[tuple[Fraction, Fraction]]] = {}
    with av.open(path) as container:
        for packet in container.demux():
            if packet.dts is not None and packet.pts is not None:
                base = packet.time_base
                moment = (packet.dts * base, packet.pts * base)
                times.setdefault(packet.stream.type, []).append(moment)
    return times


def decoded(path: Path) -> dict[str, int]:
    """How many frames come out of every packet; a packet that can't be decoded raises."""
    frames: dict[str, int] = {}
    with av.open(path) as container:
        for stream in container.streams:
            stream.codec_context.options = {"err_detect": "explode"}
        for packet in container.demux():
            for frame in packet.decode():
                kind = "video" if isinstance(frame, av.VideoFrame) else "audio"
                frames[kind] = frames.get(kind, 0) + 1
    return frames


async def test_six_chunks_become_one_file_that_plays_from_start_to_end(
    archive: MemoryArchive, out: Path
) -> None:
    """Every packet is decoded, and it plays as long as all chunks together."""
    await archive_recording(archive, SIX)

    report = await export(archive, out)

    with av.open(out) as container:
        assert container.duration is not None
        plays = container.duration / 1_000_000
    assert plays == pytest.approx(sum(PART_SECONDS), abs=0.2)
    assert decoded(out)["video"] == MP4_PACKETS
    assert decoded(out)["audio"] > 400
    assert report.duration_s == pytest.approx(plays, abs=0.01)
    assert report.size_bytes == len(bytes_of(out))
    assert [chunk.index for chunk in report.chunks] == [0, 1, 2, 3, 4, 5]
    assert (report.gaps, report.missing) == ((), ())


async def test_times_only_grow_across_the_joins(
    archive: MemoryArchive, out: Path
) -> None:
    """Each stream is decoded in order, whatever run-up an encoder put before a chunk."""
    await archive_recording(archive, SIX)

    await export(archive, out)

    for times in times_of(out).values():
        decoded_at = [at for at, _ in times]
        assert decoded_at == sorted(set(decoded_at))


async def test_run_up_of_an_encoder_is_left_out_at_a_join(
    archive: MemoryArchive, tmp_path: Path, out: Path
) -> None:
    """One packet of sound for each chunk but the first: it would be heard twice."""
    await archive_recording(archive, SIX)
    theirs = 0
    for content in SIX:
        place(tmp_path / "part", content)
        theirs += len(times_of(tmp_path / "part")["audio"])

    await export(archive, out)

    assert len(times_of(out)["audio"]) == theirs - 5


def decoded_early(content: bytes) -> bytes:
    """The same, but that its pictures are decoded a second before they are shown."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(content), "r") as old,
        av.open(file, "w", format="mp4") as new,
    ):
        streams = {
            each.index: new.add_stream_from_template(each) for each in old.streams
        }
        for packet in old.demux():
            if packet.dts is not None:
                is_picture = packet.stream.type == "video"
                packet.dts -= round(1 / packet.time_base) if is_picture else 0
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    return file.getvalue()


async def test_chunk_that_is_decoded_early_waits_for_the_one_before(
    archive: MemoryArchive, out: Path
) -> None:
    """Its first pictures would be decoded before the last of the other are."""
    await archive_recording(archive, [SIX[0], decoded_early(SIX[1])])

    report = await export(archive, out)

    assert report.duration_s == pytest.approx(8.5, abs=0.01)
    decoded_at = [at for at, _ in times_of(out)["video"]]
    assert len(decoded_at) == 64 + 72
    assert decoded_at == sorted(set(decoded_at))
    assert decoded(out)["video"] == 64 + 72


async def test_sound_and_picture_of_each_chunk_begin_together(
    archive: MemoryArchive, out: Path
) -> None:
    """However many chunks there are, they don't drift apart."""
    await archive_recording(archive, SIX)

    report = await export(archive, out)

    times = times_of(out)
    for chunk in report.chunks:
        for kind in ("video", "audio"):
            shown = [float(at) for _, at in times[kind]]
            assert min(abs(at - chunk.starts_at_s) for at in shown) < 0.002


async def test_packets_are_moved_and_not_encoded_anew(
    archive: MemoryArchive, out: Path
) -> None:
    """The bytes of every picture are those that ACS recorded."""
    await archive_recording(archive, SIX)

    await export(archive, out)

    def pictures(file: io.BytesIO | Path) -> list[bytes]:
        with av.open(file, "r") as container:
            packets = container.demux(container.streams.video[0])
            return [bytes(packet) for packet in packets if packet.size]

    theirs = [each for content in SIX for each in pictures(io.BytesIO(content))]
    assert pictures(out) == theirs


async def test_unmixed_sound_keeps_its_channels(
    archive: MemoryArchive, tmp_path: Path
) -> None:
    """Channel 0 is still who it was: the samples are those of both chunks, in order."""
    await archive_recording(archive, [media("unmixed.wav")] * 2, kind="Wav")
    out = tmp_path / "call.wav"

    report = await export(archive, out)

    def samples(file: io.BytesIO | Path) -> bytes:
        with av.open(file, "r") as container:
            assert container.streams.audio[0].codec_context.channels == 2
            return b"".join(bytes(packet) for packet in container.demux())

    assert samples(out) == samples(io.BytesIO(media("unmixed.wav"))) * 2
    assert report.duration_s == 6.0


async def test_mp3_is_joined_too(archive: MemoryArchive, tmp_path: Path) -> None:
    """Each chunk brings the few milliseconds by which an mp3 is padded."""
    await archive_recording(archive, [media("mixed.mp3")] * 2, kind="Mp3")
    out = tmp_path / "call.mp3"

    report = await export(archive, out)

    assert decoded(out)["audio"] >= 252
    assert report.duration_s == pytest.approx(9.0, abs=0.2)


async def test_recording_of_one_chunk_is_copied_as_it_is(
    archive: MemoryArchive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For that nothing more need be installed."""
    monkeypatch.setitem(sys.modules, "av", None)
    await archive_recording(archive, SIX[:1], metadata=[said_of(0, 4)])

    report = await export(archive, out)

    assert bytes_of(out) == SIX[0]
    assert [chunk.index for chunk in report.chunks] == [0]


async def test_without_the_extra_a_hint_says_how_to_get_it(
    archive: MemoryArchive, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written."""
    monkeypatch.setitem(sys.modules, "av", None)
    await archive_recording(archive, SIX)

    with pytest.raises(ExtraMissingError) as raised:
        await export(archive, out)

    assert raised.value.hint == "python -m pip install 'recording-worker[export]'"
    assert list(out.parent.iterdir()) == []


async def test_missing_chunk_is_left_out_and_told_where_it_would_be(
    archive: MemoryArchive, out: Path
) -> None:
    """The file plays on; who listens knows where something is missing."""
    await archive_recording(archive, [SIX[0], None, SIX[2]])

    report = await export(archive, out)

    assert report.duration_s == pytest.approx(9.0, abs=0.01)
    assert report.missing == (1,)
    assert report.gaps == (
        Gap(at_s=4.0, lacks_s=None, reason="chunk 1: source-expired"),
    )


async def test_damaged_manifest_keeps_nobody_from_listening(
    archive: MemoryArchive, out: Path
) -> None:
    """The receipts prove what is here; whether that is all is not known."""
    receipts = await archive_recording(archive, SIX[:2])
    manifest = names.manifest_name(receipts[0].recording_folder, 1)
    archive.objects[manifest] = b"torn"

    report = await export(archive, out)

    assert [chunk.index for chunk in report.chunks] == [0, 1]
    assert report.problem


async def test_first_chunk_may_be_the_one_that_is_missing(
    archive: MemoryArchive, out: Path
) -> None:
    """Then the gap is at the start."""
    await archive_recording(archive, [None, SIX[1]])

    report = await export(archive, out)

    assert bytes_of(out) == SIX[1]
    assert [gap.at_s for gap in report.gaps] == [0.0]


async def test_time_between_chunks_and_pauses_are_told(
    archive: MemoryArchive, out: Path
) -> None:
    """By the clock of the file: pauses take no time in it."""
    said = [
        said_of(0, 4, pauses=[(1, 10), (13, 5)]),
        said_of(30, 4.5, pauses=[(32, 1)]),
        {},
        said_of(60, 4.25, pauses=[]),
    ]
    await archive_recording(archive, SIX[:4], metadata=said)

    report = await export(archive, out)

    assert report.gaps == (Gap(at_s=4.0, lacks_s=11.0, reason="between chunk 0 and 1"),)
    assert report.pauses == (
        Gap(at_s=1.0, lacks_s=10.0, reason="paused in chunk 0"),
        Gap(at_s=3.0, lacks_s=5.0, reason="paused in chunk 0"),
        Gap(at_s=6.0, lacks_s=1.0, reason="paused in chunk 1"),
    )


async def test_pause_without_a_time_is_told_at_the_start_of_its_chunk(
    archive: MemoryArchive, out: Path
) -> None:
    """That it was is said, if not when."""
    paused: dict[str, object] = {"pauseResumeIntervals": [{"duration": 2000}]}
    await archive_recording(archive, SIX[:2], metadata=[{}, paused])

    report = await export(archive, out)

    assert report.pauses == (Gap(at_s=4.0, lacks_s=2.0, reason="paused in chunk 1"),)


def an_mp4(*, width: int = 320, rate: int = 16000, with_sound: bool = True) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=16)
        video.width, video.height = width, 180
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=rate) if with_sound else None
        container.mux(video.encode(av.VideoFrame(width, 180, "yuv420p")))
        container.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame("fltp", layout="stereo", samples=1024)
            frame.sample_rate = rate
            frame.planes[0].update(bytes(4096))
            frame.planes[1].update(bytes(4096))
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (an_mp4(width=640), "width 640, not 320"),
        (an_mp4(rate=48000), "sample rate 48000, not 16000"),
        (an_mp4(with_sound=False), "1 streams, not 2"),
        (SIX[0], "codec h264, not mpeg4"),
    ],
    ids=["picture", "sound", "streams", "codec"],
)
async def test_chunks_encoded_differently_are_not_joined(
    archive: MemoryArchive, out: Path, other: bytes, what: str
) -> None:
    """A player is told once what is to come; each chunk can be had by itself."""
    await archive_recording(archive, [an_mp4(), other])

    with pytest.raises(NotJoinableError, match=what) as raised:
        await export(archive, out)

    hint = f"recording-worker recordings export {RECORDING} --chunk 0 -o FILE"
    assert raised.value.hint == hint
    assert list(out.parent.iterdir()) == []


async def test_headers_of_the_codec_count_as_well(
    archive: MemoryArchive, out: Path
) -> None:
    """Of one size, they may still be of another profile."""
    changed = SIX[1].replace(b"\x01d\x00\x15\xff\xe1", b"\x01d\x00\x16\xff\xe1")
    assert changed != SIX[1]
    await archive_recording(archive, [SIX[0], changed])

    with pytest.raises(NotJoinableError, match="other headers of the codec"):
        await export(archive, out)


async def test_damaged_chunk_is_named(archive: MemoryArchive, out: Path) -> None:
    """And nothing is left behind of what was begun."""
    await archive_recording(archive, [SIX[0], b"no video at all", SIX[2]])

    with pytest.raises(NotJoinableError, match="chunk 1 can't be joined: Invalid"):
        await export(archive, out)

    assert list(out.parent.iterdir()) == []


async def test_trouble_of_the_archive_stays_what_it_is(
    archive: MemoryArchive, out: Path
) -> None:
    """It is not the chunk that is damaged."""
    await archive_recording(archive, SIX)
    archive.fail_next(ArchiveUnavailableError("gone"), on="read_range", times=9)

    with pytest.raises(ArchiveUnavailableError):
        await export(archive, out)

    assert list(out.parent.iterdir()) == []


async def test_two_documents_of_one_index_are_not_guessed_about(
    archive: MemoryArchive, out: Path
) -> None:
    """Which one is meant is for a person to say, by the document."""
    chunks = chunks_of(2)
    both = [chunks[0], replace(chunks[1], index=0)]
    receipts = [await archive_chunk(archive, chunk, SIX[0], {}) for chunk in both]
    await archive_manifest(archive, both, receipts)

    with pytest.raises(NotJoinableError, match="two documents are chunk 0"):
        await export(archive, out)
    with pytest.raises(NoSuchExportError, match="2 documents are chunk 0"):
        await recordings_export_chunk(archive, RECORDING, chunk="0", out=out)
    document = chunks[1].document_id
    assert await recordings_export_chunk(archive, RECORDING, chunk=document, out=out)
    assert bytes_of(out) == SIX[0]


@pytest.mark.parametrize("kind", ["Mkv", "Wav"])
async def test_kinds_that_make_no_file_together_are_not_joined(
    archive: MemoryArchive, out: Path, kind: str
) -> None:
    """Of several kinds, or of one that nobody knows."""
    chunks = chunks_of(2, kind=kind)
    first = chunks_of(2)[0] if kind == "Wav" else chunks[0]
    both = [first, chunks[1]]
    receipts = [await archive_chunk(archive, chunk, b"x", {}) for chunk in both]
    await archive_manifest(archive, both, receipts)

    with pytest.raises(NotJoinableError, match="its chunks are"):
        await export(archive, out)


async def test_recording_without_a_chunk_is_told(
    archive: MemoryArchive, out: Path
) -> None:
    """There is a manifest, and nothing to be played."""
    await archive_recording(archive, [None])

    with pytest.raises(NoSuchExportError, match="none of its chunks is archived"):
        await export(archive, out)


async def test_what_lies_elsewhere_is_not_fetched(
    archive: MemoryArchive, out: Path
) -> None:
    """Recordings in the user's own storage were only proven there."""
    chunks = chunks_of(1)
    receipt = await archive_chunk(archive, chunks[0], SIX[0], {})
    url = "https://own.blob.core.windows.net/calls/0.mp4"
    external = replace(receipt, content=replace(receipt.content, name=url))
    await archive_manifest(archive, chunks, [external])
    archive.lose(names.receipt_name(receipt.key))

    with pytest.raises(NoSuchExportError, match="in your own storage"):
        await recordings_export_chunk(archive, "call-1", chunk="0", out=out)


async def test_object_that_is_gone_is_told(archive: MemoryArchive, out: Path) -> None:
    """As `verify` would."""
    receipts = await archive_recording(archive, SIX)
    archive.lose(receipts[3].content.name)

    with pytest.raises(NoSuchExportError, match="the archive lost"):
        await export(archive, out)


async def test_single_chunk_and_its_metadata_are_copied_as_they_are(
    archive: MemoryArchive, out: Path
) -> None:
    """By index or by document; metadata to the byte."""
    receipts = await archive_recording(archive, SIX)

    for chunk in ("4", receipts[4].document_id):
        report = await recordings_export_chunk(
            archive, RECORDING, chunk=chunk, out=out, force=True
        )
        assert bytes_of(out) == SIX[4]
        assert report is not None
        assert (report.chunks, report.duration_s) == ((), None)
    await recordings_export_chunk(
        archive, RECORDING, chunk="4", out=out, is_metadata=True, force=True
    )
    assert bytes_of(out) == b"{}"


async def test_metadata_of_several_chunks_takes_saying_which(
    archive: MemoryArchive, out: Path
) -> None:
    """A chunk that is not there is said, and one without metadata."""
    await archive_recording(archive, SIX[:2])
    bare = a_chunk(
        document_id="bare", announcement=an_announcement(recording_id="bare")
    )
    receipt = await archive_chunk(archive, bare, SIX[0], {})
    await archive_manifest(archive, [bare], [replace(receipt, metadata=None)])
    archive.lose(names.receipt_name(bare.key))
    archive.lose(names.metadata_name(bare))

    for chunk, text, said in (
        (None, RECORDING, "which chunk"),
        ("7", RECORDING, "no chunk '7'"),
        (None, bare.recording, "chunk 0 has no metadata"),
    ):
        with pytest.raises(NoSuchExportError, match=said):
            await recordings_export_chunk(
                archive, text, chunk=chunk, out=out, is_metadata=True
            )


async def test_copy_is_held_against_the_receipt(
    archive: MemoryArchive, out: Path
) -> None:
    """Bytes that changed in the archive are not handed out as proven."""
    receipts = await archive_recording(archive, SIX[:1])
    archive.corrupt(receipts[0].content.name)

    with pytest.raises(IntegrityError, match="not what its receipt proves"):
        await export(archive, out)

    assert list(out.parent.iterdir()) == []


async def test_several_recordings_are_not_one_file(
    archive: MemoryArchive, out: Path
) -> None:
    """A call may have been recorded more than once; nobody is asked which was meant."""
    await archive_recording(archive, SIX[:1])
    other = a_chunk(
        document_id="other", announcement=an_announcement(recording_id="other")
    )
    await archive_chunk(archive, other, SIX[0], {})

    with pytest.raises(NoSuchExportError, match="2 recordings"):
        await recordings_export(archive, "call-1", out=out)


async def test_unknown_recording_is_nothing(archive: MemoryArchive, out: Path) -> None:
    """Neither as a whole nor in part."""
    assert await recordings_export(archive, "nobody", out=out) is None
    assert await recordings_export_chunk(archive, "no", chunk=None, out=out) is None


async def test_archive_is_only_read(archive: MemoryArchive, out: Path) -> None:
    """Nothing is created, and what there is stays as it is."""
    await archive_recording(archive, SIX)
    before = dict(archive.objects)
    archive.calls.clear()

    await export(archive, out)

    assert archive.objects == before
    reads = {"read", "read_range", "stat", "list"}
    assert {operation for operation, _ in archive.calls} <= reads


async def test_file_that_is_there_stays_without_force(
    archive: MemoryArchive, out: Path
) -> None:
    """Somebody may have needed it."""
    await archive_recording(archive, SIX)
    place(out, b"mine")

    with pytest.raises(FileTakenError, match="is there already"):
        await export(archive, out)
    assert bytes_of(out) == b"mine"

    await export(archive, out, force=True)
    assert decoded(out)["video"] == MP4_PACKETS


def test_file_that_came_meanwhile_stays_too(out: Path) -> None:
    """It is looked for again before the name is given."""

    def write() -> None:
        with new_file(out, force=False) as file:
            file.write(b"ours")
            place(out, b"theirs")

    with pytest.raises(FileTakenError):
        write()

    assert [path.read_bytes() for path in out.parent.iterdir()] == [b"theirs"]


def test_file_of_one_who_has_just_ended_is_not_written_over(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened while it was beside, it is the other's finished file once the lock is free."""
    lock = fcntl.flock

    def ended_meanwhile(file: BinaryIO, how: int) -> None:
        monkeypatch.undo()
        (out.parent / ".call.mp4.partial").rename(out)
        lock(file, how)

    (out.parent / ".call.mp4.partial").write_bytes(b"all of it")
    monkeypatch.setattr(fcntl, "flock", ended_meanwhile)

    with pytest.raises(FileTakenError), new_file(out, force=True):
        pass

    assert out.read_bytes() == b"all of it"


def test_two_that_write_one_file_do_not_mix(out: Path) -> None:
    """The second is told; what a killed one left behind is written over."""
    (out.parent / ".call.mp4.partial").write_bytes(b"left by one that was killed")

    with new_file(out, force=False) as file:
        with (
            pytest.raises(FileTakenError, match="being written by another"),
            new_file(out, force=False),
        ):
            pass
        file.write(b"ours")

    assert [path.read_bytes() for path in out.parent.iterdir()] == [b"ours"]


async def test_file_over_the_archive_reads_as_any_file(
    archive: MemoryArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Block by block, forwards and backwards, and never more than a few are held."""
    monkeypatch.setattr(reading, "BLOCK_BYTES", 10)
    data = bytes(range(105))
    await archive.create("a", data)
    file = ArchiveFile(archive, "a", size=len(data))

    def use() -> None:
        assert b"".join(iter(file.read, b"")) == data
        assert file.seek(-5, io.SEEK_END) == 100
        assert file.read() == data[100:]
        assert file.read(1) == b""
        assert file.seek(12) == file.tell() == 12
        assert file.read(3) == data[12:15]
        assert file.seek(1, io.SEEK_CUR) == 16
        assert file.read(100) == data[16:20]
        assert len(file._blocks) <= reading.KEPT_BLOCKS
        file.close()
        assert not file._blocks

    await asyncio.to_thread(use)
