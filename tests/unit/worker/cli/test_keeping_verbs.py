"""What `recordings hold` and `erase` say to people."""

from datetime import timedelta

import pytest

from worker.cli import keeping
from worker.clock import SystemClock
from worker.ops.erasing import EraseReport


def test_table_of_an_erasure_says_all_that_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What others must do, what goes by itself, and what to do again."""
    until = SystemClock().now() + timedelta(hours=20, minutes=30)
    keeping._print_erased(
        EraseReport(
            recording="6721b9a7677e69ca",
            dry_run=False,
            chunks=2,
            objects=("a", "b"),
            size_bytes=2048,
            queue_entries=2,
            deliveries=1,
            shared_deliveries=1,
            came_meanwhile=1,
            elsewhere=("https://own.blob.core.windows.net/c/0.mp4",),
            soft_deleted=2,
            soft_deleted_days=7,
            source_keeps_until=until,
        )
    )

    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    told = dict(lines)
    assert told["erased"] == "2 objects, 2.0 KiB"
    assert told["tombstones"] == "2"
    assert told["queue"] == "2 entries, 1 delivery"
    assert told["shared"].startswith("1 delivery speaks of other recordings too")
    assert told["elsewhere"].startswith("erase it yourself: https://own.blob.core")
    assert told["soft"] == "delete  2 objects can be restored for 7 more days"
    assert told["source"].startswith("ACS keeps its copy until ")
    assert told["source"].endswith("(in 20 h)")
    assert told["left"] == "1 came meanwhile: run it again"
