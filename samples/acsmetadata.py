"""Metadata of made-up recordings, in the shape of the real files."""

import json

RESOURCE_ID = "5f2d8e0a-6c1b-4f0e-9a57-3d1c7b9e2f40"
"""The immutable id of the made-up resource `contoso`."""


def metadata_of(
    document_id: str, *, index: int = 0, duration_ms: float, file_format: str = "mp4"
) -> bytes:
    """Make the `acsmetadata` of one mixed chunk: pretty-printed, CRLF, as in 2022."""
    is_video = file_format == "mp4"
    recording_info = {
        "contentType": "audioVideo" if is_video else "audio",
        "channelType": "mixed",
        "format": file_format,
        "audioConfiguration": {"sampleRate": 16000, "bitRate": 128000, "channels": 1},
    }
    if is_video:
        recording_info["videoConfiguration"] = {
            "longerSideLength": 1920,
            "shorterSideLength": 1080,
            # As every real file spells it; the documentation says `frameRate`.
            "framerate": 16,
            "bitRate": 1000000,
        }
    metadata = {
        "resourceId": RESOURCE_ID,
        "callId": "e0a1f6d2-7f0b-4c8f-9c43-1c5b3f0d7a11",
        "chunkDocumentId": document_id,
        "chunkIndex": index,
        "chunkStartTime": "2026-02-03T09:15:27.6089755Z",
        "chunkDuration": float(duration_ms),
        "pauseResumeIntervals": [],
        "recordingInfo": recording_info,
        "participants": [{"participantId": f"8:acs:{RESOURCE_ID}_made-up-1"}],
    }
    return json.dumps(metadata, indent=2).replace("\n", "\r\n").encode()
