"""The acsmetadata of a chunk, read tolerantly: it flags, it tightens, it never crashes."""

import math
from collections.abc import Iterable
from datetime import timedelta

from samples import media_dir
from tests.factories import RETENTION, a_chunk
from tests.fakes.clock import START
from tests.fuzz import mutations
from tests.fuzz.target import Target
from worker import deadline, evidence
from worker.structure import checks


def check(data: bytes) -> None:
    facts = evidence.metadata_facts(data)
    for told in (facts.duration_ms, facts.paused_ms):
        assert told is None or (math.isfinite(told) and told >= 0), facts
    assert facts.channels is None or facts.channels > 0, facts
    flags = evidence.identity_flags(a_chunk(), facts)
    assert facts.readable == ("metadata-unreadable" not in flags)
    for kind in ("mp4", "wav", "mp3"):
        checks.plausible(
            10**6,
            duration_ms=facts.duration_ms or 0,
            format_type=kind,
            channels=facts.channels,
        )
    due = START + RETENTION
    tightened = deadline.tightened(
        due, chunk_end=facts.chunk_end, retention=RETENTION, received_at=START
    )
    assert START <= tightened <= due
    zone = facts.chunk_start and facts.chunk_start.utcoffset()
    assert zone in {None, timedelta(0)}, facts


def _seeds() -> Iterable[bytes]:
    return (
        path.read_bytes() for path in sorted(media_dir().glob("*.acsmetadata.json"))
    )


METADATA = Target(name="metadata", check=check, seeds=_seeds, mutate=mutations.of_json)
