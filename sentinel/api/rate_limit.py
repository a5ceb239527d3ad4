"""How often somebody may ask: token buckets by name, in bounded memory. Time comes in as an argument."""

import ipaddress
from collections import OrderedDict
from typing import Final

MOST_BUCKETS: Final = 10_000
"""Names remembered; beyond them the one that asked least recently is forgotten."""
_IPV6_NETWORK_BITS: Final = 64
"""Of an IPv6 address: whoever has one has the whole /64 it is in."""


class TokenBuckets:
    """A bucket of `burst` tokens a name, refilled at a steady rate; each request takes one.

    A bucket is kept as the time at which it will be full again (the generic cell rate algorithm), so a full one need not be kept.
    Forgetting a bucket under pressure fills it: somebody with that many names is not slowed down by a limit per name anyway.

    Args:
        rate_per_s: tokens a second; 0 = no limit.
        burst: tokens of a full bucket.
        most: names remembered, at least one.
    """

    def __init__(self, rate_per_s: float, burst: int, most: int = MOST_BUCKETS) -> None:
        self._seconds_per_token = 1.0 / rate_per_s if rate_per_s else 0.0
        self._capacity_s = self._seconds_per_token * burst
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, name: str, now_s: float) -> float:
        """Take a token.

        >>> buckets = TokenBuckets(rate_per_s=2.0, burst=1)
        >>> buckets.take("a", 0.0), buckets.take("a", 0.0), buckets.take("a", 0.5)
        (0.0, 0.5, 0.0)

        Args:
            name: whose bucket.
            now_s: monotonic time.

        Returns:
            0.0 when there was one; else the seconds until there is one, and nothing was taken.
        """
        if not self._seconds_per_token:
            return 0.0
        full_at = max(self._full_at.get(name, now_s), now_s) + self._seconds_per_token
        missing_s = full_at - now_s - self._capacity_s
        if missing_s > 1e-9:  # rounding must not cost a token
            return missing_s
        self._full_at[name] = full_at
        self._full_at.move_to_end(name)
        self._forget(now_s)
        return 0.0

    def _forget(self, now_s: float) -> None:
        """Drop what is full or too many, the longest unused first, at most two for each that comes in."""
        for _ in range(2):
            name, full_at = next(iter(self._full_at.items()))
            if full_at > now_s and len(self._full_at) <= self._most:
                return
            del self._full_at[name]


def peer_name(address: str | None) -> str:
    """Whose bucket a request of this address takes from, when nothing better is known of its sender.

    >>> peer_name("192.0.2.1"), peer_name("2001:db8:1:2:3::4"), peer_name("::ffff:192.0.2.1"), peer_name("fe80::1%eth0"), peer_name(None)
    ('192.0.2.1', '2001:db8:1:2::/64', '192.0.2.1', 'fe80::/64', 'unknown')

    Args:
        address: the socket's peer. What headers such as X-Forwarded-For say is never used: anybody can write them.
    """
    try:
        ip = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((ip, _IPV6_NETWORK_BITS), strict=False))
