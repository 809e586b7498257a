"""How many files and connections this process may have open at once."""

import contextlib
import resource

WANTED = 4096
"""The soft limit is often 1024, or 256, for programs that know no better; that is too few."""


def most_descriptors(wanted: int = WANTED) -> int:
    """Raise the limit to `wanted` where that is allowed; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        # macOS refuses what it says it allows, above a limit of its kernel.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
