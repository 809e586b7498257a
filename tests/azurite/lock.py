"""Keeps npm's lock to what it is for: `python -m tests.azurite.lock FILE` takes out links."""

import json
import sys
from pathlib import Path


def without_links(lock: str) -> str:
    """The lock without funding and licences; versions and hashes stay."""
    document = json.loads(lock)
    for package in document["packages"].values():
        package.pop("funding", None)
        package.pop("license", None)  # sometimes a link, too
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(without_links(path.read_text(encoding="utf-8")), encoding="utf-8")
