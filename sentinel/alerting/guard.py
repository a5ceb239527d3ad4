"""The guard at the one place every connection of a webhook comes through: where its socket is made, after names were resolved."""

import errno
import socket
from collections.abc import Sequence

from aiohttp import AddrInfoType

from sentinel.alerting.addresses import Network, Standing, standing


class RefusedAddressError(PermissionError):
    """The address must not be connected to. It is an OSError, so that the client goes on to a name's next address; when it has tried
    them all it makes one error of several, of which only the number is sure to remain.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EPERM, reason)


class AddressGuard:
    """Makes sockets for `aiohttp.TCPConnector(socket_factory=...)`, or refuses to.

    It sees the very address that is connected to next, so neither a way to write it, nor a name that changes its meaning, nor an address
    that the resolver is never asked about gets past it. A connection that is kept alive was checked when it was made, and its other end
    cannot change.

    Args:
        allowed: networks that may be connected to besides public addresses.
        encrypted: TLS follows. Without it only `allowed` networks are connected to.
    """

    def __init__(self, allowed: Sequence[Network], *, encrypted: bool) -> None:
        self._allowed = tuple(allowed)
        self._encrypted = encrypted

    def __call__(self, addr_info: AddrInfoType) -> socket.socket:
        """A socket for that address. Raises RefusedAddressError with the cure."""
        family, kind, protocol, _, address = addr_info
        self.check(str(address[0]))
        return socket.socket(family, kind, protocol)

    def check(self, host: str) -> None:
        """Raise RefusedAddressError when this address must not be connected to."""
        place = standing(host, self._allowed)
        if place is Standing.ALLOWED or (place is Standing.PUBLIC and self._encrypted):
            return
        if place is Standing.PUBLIC:
            raise RefusedAddressError(f"{host} is a public address, and the URL begins with http://; use https://")
        raise RefusedAddressError(
            f"{host} is not a public address; if alerts shall go there, add its network to alerting.webhook.allowed_networks"
        )
