"""Which addresses are public. Pure; spelt out, so that no version of Python decides.

https://www.iana.org/assignments/iana-ipv4-special-registry
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

_NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host, unspecified
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own
        "127.0.0.0/8",
        # The platform behind every machine on Azure: configuration and certificates.
        # https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
        "168.63.129.16/32",
        "169.254.0.0/16",  # link-local; identities of machines in clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
"""The only part of IPv6 that is given out. Loopback, mapped, site- and link-local, multicast
and all that is reserved lie outside."""
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4, which leads to any address of IPv4
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
"""How a network without IPv4 reaches it: the last 32 bits are the address (RFC 6052)."""
_LAST_32_BITS = 0xFFFFFFFF


def is_public(text: str) -> bool:
    """Whether an address, as a resolver answers it, is one of the public internet.

    What is no address is none.
    """
    address = _address(text)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    if address is None or address not in _GLOBAL_V6:
        return False
    return not any(address in network for network in _NOT_PUBLIC_V6)


def is_loopback(text: str) -> bool:
    """Whether an address stays on this machine."""
    address = _address(text)
    return address is not None and address.is_loopback


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that is reached in the end, by whatever it is wrapped in."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & _LAST_32_BITS)
    return address.ipv4_mapped or address
