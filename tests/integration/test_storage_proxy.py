"""The proxy that fails on purpose, held to what the tests behind it rely on."""

import pytest

from tests.storage_proxy import Fault, StorageProxy

NOBODY = "http://127.0.0.1:9/devstoreaccount1"


async def test_fault_that_nobody_met_fails() -> None:
    """A test of a fault can't pass without it."""
    proxy = StorageProxy(NOBODY)

    with pytest.raises(AssertionError, match="nobody met lost answer on commit"):
        async with proxy:
            proxy.plan(Fault.lost_answer(), on="commit")


async def test_optional_fault_may_be_met_by_nobody() -> None:
    """What must not be asked for is planned so, to be refused if it is."""
    async with StorageProxy(NOBODY) as proxy:
        proxy.plan(Fault.reset(), optional=True)
