"""A dead letter as it lies in its file or topic, and what can be told from it alone."""

import re
from typing import Final

import msgspec

from sentinel.core.errors import RejectCode, SentinelError
from sentinel.core.timestamp import nanoseconds

_CHANGED: Final = re.compile(r"\[[A-Z_]+\]|\\|\ufffd")
"""What redaction and making a record readable leave behind: marks, escapes, and signs for bytes that are no text."""


class DeadLettersError(SentinelError):
    """Dead letters cannot be read, sent or deleted; the message names the place and the cure."""


class Letter(msgspec.Struct, frozen=True):
    """One dead letter, as `sentinel.ingestion.dead_letter.encode` wrote it. Codes of later versions are kept as they are."""

    code: str
    detail: str
    cluster: str
    topic: str
    partition: int
    offset: int
    sub: int
    received_at: str
    record: str
    record_bytes: int

    @property
    def log(self) -> str:
        """The log of its record, as everywhere: cluster, topic and partition."""
        return f"{self.cluster}/{self.topic}/{self.partition}"

    @property
    def id(self) -> str:
        """Where its event lies; the same for a letter that a crash has doubled."""
        return f"{self.log}/{self.offset}/{self.sub}"

    @property
    def received_ns(self) -> int:
        """When its record was received, in nanoseconds since the epoch."""
        return nanoseconds(self.received_at)

    @property
    def order(self) -> tuple[str, str, int, int, int]:
        """Sorts letters by log, offset and sub."""
        return self.cluster, self.topic, self.partition, self.offset, self.sub

    @property
    def incomplete(self) -> str | None:
        """Why the kept record is not the one that was received; None when it is, byte for byte.

        All that redaction leaves shorter or longer either leaves a mark, or changes the length.
        """
        if self.code == RejectCode.REFUSED_BY_STORE:
            return "it holds the point the store refused, not the event"
        if not self.record:
            return "it holds nothing of the record"
        if _CHANGED.search(self.record):
            return "it holds only a redacted form of the record"
        kept = len(self.record.encode("utf-8", "surrogatepass"))
        if kept != self.record_bytes:
            return f"it holds only {kept:,} of the record's {self.record_bytes:,} bytes, or others"
        return None


_decode: Final = msgspec.json.Decoder(Letter).decode


def read_letter(raw: bytes) -> Letter | None:
    """The letter in a line or record; None when there is none: a line that a crash cut off, or somebody else's."""
    try:
        letter = _decode(raw)
        # Checked once, here: what asks for the time later must not fail.
        _ = letter.received_ns
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None
    return letter
