"""Keys at hand: loaded ahead, by one at a time, and kept through an outage, but not for ever."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest
from jwt import PyJWK
from structlog.testing import capture_logs

from handlers.jwks import KeySetError
from handlers.signing_keys import (
    COOL_DOWN_SECONDS,
    KEPT_SECONDS,
    LOAD_SECONDS,
    REFRESH_SECONDS,
    KeysUnavailableError,
    SigningKeys,
)
from tests.authority import jwk
from tests.fakes.clock import ManualClock

WAIT_SECONDS = 10
KEYS = {number: PyJWK(jwk(number)) for number in range(3)}


@dataclass(slots=True, kw_only=True)
class ScriptedLoad:
    """Gives the keys of `numbers`, or fails, once it is let go."""

    numbers: tuple[int, ...] = (0,)
    failure: Exception | None = None
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    count: int = 0
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __call__(self) -> Mapping[str, PyJWK]:
        async with self._arrived:
            self.count += 1
            self._arrived.notify_all()
        await self.is_open.wait()
        if self.failure is not None:
            raise self.failure
        return {f"key-{number}": KEYS[number] for number in self.numbers}

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: self.count >= count)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def load() -> ScriptedLoad:
    load = ScriptedLoad()
    load.is_open.set()
    return load


@pytest.fixture
def keys(load: ScriptedLoad, clock: ManualClock) -> SigningKeys:
    return SigningKeys(load, clock=clock)


@pytest.fixture
async def refreshed(keys: SigningKeys) -> AsyncIterator[SigningKeys]:
    """Keys that look after themselves, with the first load done."""
    async with keys.refreshed():
        await keys.find("key-0")
        await let_others_run()
        yield keys


async def let_others_run() -> None:
    """Let every task that can go on do so, until it waits for the test again."""
    for _ in range(20):
        await asyncio.sleep(0)


def down() -> KeySetError:
    return KeySetError("login.example answered 500")


async def test_keys_are_loaded_ahead(
    keys: SigningKeys, load: ScriptedLoad, clock: ManualClock
) -> None:
    """At the start, before anybody asks, and again within the hour."""
    async with keys.refreshed():
        await load.wait_for(1)
        await let_others_run()
        clock.advance(REFRESH_SECONDS)
        await load.wait_for(2)


async def test_key_at_hand_needs_no_load(
    refreshed: SigningKeys, load: ScriptedLoad
) -> None:
    """Deliveries go on while the next load hangs."""
    load.is_open.clear()

    assert await refreshed.find("key-0") is KEYS[0]
    assert load.count == 1


async def test_requests_at_once_share_one_load(
    keys: SigningKeys, load: ScriptedLoad
) -> None:
    """However many ask together, the authority is asked once."""
    load.is_open.clear()
    asking = [asyncio.ensure_future(keys.find("key-0")) for _ in range(20)]
    await load.wait_for(1)
    load.is_open.set()

    assert await asyncio.gather(*asking) == [KEYS[0]] * 20
    assert load.count == 1


async def test_load_outlives_who_started_it(
    keys: SigningKeys, load: ScriptedLoad
) -> None:
    """A delivery that is cut off takes nothing from those that wait with it."""
    load.is_open.clear()
    first = asyncio.ensure_future(keys.find("key-0"))
    await load.wait_for(1)
    second = asyncio.ensure_future(keys.find("key-0"))
    await let_others_run()

    first.cancel()
    await asyncio.wait({first})
    load.is_open.set()

    assert first.cancelled()
    assert await second is KEYS[0]
    assert load.count == 1


async def test_rotated_key_is_found(
    refreshed: SigningKeys, load: ScriptedLoad, clock: ManualClock
) -> None:
    """A name that nobody knew yet is looked for; the old key goes when its authority says."""
    load.numbers = (1,)
    clock.advance(COOL_DOWN_SECONDS)

    assert await refreshed.find("key-1") is KEYS[1]
    assert await refreshed.find("key-0") is None


async def test_invented_names_cost_one_load(
    refreshed: SigningKeys, load: ScriptedLoad, clock: ManualClock
) -> None:
    """However many there are, until the cool-down is over."""
    clock.advance(COOL_DOWN_SECONDS)

    at_once = await asyncio.gather(*(refreshed.find(f"x{n}") for n in range(500)))
    later = [await refreshed.find(f"y{n}") for n in range(500)]

    assert set(at_once + later) == {None}
    assert load.count == 2
    clock.advance(COOL_DOWN_SECONDS)
    await refreshed.find("z")
    assert load.count == 3


async def test_keys_serve_through_an_outage(
    refreshed: SigningKeys, load: ScriptedLoad, clock: ManualClock
) -> None:
    """For a day; then nobody can be known by them, nor be called a stranger."""
    load.failure = down()
    clock.advance(KEPT_SECONDS)
    await let_others_run()

    assert await refreshed.find("key-0") is KEYS[0]
    clock.advance(1)
    with pytest.raises(KeysUnavailableError):
        await refreshed.find("key-0")


async def test_unknown_key_is_undecided_while_the_authority_is_down(
    refreshed: SigningKeys, load: ScriptedLoad, clock: ManualClock
) -> None:
    """It may be a new one: whoever bears it comes again and is judged then."""
    load.failure = down()
    clock.advance(COOL_DOWN_SECONDS)
    for _ in range(2):
        with pytest.raises(KeysUnavailableError):
            await refreshed.find("key-1")

    load.failure, load.numbers = None, (0, 1)
    clock.advance(COOL_DOWN_SECONDS)

    assert await refreshed.find("key-1") is KEYS[1]
    assert load.count == 3


async def test_authority_that_is_down_is_asked_again_soon(
    keys: SigningKeys, load: ScriptedLoad, clock: ManualClock
) -> None:
    """Without any delivery, so that the keys are there when one comes."""
    load.failure = down()
    async with keys.refreshed():
        await load.wait_for(1)
        await let_others_run()
        load.failure = None
        clock.advance(COOL_DOWN_SECONDS)
        await load.wait_for(2)
        await let_others_run()

        assert await keys.find("key-0") is KEYS[0]

    assert load.count == 2


async def test_hanging_authority_is_given_up(
    keys: SigningKeys, load: ScriptedLoad, clock: ManualClock
) -> None:
    """A delivery is held for seconds, and the ones after it not at all."""
    load.is_open.clear()
    asking = asyncio.ensure_future(keys.find("key-0"))
    await load.wait_for(1)
    clock.advance(LOAD_SECONDS)

    with capture_logs() as logs, pytest.raises(KeysUnavailableError):
        await asking
    assert [line["error"] for line in logs] == ["no answer within 5 s"]
    with pytest.raises(KeysUnavailableError):
        await keys.find("key-0")
    assert load.count == 1


async def test_trouble_is_told_once_and_its_end_too(
    refreshed: SigningKeys, load: ScriptedLoad, clock: ManualClock
) -> None:
    """Louder when the keys at hand have become too old."""
    load.failure = down()
    with capture_logs() as logs:
        clock.advance(REFRESH_SECONDS)
        await let_others_run()
        for _ in range(3):
            clock.advance(COOL_DOWN_SECONDS)
            await let_others_run()
        clock.advance(KEPT_SECONDS)
        await let_others_run()
        load.failure = None
        clock.advance(COOL_DOWN_SECONDS)
        await let_others_run()

    told = [(line["event"], line["log_level"]) for line in logs]
    assert told == [
        ("authority.unavailable", "warning"),
        ("authority.unavailable", "error"),
        ("authority.resumed", "info"),
    ]
    assert logs[0]["error"] == "login.example answered 500"
    assert logs[2]["after_s"] == KEPT_SECONDS + 4 * COOL_DOWN_SECONDS
    assert await refreshed.find("key-0") is KEYS[0]


async def test_first_trouble_is_loud_where_there_are_no_keys(
    keys: SigningKeys, load: ScriptedLoad
) -> None:
    """From a cold start nothing serves meanwhile."""
    load.failure = down()
    with capture_logs() as logs, pytest.raises(KeysUnavailableError):
        await keys.find("key-0")

    assert [line["log_level"] for line in logs] == ["error"]


async def test_bug_costs_a_load_and_not_the_worker(
    refreshed: SigningKeys, load: ScriptedLoad, clock: ManualClock
) -> None:
    """Keys at hand serve on; the log has the traceback."""
    load.failure = LookupError("oops")
    with capture_logs() as logs:
        clock.advance(REFRESH_SECONDS)
        await let_others_run()

    assert logs[0]["exc_info"] is load.failure
    assert await refreshed.find("key-0") is KEYS[0]


async def test_leaving_ends_a_load_that_hangs(
    keys: SigningKeys, load: ScriptedLoad
) -> None:
    """A stop does not wait for the authority."""
    load.is_open.clear()
    async with asyncio.timeout(WAIT_SECONDS), keys.refreshed():
        await load.wait_for(1)

    assert asyncio.all_tasks() == {asyncio.current_task()}
