"""Undo what a test did to things of the whole process."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

_AZURE = ("azure", "azure.identity", "azure.communication")


@contextmanager
def isolated_logs() -> Iterator[None]:
    """Begin without logs set up, and leave structlog and the standard library's as they were.

    What heard logs with structlog's `capture_logs` leaves them set up for good.
    """
    structlog.reset_defaults()
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    azure = [logging.getLogger(name) for name in _AZURE]
    levels = [logger.level for logger in azure]
    before = (root.handlers[:], root.level, access.disabled)
    try:
        yield
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers, level, access.disabled = before
        # Not by the attribute: who asked before remembers what was said.
        root.setLevel(level)
        for logger, level in zip(azure, levels, strict=True):
            logger.setLevel(level)
