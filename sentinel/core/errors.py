"""What can go wrong, as types and codes."""

from enum import StrEnum


class RejectCode(StrEnum):
    """Why a record could not become an event. The codes are part of the public contract."""

    MALFORMED_JSON = "malformed_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    BAD_UTF8 = "bad_utf8"
    BAD_TIMESTAMP = "bad_timestamp"
    UNKNOWN_DIALECT = "unknown_dialect"
    TOMBSTONE = "tombstone"
    CONTROL_CHARACTER = "control_character"
    REFUSED_BY_STORE = "refused_by_store"


class SentinelError(Exception):
    """Base of all errors raised on purpose. The message names the place and the cure."""


class RetryableError(SentinelError):
    """The other side may accept the same write later.

    Attributes:
        after_s: how long it asked us to wait, in seconds; None when it did not say.
    """

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class CredentialsError(RetryableError):
    """The other side refuses who we are: a person has to mend it, and nothing is lost meanwhile."""


class PermanentError(SentinelError):
    """The same write will never be accepted."""


class StartupError(SentinelError):
    """The daemon cannot start; the message says why and what to do."""


class FullError(SentinelError):
    """A bounded queue has no room.

    Attributes:
        retry_after_s: estimated time until there is room, in seconds.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DrainError(SentinelError):
    """Told to stop, what was read could not be finished in time; it was not acked."""


class SnapshotError(SentinelError):
    """A checkpoint blob is damaged, foreign or of an unknown format; it must not be loaded."""
