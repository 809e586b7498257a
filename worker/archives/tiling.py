"""Whether blocks make up an object: the rule for every archive that takes blocks."""

from collections.abc import Mapping

from worker.errors import IntegrityError


def check_tiling(lengths: Mapping[int, int], size: int) -> None:
    """Raise IntegrityError unless the blocks make up [0, size) without gap or overlap."""
    end = 0
    for offset in sorted(lengths):
        if offset != end:
            raise IntegrityError(f"no block at byte {end} of {size}")
        end += lengths[offset]
    if end != size:
        raise IntegrityError(f"{end} bytes arrived where {size} were announced")
