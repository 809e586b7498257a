"""Which files stand behind which document: `samples/media/objects.json`."""

import json
from dataclasses import dataclass
from pathlib import Path

from samples import media_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleObject:
    """One sample document: where its content and its metadata are."""

    document_id: str
    content: Path
    metadata: Path


def load_catalogue() -> list[SampleObject]:
    """Read the catalogue. Media may be shared by documents, metadata never are."""
    folder = media_dir()
    entries = json.loads((folder / "objects.json").read_text(encoding="utf-8"))
    return [
        SampleObject(
            document_id=document_id,
            content=folder / files["content"],
            metadata=folder / files["metadata"],
        )
        for document_id, files in entries.items()
    ]
