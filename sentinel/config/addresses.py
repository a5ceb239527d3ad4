"""Addresses as they stand in a configuration: `host:port`, and whether they stay on this machine."""

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit


class Address(NamedTuple):
    """A host and a port; an empty host means every interface."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """The parts of `host:port`, `[ipv6]:port` or `:port`.

    >>> parse_address("[::1]:8080")
    Address(host='::1', port=8080)

    Raises:
        ValueError: it is no such text; the error does not quote it.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65_535:
        raise ValueError("not host:port")
    if not bracketed and (":" in host or any(character in host for character in "/@[] ")):
        raise ValueError("not host:port")
    if bracketed:
        host = str(ipaddress.IPv6Address(host[1:-1]))
    return Address(host, int(port))


def is_loopback(host: str) -> bool:
    """The host is this machine whatever the resolver says: an address of the loopback network, or `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_of_url(url: str) -> str:
    """The host of a URL that the schema accepted."""
    return urlsplit(url).hostname or ""
