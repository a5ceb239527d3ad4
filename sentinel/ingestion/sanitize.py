"""The step after which nothing raw is left: an `EventBatch` goes in, a `CleanBatch` comes out.

Most events hold identifiers only, and most batches hold none that needs a second look: one pass of an automaton over all identifiers of a
batch tells so. Texts are searched only where there are any; metadata and errors likewise.
"""

import hashlib
import hmac
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any, Final, cast

import msgspec
import numpy as np

from sentinel.config.schema import DeadLetters, Parsing, Privacy, Validation
from sentinel.core.batch import CleanBatch, DeadLetter, EventBatch, Flag, Int32, PartitionId, Reject, SeriesKey
from sentinel.core.metrics import ERROR
from sentinel.ingestion.metadata import MetadataRules, error_text, short_error
from sentinel.ingestion.patterns import configured
from sentinel.ingestion.raw_record import RawRecord
from sentinel.ingestion.redact import Counts, Redactor, encoded
from sentinel.ingestion.wire import Extra, WireEvent

MAX_IDENTIFIER_CHARS: Final = 128
MAX_ERROR_CHARS: Final = 1_000
MAX_ERRORS: Final = 16
CACHE_ENTRIES: Final = 65_536
"""Pseudonyms, names and dimensions remembered; beyond it the memory starts anew."""

GATED_EVENTS: Final = 64
"""Events whose identifiers are looked at together; so many need a second look when one of them does."""

UNNAMED: Final = "__unnamed__"
"""Takes the place of a name that held nothing printable."""

_LINKS: Final = ("session_id", "request_id", "trace_id", "span_id", "parent_span_id")
_DIMENSIONS: Final = ("provider", "operation", "environment", "region", "finish_reason", "prompt_version")
_TRACE: Final = 2
_FIRST_DIMENSION: Final = 5
_EVENT: Final = 11
_LINKING: Final = frozenset((*range(len(_LINKS)), _EVENT))
_Name = str | None
_Row = tuple[_Name, _Name, _Name, _Name, _Name, _Name, _Name, _Name, _Name, _Name, _Name, _Name]
_NUMBERS: Final = (
    "cached_tokens", "cache_write_tokens", "reasoning_tokens", "memory_used_bytes", "image_count", "audio_count", "video_count",
    "audio_seconds", "video_seconds",
)  # fmt: skip
_TEXTS: Final = ("prompt_text", "response_text", "prompt_length", "response_length", "prompt_hash", "response_hash")
_REST: Final = (*_NUMBERS, *_TEXTS, "error", "errors", "metadata")


_PICK_IDENTIFIERS: Final = attrgetter(*_LINKS, *_DIMENSIONS, "event_id")
_PICK_REST: Final = attrgetter(*_REST)
_NO_NUMBERS: Final = (None,) * len(_NUMBERS)
_NO_REST: Final = (None,) * len(_REST)
_MAX_LENGTH: Final = 1 << 53


class _Linked(msgspec.Struct, gc=False, omit_defaults=True):
    """The first fields of `Extra`: those that differ from event to event."""

    user_id: _Name = None
    session_id: _Name = None
    request_id: _Name = None
    trace_id: _Name = None
    span_id: _Name = None
    parent_span_id: _Name = None


def pseudonym(key: bytes, user_id: str) -> str:
    """The keyed one-way name of a user: `p1_` and 26 characters of base32 of the HMAC-SHA256. A pseudonym stays as it is.

    >>> pseudonym(b"a key of the installation", "alice")
    'p1_4boesr3vcr6cwjtqckn7p2nazo'
    """
    if is_pseudonym(user_id):
        return user_id
    digest = hmac.digest(key, encoded(user_id), "sha256")
    return "p1_" + b32encode(digest[:20])[:26].decode().lower()


def is_pseudonym(text: str) -> bool:
    """Whether a text has exactly the form of a pseudonym."""
    return len(text) == 29 and text.startswith("p1_") and not text[3:].strip("abcdefghijklmnopqrstuvwxyz234567")


@dataclass(slots=True)
class _Noticed:
    """What sanitizing one batch brought to light."""

    counts: Counts = field(default_factory=dict)
    cleaned: list[int] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)
    trimmed: list[int] = field(default_factory=list)

    def flagged(self, flags: Int32) -> Int32:
        """The batch's flags with what was noticed."""
        marked = flags.copy()
        for events, flag in ((self.cleaned, Flag.CLEANED), (self.truncated, Flag.TEXT_TRUNCATED), (self.trimmed, Flag.METADATA_TRIMMED)):
            if events:
                marked[events] |= int(flag)
        return marked


