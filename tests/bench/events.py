"""The events that a benchmark posts: the sample of one chunk, with documents of its own."""

import json
import re
from datetime import UTC, datetime, timedelta

from samples import events_dir
from samples.content import SyntheticContent
from tests.bench.numbers import spread
from tests.bench.processes import Acs

SAMPLE = "one-chunk.event-grid.json"
_DOCUMENT = re.compile(rb'"documentId":"([^"]+)"')


def announcement(
    document_id: str, *, acs: Acs | None, size_bytes: int, age: timedelta
) -> bytes:
    """A delivery with one event: a recording of one chunk that `acs` serves.

    The older the event, the sooner the chunk expires, and the sooner it is worked on.
    """
    (event,) = json.loads((events_dir() / SAMPLE).read_bytes())
    said_at = (datetime.now(UTC) - age).isoformat()
    data = event["data"]
    (chunk,) = data["recordingStorageInfo"]["recordingChunks"]
    base = "https://us-storage.asm.skype.com"
    if acs is not None:
        base = f"{acs.scheme}://{acs.global_host}"
    here = f"{base}/v1/objects/{document_id}/content"
    # As long as a real one, which is some JSON in base64.
    recording_id = event["subject"].rpartition("/")[2][:-40] + document_id
    chunk |= {
        "documentId": document_id,
        "contentLocation": f"{here}/video",
        "metadataLocation": f"{here}/acsmetadata",
        "deleteLocation": f"{here}/deletedata",
    }
    event |= {
        "id": document_id,
        "subject": f"/recording/call/{document_id}/recordingId/{recording_id}",
        "eventTime": said_at,
    }
    data |= {
        "recordingStartTime": said_at,
        "recordingDurationMs": SyntheticContent(size_bytes, mp4=True).duration_ms,
    }
    # Without blanks, as Event Grid sends it.
    return json.dumps([event], separators=(",", ":")).encode()


def document(prefix: str, number: int) -> str:
    """A document id in the shape of the real ones."""
    return f"0-wus-{prefix}-{spread(number).decode()}"


def documents(body: bytes) -> set[str]:
    """The document ids that a delivery of these announces."""
    return {found.decode() for found in _DOCUMENT.findall(body)}
