"""A connection to a host and port, and what its certificate says of its age."""

import asyncio
import os
import ssl
from dataclasses import dataclass
from errno import errorcode
from typing import Final

CONNECT_LIMIT_S: Final = 3.0
SOON_DAYS: Final = 14.0
"""A certificate that ends within this is told about."""
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Reached:
    """What a connection showed.

    Attributes:
        refusal: why there is none; None when there is.
        days_left: how long the server's certificate is valid, in days; None without TLS.
    """

    refusal: str | None = None
    days_left: float | None = None

    @property
    def ends_soon(self) -> bool:
        """Whether the certificate has to be renewed."""
        return self.days_left is not None and self.days_left < SOON_DAYS


async def reach(host: str, port: int, context: ssl.SSLContext | None, now_s: float, name: str | None = None) -> Reached:
    """Connect, shake hands, and hang up; nothing is sent.

    Args:
        host: where to.
        port: likewise.
        context: verifies certificate and name; None connects in plain text.
        now_s: the time that a certificate's age is counted from, seconds since the epoch.
        name: that the certificate has to carry; the host when None.
    """
    try:
        async with asyncio.timeout(CONNECT_LIMIT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name if context else None)
    except (OSError, ValueError) as error:
        return Reached(refusal=_reason(error))
    try:
        certificate = writer.get_extra_info("peercert")
        ends = certificate.get("notAfter") if certificate else None
        return Reached(days_left=(ssl.cert_time_to_seconds(ends) - now_s) / _DAY_S if ends else None)
    finally:
        writer.transport.abort()


def _reason(error: OSError | ValueError) -> str:
    """In the system's or the TLS library's words, without what was sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_LIMIT_S:g} s"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno is not None and error.errno in errorcode:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or type(error).__name__
