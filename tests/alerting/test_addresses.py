"""Which addresses may be connected to."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.alerting.addresses import Standing, networks, standing

HOSTILE = [
    "0.0.0.0", "0.1.2.3",  # noqa: S104  addresses to refuse
    "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "64:ff9b:1::808:808",
    "100::1", "2001::1", "2001:0:7f00:1::", "2001:10::1", "2001:20::1", "2001:2::1", "2001:db8::1", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1",
    "ff02::1", "ff0e::1", "4000::1", "", "localhost", "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "１２７.0.0.1", "1.2.3",
    "[::1]", "1.1.1.1 ",
]  # fmt: skip

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1", "192.169.0.1",
    "198.17.0.1", "198.20.0.1", "223.255.255.255", "9.255.255.255", "11.0.0.1", "2606:4700:4700::1111", "2001:4860:4860::8888",
    "2a00:1450:4001::1", "2620:fe::fe", "2400:cb00::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2003::1", "2001:200::1",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_public_is_told(text: str) -> None:
    """Private, shared, reserved, multicast and tunnelled addresses, and texts that are no address, are not public."""
    assert standing(text) is Standing.OTHER


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is_not_refused(text: str) -> None:
    """Addresses of the public internet are, also right beside the special ranges, and as a host behind NAT64 sees them."""
    assert standing(text) is Standing.PUBLIC


@pytest.mark.parametrize(
    ("text", "network", "inside"),
    [
        ("10.1.2.3", "10.1.2.0/24", True),
        ("10.1.3.3", "10.1.2.0/24", False),
        ("::ffff:10.1.2.3", "10.1.2.0/24", True),
        ("127.0.0.1", "127.0.0.0/8", True),
        ("::1", "::1/128", True),
        ("::1", "127.0.0.0/8", False),
        ("64:ff9b::10.1.2.3", "10.1.2.0/24", False),
        ("64:ff9b::10.1.2.3", "64:ff9b::/96", True),
    ],
)
def test_only_the_named_network_is_let_through(text: str, network: str, inside: bool) -> None:
    """An address is allowed by the network it lies in, and by no other way to write it or to carry it."""
    assert (standing(text, networks([network])) is Standing.ALLOWED) == inside


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "ten", "", "10.0.0.0-10.0.0.9"])
def test_a_network_must_be_written_without_doubt(text: str) -> None:
    """Bits behind the prefix are a mistake, not a convenience."""
    with pytest.raises(ValueError, match=r".*"):
        networks([text])


@given(st.ip_addresses())
def test_nothing_the_standard_library_calls_private_is_public(address: IPv4Address | IPv6Address) -> None:
    """Ours is the stricter rule, for every address there is."""
    if standing(str(address)) is Standing.PUBLIC and not (address.version == 6 and str(address).startswith("64:ff9b:")):
        assert address.is_global
        assert not any([address.is_private, address.is_multicast, address.is_loopback, address.is_link_local, address.is_unspecified])


@given(st.ip_addresses(v=4))
def test_no_wrapping_makes_a_private_address_public(address: IPv4Address) -> None:
    """Mapped, compatible, NAT64, 6to4 and Teredo forms are never public when the address inside is not."""
    number = int(address)
    wrapped = [
        (0xFFFF << 32) | number,
        number,
        (0x64FF9B << 96) | number,
        (0x2002 << 112) | (number << 80),
        (0x20010000 << 96) | (number << 64),
    ]
    wrapped.append((0x20010000 << 96) | (number ^ 0xFFFFFFFF))
    for value in wrapped:
        if standing(str(address)) is not Standing.PUBLIC:
            assert standing(str(ip_address(value) if value >= 2**32 else IPv6Address(value))) is not Standing.PUBLIC
