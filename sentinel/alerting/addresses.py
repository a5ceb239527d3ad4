"""Which addresses a webhook may be sent to: those of the public internet, and those of networks that the operator allowed.

A URL may be written in a hundred ways, and a name may mean another address a second later. So this judges only the address a socket is
about to connect to. `ipaddress.is_global` is not enough: it holds for addresses that carry a private one inside (NAT64, 6to4), and for
multicast. What counts as public here follows IANA's special-purpose registries
(https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry).
"""

from collections.abc import Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network


class Standing(StrEnum):
    """What an address is to us."""

    ALLOWED = "allowed"
    """In a network that the operator named."""
    PUBLIC = "public"
    """On the public internet."""
    OTHER = "other"
    """Anything else: private, this machine, shared, reserved, a tunnel."""


_NOT_PUBLIC_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network; many systems connect to themselves
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; some clouds keep their metadata there
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, with the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

_UNICAST_6: Final = IPv6Network("2000::/3")
"""The only part of IPv6 that is given out for the public internet."""

_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, with Teredo, which carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "3fff::/20",  # documentation
    )
)

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""How hosts without IPv4 reach it: the last 32 bits are the IPv4 address."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks out of CIDR notation. Raises ValueError for what is none, or has bits set behind its prefix.

    >>> networks(["10.0.0.0/8", "::1/128"])
    (IPv4Network('10.0.0.0/8'), IPv6Network('::1/128'))
    """
    return tuple(ip_network(text) for text in texts)


def standing(text: str, allowed: Sequence[Network] = ()) -> Standing:
    """What an address is to us; a text that is no address is `OTHER`.

    An IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`) is judged as what it is, also against `allowed`.

    >>> [str(standing(text)) for text in ("93.184.215.14", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808")]
    ['public', 'other', 'other', 'public']
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return Standing.OTHER
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in allowed):
        return Standing.ALLOWED
    return Standing.PUBLIC if _is_public(address) else Standing.OTHER


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _NOT_PUBLIC_4)
    if address in _NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and address in _UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)
