"""The `state` section: the relational state, such as alerts, the outbox, keys and the audit log."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from sentinel.config.secret import Secret
from sentinel.config.section import Positive, Section, Url


def _postgresql(url: str) -> str:
    """The URL, when it names a PostgreSQL database and nothing else: every setting has a key of its own."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/") or parts.query or parts.fragment:
        raise PydanticCustomError("bad_url", "is not of the form postgresql://HOST:PORT/DATABASE")
    return url


class StateDatabase(Section):
    """The state database: one SQLite file, or PostgreSQL for several replicas."""

    path: str | None = None
    """SQLite file, used when `url` is absent; `state.db` in the state directory when absent."""
    url: Annotated[Url, AfterValidator(_postgresql)] | None = None
    """PostgreSQL as `postgresql://HOST:PORT/DATABASE`; needs the extra `postgres`."""
    username: str | None = None
    """PostgreSQL user."""
    password: Secret | None = None
    """PostgreSQL password."""
    password_file: str | None = None
    """File that holds the PostgreSQL password."""
    tls: Literal["verify", "off"] = "verify"
    """`verify` encrypts and checks certificate and host name, `off` sends everything in the clear."""
    insecure: bool = False
    """Accept `tls: off` for a server that is not on loopback."""
    ca_file: str | None = None
    """PEM file with the certificate authorities to trust; the system's when absent."""
    timeout_secs: Positive = 10.0
    """Time limit of one statement and of the wait for a lock, in seconds."""
