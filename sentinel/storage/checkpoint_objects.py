"""Checkpoints in a bucket of S3, or of what speaks like it: one object a blob, whole or not there.

A key stays readable as the name of its object. What a name must not hold becomes `=` and two hex digits, and so no key leaves the prefix.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from sentinel.config.sections_state import SharedCheckpoints
from sentinel.core.errors import RetryableError, StartupError

if TYPE_CHECKING:
    from obstore.store import S3Store

MAX_NAME_BYTES: Final = 1_024
"""What S3 allows."""

_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._-]")
_HEX: Final = re.compile(rb"=([0-9A-F]{2})")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CURES: Final = {
    "400": "see state.checkpoints.region",
    "401": "see access_key_id and secret_access_key of state.checkpoints",
    "403": "see that these credentials may read, write, list and delete there",
    "404": "create the bucket, or correct state.checkpoints.url",
}


class ObjectCheckpoints:
    """`CheckpointStore` in a bucket, below a prefix.

    Every request ends within `timeout_secs`. None is repeated here: saving comes again with the next interval, restoring is repeated by
    who asked for it. What the server or the client say is never quoted; it may hold parts of credentials.

    Args:
        section: bucket, server and credentials.

    Raises:
        StartupError: the client is not installed.
    """

    def __init__(self, section: SharedCheckpoints) -> None:
        try:
            import obstore  # noqa: PLC0415  an extra
        except ImportError:
            raise StartupError("state.checkpoints.url names a bucket and its client is missing: pip install llm-sentinel[s3]") from None
        self._client: Any = obstore
        self._place = section.url or ""
        self._prefix = urlsplit(self._place).path.strip("/")
        self._section = section
        self._store: S3Store = _bucket(section)

    def put(self, key: str, blob: bytes) -> None:
        """Keep a blob, in one request. Raises RetryableError with place and cure."""
        name = self._name(key)
        with self._failures("write to"):
            self._client.put(self._store, name, blob, use_multipart=False)

    def get(self, key: str) -> bytes | None:
        """The blob; None when there is none of this key. Raises RetryableError with place and cure."""
        name = self._name(key)
        with self._failures("read from"):
            try:
                return bytes(self._client.get(self._store, name).bytes())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def list(self, prefix: str) -> Sequence[str]:
        """Keys that start with `prefix`, sorted. Asks for the folder it names. Raises RetryableError with place and cure."""
        folder = _encoded(prefix.rpartition("/")[0])
        at = len(self._prefix) + 1 if self._prefix else 0
        with self._failures("list"):
            pages = self._client.list(self._store, "/".join(filter(None, (self._prefix, folder))) or None)
            names = [str(entry["path"])[at:] for page in pages for entry in page]
        keys = ((name, _decoded(name)) for name in names)
        return sorted(key for name, key in keys if key.startswith(prefix) and key and _encoded(key) == name)

    def delete(self, key: str) -> None:
        """Remove a blob; a missing key is no error. Raises RetryableError with place and cure."""
        name = self._name(key)
        with self._failures("delete from"):
            self._client.delete(self._store, name)

    def _name(self, key: str) -> str:
        if not key:
            raise ValueError("a checkpoint needs a key")
        name = "/".join(filter(None, (self._prefix, _encoded(key))))
        if len(name) > MAX_NAME_BYTES:
            raise RetryableError(
                f"cannot use the checkpoint store {self._place}: an object's name would have {len(name)} bytes, "
                f"more than {MAX_NAME_BYTES}; "
                "shorten the prefix in state.checkpoints.url, or ingestion.kafka.group_id"
            )
        return name

    @contextmanager
    def _failures(self, doing: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  the client raises types of several modules; none of its texts is passed on
            what, cure = self._in_our_words(error)
            # `from None`: the client's texts quote requests and answers.
            raise RetryableError(f"cannot {doing} the checkpoint store {self._place}: {what}; {cure}") from None

    def _in_our_words(self, error: Exception) -> tuple[str, str]:
        text = str(error)
        if (found := _STATUS.search(text)) is not None:
            status = found[1]
            return f"the server answered {status}", _CURES.get(status, "it will be tried again")
        where = f"see state.checkpoints.endpoint ({self._section.endpoint or 'that of AWS'}), the network, and that the server runs"
        if "kind: Timeout" in text or "operation timed out" in text:
            return f"no answer within {self._section.timeout_secs:g} s", where
        if "kind: Connect" in text:
            return "nobody answers", where
        return f"the request failed ({type(error).__name__})", where


def _bucket(section: SharedCheckpoints) -> "S3Store":
    """The client of the bucket. Connects to nothing yet."""
    from obstore.store import S3Store  # noqa: PLC0415  an extra

    limit = timedelta(seconds=section.timeout_secs)
    given: dict[str, Any] = {"region": section.region}
    if section.endpoint is not None:
        given["endpoint"] = section.endpoint
    if section.access_key_id is not None and section.secret_access_key is not None:
        given |= {"access_key_id": section.access_key_id, "secret_access_key": section.secret_access_key.reveal()}
    return S3Store(
        urlsplit(section.url or "").hostname,
        client_options={
            "allow_http": (section.endpoint or "").startswith("http://"),
            "timeout": limit,
            "connect_timeout": limit,
        },
        retry_config={"max_retries": 0, "retry_timeout": limit},
        **given,
    )


def _encoded(key: str) -> str:
    """The name of a key's object.

    >>> _encoded("llm.telemetry/0/00042-3f2a.ckpt")
    'llm.telemetry/0/00042-3f2a.ckpt'
    >>> _encoded("../a b//c=")
    '=2E=2E/a=20b/=/c=3D'
    """
    return "/".join(map(_segment, key.split("/"))) if key else ""


def _segment(text: str) -> str:
    if not text:
        return "="
    if not text.strip("."):
        return "=2E" * len(text)
    raw = text.encode(errors="surrogatepass")
    return _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], raw).decode("ascii")


def _decoded(name: str) -> str:
    """The key of an object; of a foreign one a text that has another name."""
    raw = name.encode(errors="replace")
    parts = (b"" if part == b"=" else _HEX.sub(lambda found: bytes([int(found[1], 16)]), part) for part in raw.split(b"/"))
    try:
        return b"/".join(parts).decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return ""
