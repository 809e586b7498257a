"""Sample events and media, and stand-ins for who sends the ones and serves the others."""

from importlib import resources
from pathlib import Path


def events_dir() -> Path:
    """Where the sample events are: `demo/` plays in file name order."""
    return Path(str(resources.files(__name__) / "events"))


def media_dir() -> Path:
    """Where the sample media are, with `objects.json`: document id to files."""
    return Path(str(resources.files(__name__) / "media"))
