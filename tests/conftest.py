"""What several kinds of tests share: one Azurite for each process, time for examples, and
logs that no test leaves to the next.
"""

import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import azurite as emulator
from tests.azurite import Azurite
from tests.isolation import isolated_logs

# How long an example takes says how busy the machine is.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")

_NUMBERS = itertools.count(1)
_ACCOUNTS = iter(emulator.OTHERS)
UniqueName = Callable[[str], str]


@pytest.fixture(autouse=True)
def _unconfigured_logs() -> Iterator[None]:
    """A command that ran in this process logs to a stream that ends with its test."""
    with isolated_logs():
        yield


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """The emulator of Azure Storage, started once; tests keep apart by names."""
    with emulator.running() as started:
        yield started


@pytest.fixture
def own_account(azurite: Azurite) -> Azurite:
    """An account of the emulator that this test has to itself."""
    return azurite.other(next(_ACCOUNTS))


@pytest.fixture(scope="module")
def module_account(azurite: Azurite) -> Azurite:
    """An account of the emulator that the tests of one module share."""
    return azurite.other(next(_ACCOUNTS))


@pytest.fixture
def unique_name() -> UniqueName:
    """Names for containers and queues that no other test has."""
    return lambda stem: f"{stem}-{next(_NUMBERS):04d}"