class Sanitizer:
    """Takes personal data and secrets out of batches and rejects. Built once; its methods are pure but for three bounded caches.

    Args:
        parsing: `max_text_length`, `sanitize_patterns`; with `enable_sanitization` false no text is kept at all.
        validation: `enable_pii_detection`: count findings in texts that are not kept, too.
        privacy: `capture`: whether redacted texts are kept.
        dead_letters: `max_record_chars`.
        pseudonym_key: secret of the installation; the same key gives the same pseudonyms and text hashes.

    Raises:
        ValueError: a configured pattern cannot be used, or the key is empty; the message names the cure.
    """

    def __init__(self, parsing: Parsing, validation: Validation, privacy: Privacy, dead_letters: DeadLetters, pseudonym_key: bytes) -> None:
        if not pseudonym_key:
            raise ValueError("privacy.pseudonym_key is empty; set it or privacy.pseudonym_key_file to a secret of at least 32 bytes")
        self._keep_text = privacy.capture == "redacted" and parsing.enable_sanitization
        self._scan_text = validation.enable_pii_detection
        self._keep_errors = parsing.enable_sanitization
        self._max_text_chars = parsing.max_text_length
        self._key = pseudonym_key
        self._hash_key = hmac.digest(pseudonym_key, b"text hash", "sha256")
        self._redactor = Redactor(configured(parsing.sanitize_patterns))
        self._metadata = MetadataRules(self._redactor, self._pseudonym, keep_text=self._keep_text)
        self._raw = RawRecord(lambda text: self.text(text)[0], dead_letters.max_record_chars)
        self._dimensions: dict[tuple[_Name, ...], bytes] = {}
        self._pseudonyms: dict[str | int, str] = {}
        self._names: dict[SeriesKey, tuple[SeriesKey, Counts]] = {}
        self._encode = msgspec.json.Encoder().encode

    def text(self, text: str) -> tuple[str, dict[str, int]]:
        """The redacted text, `[EMAIL]` for an address, and how often each type was found. Linear in the length of the text."""
        counts: Counts = {}
        return self._redactor.text(text, counts)[0], counts

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """What would be redacted in a text, as spans in characters with their types."""
        return self._redactor.find(text)

    def reject(self, source: PartitionId, received_ns: int, reject: Reject) -> DeadLetter:
        """The reject without texts, people and secrets, as one printable line of at most `max_record_chars` characters."""
        return DeadLetter(
            source=source,
            offset=reject.offset,
            sub=reject.sub,
            index=reject.index,
            code=reject.code,
            detail=self.text(reject.detail)[0],
            received_ns=received_ns,
            record=self._raw.text(reject.raw),
            record_bytes=len(reject.raw or b""),
        )

    def batch(self, batch: EventBatch) -> CleanBatch:
        """The batch without personal data and secrets; texts only where the configuration keeps them.

        A plain event costs about two microseconds, a text of 1,500 characters about eight more, three of them for its hash.
        """
        noticed = _Noticed()
        names, series = self._series(batch, noticed)
        rows = self._identifiers(batch.wire, noticed)
        extra = self._extras(batch, rows, noticed)
        return CleanBatch(
            source=batch.source,
            received_ns=batch.received_ns,
            index=batch.index,
            offsets=batch.offsets,
            subs=batch.subs,
            ts_ns=batch.ts_ns,
            log_ns=batch.log_ns,
            names=names,
            series=series,
            metrics=batch.metrics,
            flags=noticed.flagged(batch.flags),
            dialects=batch.dialects,
            event_ids=[row[_EVENT] for row in rows],
            trace_ids=[row[_TRACE] for row in rows],
            extra=extra,
            findings=noticed.counts,
        )

    # ------------------------------------------------------------------------------------------------------------------ names

    def _series(self, batch: EventBatch, noticed: _Noticed) -> tuple[tuple[SeriesKey, ...], Int32]:
        """Clean names and each event's index into them; names that have become equal are one."""
        clean = [self._name(name) for name in batch.names]
        changed = [at for at, name in enumerate(batch.names) if clean[at][0] != name]
        if not changed:
            return batch.names, batch.series
        per_series = np.bincount(batch.series, minlength=len(clean)).tolist()
        for at in changed:
            for kind, count in clean[at][1].items():
                noticed.counts[kind] = noticed.counts.get(kind, 0) + count * per_series[at]
        noticed.cleaned += np.flatnonzero(np.isin(batch.series, changed)).tolist()
        names = tuple(dict.fromkeys(name for name, _ in clean))
        position = {name: at for at, name in enumerate(names)}
        remap = np.array([position[name] for name, _ in clean], dtype=np.int32)
        return names, remap[batch.series]

    def _name(self, name: SeriesKey) -> tuple[SeriesKey, Counts]:
        known = self._names.get(name)
        if known is None:
            counts: Counts = {}
            clean = SeriesKey(*(self._redactor.identifier(part, counts)[:MAX_IDENTIFIER_CHARS].strip() or UNNAMED for part in name))
            known = (clean, counts)
            if len(self._names) >= CACHE_ENTRIES:
                self._names.clear()
            self._names[name] = known
        return known

    # ------------------------------------------------------------------------------------------------------------ identifiers

    def _identifiers(self, wire: Sequence[WireEvent], noticed: _Noticed) -> list[_Row]:
        """The identifiers of each event, clean. One look at those of many events tells whether each needs its own."""
        rows: list[Any] = list(map(_PICK_IDENTIFIERS, wire))
        for at in range(0, len(rows), GATED_EVENTS):
            if self._suspect(rows[at : at + GATED_EVENTS]):
                rows[at : at + GATED_EVENTS] = [self._clean_row(i, row, noticed) for i, row in enumerate(rows[at : at + GATED_EVENTS], at)]
        return rows

    def _suspect(self, rows: list[_Row]) -> bool:
        """Whether an identifier of these events is too long, a number, empty or not clean."""
        flat = list(chain.from_iterable(rows))
        present = list(filter(None, flat))
        try:
            found = self._redactor.suspect_identifiers(present)
        except TypeError:  # a number
            return True
        return found or max(map(len, present), default=0) > MAX_IDENTIFIER_CHARS or len(present) + flat.count(None) != len(flat)

    def _clean_row(self, i: int, row: _Row, noticed: _Noticed) -> _Row:
        clean: Any = tuple(None if value is None else self._identifier(at, str(value), noticed.counts) for at, value in enumerate(row))
        if any(after is not None and after != str(before) for before, after in zip(row, clean, strict=True)):
            noticed.cleaned.append(i)
        return cast("_Row", clean)

    def _identifier(self, at: int, value: str, counts: Counts) -> str:
        """A clean identifier. One that links events and had to change gets a keyed hash, so that two of them stay two."""
        clean = self._redactor.identifier(value, counts)
        if len(clean) > MAX_IDENTIFIER_CHARS:
            clean = self._redactor.identifier(self._redactor.cut(value, MAX_IDENTIFIER_CHARS), counts)[:MAX_IDENTIFIER_CHARS]
        if clean == value or at not in _LINKING:
            return clean
        return f"{clean[: MAX_IDENTIFIER_CHARS - 17]}~{self._hash(value)[:16]}"

    def _pseudonym(self, user_id: str | int) -> str:
        known = self._pseudonyms.get(user_id)
        if known is None:
            known = pseudonym(self._key, str(user_id))
            if len(self._pseudonyms) >= CACHE_ENTRIES:
                self._pseudonyms.clear()
            self._pseudonyms[user_id] = known
        return known

    def _hash(self, text: str) -> str:
        return hashlib.blake2b(encoded(text), digest_size=16, key=self._hash_key).hexdigest()

    # ------------------------------------------------------------------------------------------------------------------ extra

    def _extras(self, batch: EventBatch, rows: list[_Row], noticed: _Noticed) -> list[bytes | None]:
        """Everything that is kept of each event besides its columns, as JSON; None when there is nothing."""
        failed = (batch.metrics[:, ERROR] > 0).tolist()
        rests = list(map(_PICK_REST, batch.wire))
        return [
            self._short(event.user_id, row)
            if rest == _NO_REST and not failed[i]
            else self._full(event, row, rest, i, noticed, failed=failed[i])
            for i, (event, row, rest) in enumerate(zip(batch.wire, rows, rests, strict=True))
        ]

    def _short(self, user_id: str | int | None, row: _Row) -> bytes | None:
        """The object of an event with identifiers only; the JSON of its dimensions, the same for many events, is remembered."""
        links = self._encode(_Linked(None if user_id is None or user_id == "" else self._pseudonym(user_id), *row[:_FIRST_DIMENSION]))
        dimensions = self._dimensions.get(row[_FIRST_DIMENSION:_EVENT])
        if dimensions is None:
            dimensions = self._remember_dimensions(row)
        if not dimensions:
            return None if links == b"{}" else links
        return b"{" + dimensions if links == b"{}" else links[:-1] + b"," + dimensions

    def _remember_dimensions(self, row: _Row) -> bytes:
        alone = Extra()
        for name, value in zip(_DIMENSIONS, row[_FIRST_DIMENSION:_EVENT], strict=True):
            setattr(alone, name, value)
        dimensions = self._encode(alone)[1:]
        if len(self._dimensions) >= CACHE_ENTRIES:
            self._dimensions.clear()
        self._dimensions[row[_FIRST_DIMENSION:_EVENT]] = dimensions = b"" if dimensions == b"}" else dimensions
        return dimensions

    def _full(self, event: WireEvent, row: _Row, rest: tuple[Any, ...], i: int, noticed: _Noticed, *, failed: bool) -> bytes | None:
        """The object of any event."""
        user_id = event.user_id
        extra = Extra(None if user_id is None or user_id == "" else self._pseudonym(user_id), *row[:11])
        if rest[: len(_NUMBERS)] != _NO_NUMBERS:
            for name, number in zip(_NUMBERS, rest, strict=False):
                setattr(extra, name, number)
        self._fill(extra, i, event, noticed, failed=failed)
        encoded_extra = self._encode(extra)
        return None if encoded_extra == b"{}" else encoded_extra

    def _fill(self, extra: Extra, i: int, event: WireEvent, noticed: _Noticed, *, failed: bool) -> None:
        """Everything of an event that is rarer than identifiers."""
        if event.error is not None:
            extra.error = self._error(i, event.error, noticed)
        if event.errors:
            errors = [text for text in (self._error(i, error, noticed) for error in event.errors[:MAX_ERRORS]) if text is not None]
            extra.errors = errors or None
        if failed and extra.error is None and extra.errors is None and isinstance(event.status, str):
            extra.error = self._error(i, event.status, noticed)
        extra.prompt_length, extra.prompt_hash = self._told(
            event.prompt_text, event.prompt_length, self._digest(event.prompt_hash, noticed)
        )
        extra.response_length, extra.response_hash = self._told(
            event.response_text, event.response_length, self._digest(event.response_hash, noticed)
        )
        if event.prompt_text is not None:
            extra.prompt_text = self._text(i, event.prompt_text, noticed)
        if event.response_text is not None:
            extra.response_text = self._text(i, event.response_text, noticed)
        if event.metadata:
            kept, trimmed, cleaned = self._metadata.kept(event.metadata, noticed.counts)
            extra.metadata = kept or None
            noticed.trimmed += [i] * trimmed
            noticed.cleaned += [i] * cleaned

    def _digest(self, digest: str | None, noticed: _Noticed) -> str | None:
        """A hash the producer gave; it is free text until looked at."""
        return None if digest is None else self._identifier(_EVENT, digest, noticed.counts)

    def _told(self, text: str | None, length: int | None, digest: str | None) -> tuple[int | None, str | None]:
        """Length in characters and keyed hash of a text. Those the producer gave stay: it saw the text before any redaction."""
        given = length if length is not None and 0 <= length < _MAX_LENGTH else None
        if text is None:
            return given, digest
        return (len(text), self._hash(text)) if given is None or digest is None else (given, digest)

    def _text(self, i: int, text: str, noticed: _Noticed) -> str | None:
        if len(text) > self._max_text_chars:
            noticed.truncated.append(i)
        if not self._keep_text:
            if self._scan_text:
                self._redactor.count(text[: self._max_text_chars], noticed.counts)
            return None
        if len(text) > self._max_text_chars:
            text = self._redactor.cut(text, self._max_text_chars)
        clean, cleaned = self._redactor.text(text, noticed.counts)
        noticed.cleaned += [i] * cleaned
        return clean

    def _error(self, i: int, error: object, noticed: _Noticed) -> str | None:
        """The text of an error; without sanitizing only a short type."""
        text = error_text(error) if self._keep_errors else short_error(error)
        if not text:
            return None
        if len(text) > MAX_ERROR_CHARS:
            text = self._redactor.cut(text, MAX_ERROR_CHARS)
        clean, cleaned = self._redactor.text(text, noticed.counts)
        noticed.cleaned += [i] * cleaned
        return clean if self._keep_errors or clean == text else None
