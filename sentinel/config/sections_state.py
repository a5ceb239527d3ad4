"""The `state` section: the relational state, such as alerts, the outbox, keys and the audit log; and where detectors' state is shared."""

import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from sentinel.config.secret import Secret
from sentinel.config.section import Name, Positive, Section, Url


def _postgresql(url: str) -> str:
    """The URL, when it names a PostgreSQL database and nothing else: every setting has a key of its own."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/") or parts.query or parts.fragment:
        raise PydanticCustomError("bad_url", "is not of the form postgresql://HOST:PORT/DATABASE")
    return url


_BUCKET: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*/?")


def _s3(url: str) -> str:
    """The URL, when it names a bucket and a prefix that every store of objects takes as it is."""
    if not _BUCKET.fullmatch(url) or not all(part.strip(".") for part in url.removeprefix("s3://").rstrip("/").split("/")):
        raise PydanticCustomError("bad_url", "is not of the form s3://BUCKET/PREFIX, with letters, digits, dots, - and _")
    return url


class SharedCheckpoints(Section):
    """Where the detectors' state is saved when replicas share it: a bucket of S3, or of what speaks like it."""

    url: Annotated[str, AfterValidator(_s3)] | None = None
    """Bucket and prefix as `s3://BUCKET/PREFIX`; `detection.baseline.persistence_path` when absent; needs the extra `s3`."""
    endpoint: Url | None = None
    """The server, such as `https://minio.example.com:9000`; that of AWS for `region` when absent."""
    region: Name = "us-east-1"
    """Region of the bucket; requests are signed for it."""
    access_key_id: str | None = None
    """Access key id; what the environment or the machine's role gives when absent."""
    secret_access_key: Secret | None = None
    """Secret access key."""
    secret_access_key_file: str | None = None
    """File that holds the secret access key."""
    insecure: bool = False
    """Accept an `http://` endpoint that is not on loopback."""
    timeout_secs: Positive = 10.0
    """Time limit of one request, in seconds; it must be enough for the largest state."""


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
    checkpoints: SharedCheckpoints = SharedCheckpoints()
    """Where the detectors' state is saved, when not in a directory."""
