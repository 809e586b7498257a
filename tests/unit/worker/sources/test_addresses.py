"""Public is what everybody reaches; all else lies in a network of somebody's own."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sources import addresses

PUBLIC = [
    "13.107.42.14",
    "52.113.194.132",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "168.63.129.15",
    "223.255.255.255",
    "2603:1063::1",
    "2a01:111:2003::52",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - an address among others here
    "10.0.0.4",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.251",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::10.0.0.4",
    "::8.8.8.8",
    "::ffff:10.0.0.4",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:0:10.0.0.4",
    "64:ff9b::10.0.0.4",
    "64:ff9b::169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:a00:4::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::a9fe:a9fe%1",
    "fec0::1",
    "ff02::1",
    "",
    "localhost",
    "us-storage.asm.skype.com",
    "8.8.8.8.",
    "010.0.0.4",
    "0x0a000004",
    "167772164",
    "[2603:1063::1]",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_address_of_the_internet_is_public(address: str) -> None:
    """What was given out, and what a NAT64 or a mapping makes of it."""
    assert addresses.is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_address_of_a_network_of_somebodys_own_is_not(address: str) -> None:
    """Private, loopback, link-local, carrier, reserved, in whatever it is wrapped; nor text."""
    assert not addresses.is_public(address)


@given(st.ip_addresses())
def test_public_is_never_more_than_python_calls_global(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Our own table is no wider than the registry as Python knows it; NAT64 is judged inside."""
    if not addresses.is_public(str(address)):
        return

    assert address.is_global or "64:ff9b::" in str(address) or _mapped(address)
    assert not address.is_multicast


def _mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and bool(address.ipv4_mapped)


@given(st.ip_addresses(v=4))
def test_wrapping_makes_no_address_public(address: ipaddress.IPv4Address) -> None:
    """An address of IPv4 is judged alike, plain, mapped or behind NAT64."""
    forms = (str(address), f"::ffff:{address}", f"64:ff9b::{address}")

    assert len({addresses.is_public(form) for form in forms}) == 1


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_none(text: str) -> None:
    """A resolver may answer anything."""
    assert addresses.is_public(text) in {True, False}


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.4", False),
        ("8.8.8.8", False),
        ("localhost", False),
    ],
)
def test_loopback_stays_on_this_machine(address: str, *, is_loopback: bool) -> None:
    """Only an address says so; a name could lead anywhere."""
    assert addresses.is_loopback(address) == is_loopback
