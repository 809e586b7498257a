"""What an attempt leaves in numbers, where no run of a whole worker shows it."""

from tests.unit.worker.measured import measured
from tests.unit.worker.rig import Rig
from worker.errors import ArchiveFullError
from worker.telemetry.instruments import CHUNKS, LEASES, LEASES_LOST


async def test_chunk_that_another_took_is_counted_as_lost() -> None:
    """Once, as an attempt and as a lease; and nothing is in hand any more."""
    rig = Rig()
    await rig.one()
    lost = await rig.lease()
    rig.clock.advance(61)
    await rig.lease()

    with measured() as numbers:
        await rig.drive(rig.runner.run(lost))

    assert numbers.of(LEASES_LOST) == 1
    assert numbers.of(CHUNKS, outcome="lost", reason="none") == 1
    assert numbers.of(LEASES) == 0


async def test_attempt_that_a_pause_leaves_unspent_has_its_reason() -> None:
    """It failed like the others: where chunks wait, the reason is what is looked for."""
    rig = Rig()
    await rig.one()
    rig.archive.fail_next(ArchiveFullError("512 MiB left"), on="writer", times=2)

    with measured() as numbers:
        await rig.attempt()

    assert numbers.of(CHUNKS, outcome="released", reason="archive-full") == 1
