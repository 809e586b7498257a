"""Undo what a test did to things of the whole process."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def isolated_logs() -> Iterator[None]:
    """Leave structlog and the logging of the standard library as they were."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    azure = [logging.getLogger(name) for name in ("azure", "azure.identity")]
    levels = [logger.level for logger in azure]
    before = (root.handlers[:], root.level, access.disabled)
    try:
        yield
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers, root.level, access.disabled = before
        for logger, level in zip(azure, levels, strict=True):
            logger.level = level
