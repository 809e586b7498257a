"""What a test did to the whole process is undone behind it."""

import logging

from tests.isolation import isolated_logs


def test_logger_that_was_asked_forgets_the_level_of_a_test() -> None:
    """A library's debug lines would be heard by whoever comes next."""
    asked = logging.getLogger("tests.asked")
    assert not asked.isEnabledFor(logging.DEBUG)

    with isolated_logs():
        logging.getLogger().setLevel(logging.DEBUG)
        assert asked.isEnabledFor(logging.DEBUG)

    assert not asked.isEnabledFor(logging.DEBUG)
