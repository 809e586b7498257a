"""Every parser keeps its promise: seeds, what once broke it, and what is made of them."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import guided, strategies, table
from tests.fuzz.target import Target
from tests.isolation import isolated_logs

ALL = pytest.mark.parametrize("target", table.TARGETS.values(), ids=table.TARGETS)


@pytest.fixture(autouse=True, scope="module")
def _no_logs() -> Iterator[None]:
    with isolated_logs():
        guided.silence()
        yield


@ALL
def test_seeds_and_corpus_keep_the_promise(target: Target) -> None:
    """There are some, and whatever once broke a promise breaks none any more."""
    inputs = table.inputs_of(target)

    assert inputs
    for data in inputs:
        target.check(data)


@ALL
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_any_input_keeps_the_promise(target: Target, data: st.DataObject) -> None:
    """Changed seeds, inputs built of what means something, and bytes without sense."""
    target.check(data.draw(strategies.inputs(target)))


def test_corpus_belongs_to_targets() -> None:
    """No folder of inputs is left behind by a target that is called otherwise by now."""
    folders = {path.name for path in table.CORPUS.iterdir() if path.is_dir()}

    assert folders <= table.TARGETS.keys()
