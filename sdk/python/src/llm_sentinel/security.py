"""Encryption and authentication, with the names and rules of the daemon's configuration."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


@dataclass(frozen=True, slots=True)
class Security:
    """How to reach the other side safely. Certificates and host names are always verified.

    Attributes:
        protocol: of the Kafka listener. When None: SASL_SSL with a username, SSL with a file, else PLAINTEXT. Over HTTP the URL says it.
        sasl_mechanism: with the SASL protocols, for example PLAIN or SCRAM-SHA-512.
        username, password: of the SASL user.
        ca_file: PEM file with the authorities to trust; the system's when None.
        cert_file, key_file: PEM files with the client's certificate and key.
        insecure: send a password or an API key unencrypted to a host that is not this one.
    """

    protocol: Protocol | None = None
    sasl_mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool = False

    def for_kafka(self, brokers: Sequence[str]) -> dict[str, object]:
        """Properties of the Kafka client. Raises ValueError for settings that do not fit together or would show the password."""
        protocol = self.protocol or self._likely_protocol()
        options: dict[str, object] = {
            "security.protocol": protocol,
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.cert_file,
            "ssl.key.location": self.key_file,
        }
        if protocol.startswith("SASL"):
            if self.username is None or self.password is None:
                raise ValueError(f"{protocol} needs Security(username=..., password=...)")
            options |= {"sasl.mechanism": self.sasl_mechanism, "sasl.username": self.username, "sasl.password": self.password}
        elif self.username is not None:
            raise ValueError(f"a username needs a SASL protocol, not {protocol}: leave protocol out for SASL_SSL")
        if protocol == "SASL_PLAINTEXT":
            self.require_private("the password", [broker.rpartition(":")[0] for broker in brokers])
        return {name: value for name, value in options.items() if value is not None}

    def require_private(self, what: str, hosts: Sequence[str]) -> None:
        """Raise ValueError if a secret would travel unencrypted beyond this host, unless that is wanted."""
        outside = [host for host in hosts if not _is_loopback(host)]
        if outside and not self.insecure:
            raise ValueError(f"{what} would be sent unencrypted to {outside[0]}: use TLS, or accept it with Security(insecure=True)")

    def _likely_protocol(self) -> Protocol:
        if self.username is not None:
            return "SASL_SSL"
        return "SSL" if self.ca_file or self.cert_file else "PLAINTEXT"


def _is_loopback(host: str) -> bool:
    """Whether a host is this one by its name alone; nothing is resolved.

    >>> [_is_loopback(host) for host in ("localhost", "127.0.0.1", "[::1]", "kafka", "127.0.0.1.example.com")]
    [True, True, True, False, False]
    """
    host = host.strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
