"""The door to the structural checks: which one fits, and is the size plausible."""

import math

from worker.structure.mp3 import check_mp3, frame_at
from worker.structure.mp4 import check_mp4
from worker.structure.report import MediaKind, Read, StructureReport
from worker.structure.wav import MAX_CHANNELS, check_wav

MAGIC_BYTES = 12
MAX_DURATION_MS = 7 * 24 * 3600 * 1000
"""Chunks last four hours at the most; this is only where arithmetic stops making sense."""
SHORT_MS = 10_000
"""Below this headers and padding outweigh the media."""
PCM_BYTES_PER_S = 32_000
"""16 kHz of 16 bits: 1.92 MB a minute for each channel, exactly (Azure's documentation)."""
MAX_BYTES_PER_S: dict[MediaKind, int] = {"mp4": 125_000, "mp3": 6_000}
"""7.5 and 0.36 MB a minute at the most (the same page)."""
OVER_FACTOR = 4
UNDER_FACTOR = 1 / 200
WAV_TOLERANCE = 0.1
WAV_TOLERANCE_S = 2
_CHECKS = {"mp4": check_mp4, "wav": check_wav, "mp3": check_mp3}
_KINDS: dict[str, MediaKind] = {"mp4": "mp4", "wav": "wav", "mp3": "mp3"}


async def check_structure(
    read: Read, size: int, *, format_type: str | None
) -> StructureReport:
    """Check the media as the announced format, or as what its first bytes look like.

    Any bytes give a report; only what `read` raises comes out.
    """
    kind = _KINDS.get((format_type or "").casefold())
    if kind is None:
        kind = kind_from_magic(await read(0, min(MAGIC_BYTES, size)))
    if kind == "unknown":
        return StructureReport(
            ok=False, kind=kind, detail="unknown format", duration_ms=None
        )
    return await _CHECKS[kind](read, size)


def kind_from_magic(head: bytes) -> MediaKind:
    """What the first bytes look like."""
    if head[4:8] in {b"ftyp", b"styp"}:
        return "mp4"
    if head[:4] in {b"RIFF", b"RF64", b"BW64"} and head[8:12] == b"WAVE":
        return "wav"
    if head[:3] == b"ID3" or frame_at(head, 0) is not None:
        return "mp3"
    return "unknown"


def plausible(
    size: int, *, duration_ms: float, format_type: str | None, channels: int | None
) -> tuple[bool, str]:
    """Whether a chunk of this length can have this size; refuses only the absurd."""
    kind = _KINDS.get((format_type or "").casefold())
    if kind is None or not math.isfinite(duration_ms) or duration_ms <= 0:
        return True, "nothing to compare the size with"
    if duration_ms > MAX_DURATION_MS:
        return False, f"{duration_ms:.3g} ms are more than any chunk lasts"
    if kind == "wav":
        return _plausible_wav(size, duration_ms, channels)
    return _plausible_compressed(size, duration_ms, MAX_BYTES_PER_S[kind])


def _plausible_wav(
    size: int, duration_ms: float, channels: int | None
) -> tuple[bool, str]:
    one_channel = PCM_BYTES_PER_S * duration_ms / 1000
    if channels is None or not 1 <= channels <= MAX_CHANNELS:
        # Not said, or nonsense: as many as come nearest.
        channels = max(1, round(size / max(one_channel, 1)))
    expected = one_channel * channels
    slack = max(expected * WAV_TOLERANCE, PCM_BYTES_PER_S * channels * WAV_TOLERANCE_S)
    verdict = f"{size} bytes for {duration_ms:.0f} ms, about {expected:.0f} expected"
    return abs(size - expected) <= slack, verdict


def _plausible_compressed(
    size: int, duration_ms: float, max_bytes_per_s: int
) -> tuple[bool, str]:
    bound = max_bytes_per_s * max(duration_ms, SHORT_MS) / 1000
    least = bound * UNDER_FACTOR if duration_ms > SHORT_MS else 0
    verdict = f"{size} bytes for {duration_ms:.0f} ms, about {bound:.0f} at the most"
    return least <= size <= bound * OVER_FACTOR, verdict
