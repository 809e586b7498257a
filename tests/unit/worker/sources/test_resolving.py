"""Of what a resolver answers for a name, only what the allow-list admits is dialled."""

import socket

import pytest

from tests.fakes.resolver import ScriptedResolver
from worker.sources.hosts import HostRules
from worker.sources.resolving import AddressesRefusedError, SourceResolver

ON_LIST = "us-storage.asm.skype.com"
EXACT = "media.example.org"
PROXY = "proxy.corp.example"
LISTED = (".asm.skype.com", EXACT, "localhost:7", "127.0.0.1:8080")


async def resolved(host: str, *answers: str, public_only: bool = True) -> list[str]:
    """The addresses that are left of these answers for a name."""
    asked = ScriptedResolver({host: list(answers)})
    rules = HostRules(LISTED, public_only=public_only)
    found = await SourceResolver(rules, asked=asked).resolve(host, 443)
    assert asked.asked == [host]
    assert all((each["hostname"], each["port"]) == (host, 443) for each in found)
    return [each["host"] for each in found]


@pytest.mark.parametrize("host", [ON_LIST, EXACT, ON_LIST.upper()])
async def test_private_answers_among_public_ones_are_left_out(host: str) -> None:
    """What is left is as it was answered, in order."""
    answers = ["10.0.0.4", "52.113.194.132", "::1", "2603:1063::1", "169.254.169.254"]

    assert await resolved(host, *answers) == ["52.113.194.132", "2603:1063::1"]


@pytest.mark.parametrize("host", [ON_LIST, EXACT])
async def test_name_that_leads_into_a_private_network_alone_is_refused(
    host: str,
) -> None:
    """The error says where to, as far as it fits."""
    with pytest.raises(AddressesRefusedError) as one:
        await resolved(host, "10.0.0.4")
    with pytest.raises(AddressesRefusedError) as many:
        await resolved(host, *(f"10.0.0.{last}" for last in range(9)))

    assert one.value.shown == "10.0.0.4"
    assert many.value.shown == "10.0.0.0, 10.0.0.1, 10.0.0.2, …"


async def test_private_endpoint_is_dialled_where_that_is_said_aloud() -> None:
    """With `any` nothing is left out."""
    assert await resolved(ON_LIST, "10.0.0.4", public_only=False) == ["10.0.0.4"]


async def test_proxys_name_may_lead_anywhere() -> None:
    """The proxy is the operator's choice, and no event can name it."""
    assert await resolved(PROXY, "10.0.0.4") == ["10.0.0.4"]


@pytest.mark.parametrize("public_only", [True, False])
async def test_localhost_stays_on_this_machine(*, public_only: bool) -> None:
    """An entry that may be plain http is loopback, whatever a hosts file says."""
    answers = ["::1", "127.0.0.1", "192.0.2.1", "52.113.194.132"]

    assert await resolved("localhost", *answers, public_only=public_only) == [
        "::1",
        "127.0.0.1",
    ]
    with pytest.raises(AddressesRefusedError):
        await resolved("localhost", "52.113.194.132", public_only=public_only)


async def test_trouble_of_the_resolver_stays_what_it_is() -> None:
    """A name that nobody knows is no address that is refused."""
    resolver = SourceResolver(HostRules(LISTED), asked=ScriptedResolver())

    with pytest.raises(socket.gaierror):
        await resolver.resolve(ON_LIST)
    assert await resolved(ON_LIST) == []


async def test_resolver_is_closed_with_the_one_it_asks() -> None:
    """Whatever the other holds is let go of."""
    asked = ScriptedResolver()

    await SourceResolver(HostRules(LISTED), asked=asked).close()

    assert asked.is_closed
