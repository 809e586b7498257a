"""`make demo-stack`: what it runs comes to its end, and says so."""

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(240)
async def test_all_samples_come_to_their_ends_and_the_numbers_move() -> None:
    """As processes, on ports of their own; exit 0 says that nothing went otherwise."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.stack"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()

    assert (process.returncode, err.decode()) == (0, "")
    said = out.decode()
    assert "deliveries_total" in said
    assert "announced: 43 times a chunk, 35 of them different" in said
    assert "dead, as they have to be: 4 hostile ones, host-not-allowed" in said
