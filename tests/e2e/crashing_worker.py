"""The worker, but it kills itself: `crashing_worker.py POINT NTH ARGUMENT...`.

It dies by SIGKILL before or behind the NTH call of one method of an adapter, whichever of
them the settings choose. The product knows nothing of this: the adapters' classes are
changed before the command starts.
"""

import itertools
import os
import re
import signal
import sys
from dataclasses import dataclass
from itertools import count
from typing import Any

from worker.__main__ import main
from worker.archives.blob import BlobArchive
from worker.archives.blob_writer import BlobWriter
from worker.archives.directory import DirectoryArchive
from worker.archives.directory_writer import DirectoryWriter
from worker.queues.sqlite import SqliteQueue
from worker.queues.storage.queue import StorageQueue
from worker.sources.acs import AcsSource
from worker.topics.event_grid import EventGridTopic

ARCHIVES = (DirectoryArchive, BlobArchive)
WRITERS = (DirectoryWriter, BlobWriter)
QUEUES = (SqliteQueue, StorageQueue)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where to die. `names`: only calls for objects of such names count."""

    owners: tuple[type, ...]
    methods: tuple[str, ...]
    is_after: bool
    names: str = ""


RECEIPT = r"receipts/../[^/.]+\.json"
MANIFEST = r".+/manifest\.\d+\.json"
CHECKSUMS = r".+/manifest\.\d+\.sha256"
SOURCE_DELETED = r".+\.source-deleted\.json"
NOTICE = r"notices/.+\.json"
REPLAYED = r"replayed/.+\.json"
_SETTLE = ("complete", "reschedule")


def _created(names: str) -> Point:
    return Point(owners=ARCHIVES, methods=("create",), is_after=True, names=names)


def _of(owners: tuple[type, ...], *methods: str, is_after: bool) -> Point:
    return Point(owners=owners, methods=methods, is_after=is_after)


POINTS = {
    "after_defer": _of((SqliteQueue,), "defer", is_after=True),
    "after_take": _of((SqliteQueue,), "take_deferred", is_after=True),
    "before_drop": _of((SqliteQueue,), "drop_deferred", is_after=False),
    "before_put": _of(QUEUES, "put", is_after=False),
    "after_put": _of(QUEUES, "put", is_after=True),
    "after_lease": _of(QUEUES, "lease", is_after=True),
    "after_download": _of(WRITERS, "commit", is_after=False),
    "after_commit": _of(WRITERS, "commit", is_after=True),
    "after_receipt": _created(RECEIPT),
    "after_manifest": _created(MANIFEST),
    "after_checksums": _created(CHECKSUMS),
    "after_delete": _of((AcsSource,), "delete", is_after=True),
    "after_source_deleted_record": _created(SOURCE_DELETED),
    "before_settle": _of(QUEUES, *_SETTLE, is_after=False),
    "after_settle": _of(QUEUES, *_SETTLE, is_after=True),
    "after_notice": _created(NOTICE),
    "after_replayed_record": _created(REPLAYED),
    "after_redrive": _of(QUEUES, "redrive", is_after=True),
    "after_publish": _of((EventGridTopic,), "publish", is_after=True),
}


def arm(point: Point, nth: int) -> None:
    """Have this process die there."""
    calls = count(1)
    for owner, method in itertools.product(point.owners, point.methods):
        _wrap(point, owner, method, lambda: next(calls) == nth)


def _wrap(point: Point, owner: type, method: str, is_time: Any) -> None:
    original = getattr(owner, method)

    async def deadly(adapter: Any, *arguments: Any, **named: Any) -> Any:
        counts = not point.names or bool(re.fullmatch(point.names, arguments[0]))
        if counts and not point.is_after and is_time():
            os.kill(os.getpid(), signal.SIGKILL)
        result = await original(adapter, *arguments, **named)
        counts = counts and not _is_nothing(result)  # taking nothing is no step
        if counts and point.is_after and is_time():
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, method, deadly)


def _is_nothing(result: object) -> bool:
    return getattr(result, "deliveries", result) in ([], ())


if __name__ == "__main__":
    name, nth, *command_line = sys.argv[1:]
    arm(POINTS[name], int(nth))
    sys.exit(main(command_line))
