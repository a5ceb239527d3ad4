"""What is kept of an event besides its columns, as one JSON object: links, further numbers, errors, lengths and hashes of texts, metadata;
the texts themselves only where the configuration keeps them.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sentinel.config.schema import Parsing, Privacy, Validation
from sentinel.ingestion.identifiers import Identifiers
from sentinel.ingestion.metadata import MetadataRules, error_text, short_error
from sentinel.ingestion.noticed import Noticed
from sentinel.ingestion.wire import Extra, WireEvent

MAX_ERROR_CHARS: Final = 1_000
MAX_ERRORS: Final = 16

NUMBERS: Final = (
    "cached_tokens", "cache_write_tokens", "reasoning_tokens", "memory_used_bytes", "image_count", "audio_count", "video_count",
    "audio_seconds", "video_seconds",
)  # fmt: skip
REST: Final = (
    *NUMBERS, "prompt_text", "response_text", "prompt_length", "response_length", "prompt_hash", "response_hash",
    "error", "errors", "metadata",
)  # fmt: skip
"""The fields that make an event more than its columns and identifiers."""

_MAX_LENGTH: Final = 1 << 53


class Extras:
    """The rules for everything that is rarer than identifiers.

    Args:
        parsing, validation, privacy: as for `Sanitizer`.
        identifiers: the rules for ids.
    """

    def __init__(self, parsing: Parsing, validation: Validation, privacy: Privacy, identifiers: Identifiers) -> None:
        self._keep_text = privacy.capture == "redacted" and parsing.enable_sanitization
        self._scan_text = validation.enable_pii_detection
        self._keep_errors = parsing.enable_sanitization
        self._max_text_chars = parsing.max_text_length
        self._identifiers = identifiers
        self._redactor = identifiers.redactor
        self._metadata = MetadataRules(identifiers.redactor, identifiers.pseudonym, keep_text=self._keep_text)
        self._encode = msgspec.json.Encoder().encode

    def of(self, event: WireEvent, links: Sequence[Any], at: int, noticed: Noticed, *, failed: bool) -> bytes:
        """The object of one event.

        Args:
            event: its numbers, texts, errors and metadata.
            links: the clean user_id, session_id, request_id, trace_id, span_id and parent_span_id.
            at: position of the event in its batch.
            noticed: gets what was found and changed.
            failed: whether the event counts as an error.
        """
        extra = Extra(*links)
        for name in NUMBERS:
            number = getattr(event, name)
            if number is not None:
                setattr(extra, name, number)
        self._fill_errors(extra, event, at, noticed, failed=failed)
        self._fill_texts(extra, event, at, noticed)
        if event.metadata:
            kept, trimmed, cleaned = self._metadata.kept(event.metadata, noticed.counts)
            extra.metadata = kept or None
            noticed.trimmed += [at] * trimmed
            noticed.cleaned += [at] * cleaned
        return self._encode(extra)

    def _fill_errors(self, extra: Extra, event: WireEvent, at: int, noticed: Noticed, *, failed: bool) -> None:
        if event.error:  # False and 0 say that there was none
            extra.error = self._error(at, event.error, noticed)
        if event.errors:
            errors = [text for text in (self._error(at, error, noticed) for error in event.errors[:MAX_ERRORS]) if text is not None]
            extra.errors = errors or None
        if failed and extra.error is None and extra.errors is None and isinstance(event.status, str):
            extra.error = self._error(at, event.status, noticed)

    def _fill_texts(self, extra: Extra, event: WireEvent, at: int, noticed: Noticed) -> None:
        extra.prompt_length, extra.prompt_hash = self._told(
            event.prompt_text, event.prompt_length, self._digest(event.prompt_hash, noticed)
        )
        extra.response_length, extra.response_hash = self._told(
            event.response_text, event.response_length, self._digest(event.response_hash, noticed)
        )
        found = sum(noticed.counts.values())
        if event.prompt_text is not None:
            extra.prompt_text = self._text(at, event.prompt_text, noticed)
        if event.response_text is not None:
            extra.response_text = self._text(at, event.response_text, noticed)
        if sum(noticed.counts.values()) > found:
            noticed.personal.append(at)

    def _digest(self, digest: str | None, noticed: Noticed) -> str | None:
        """A hash the producer gave; it is free text until looked at."""
        return None if digest is None else self._identifiers.link(digest, noticed.counts)

    def _told(self, text: str | None, length: int | None, digest: str | None) -> tuple[int | None, str | None]:
        """Length in characters and keyed hash of a text. Those the producer gave stay: it saw the text before any redaction."""
        given = length if length is not None and 0 <= length < _MAX_LENGTH else None
        if text is None:
            return given, digest
        return (len(text), self._identifiers.hash(text)) if given is None or digest is None else (given, digest)

    def _text(self, at: int, text: str, noticed: Noticed) -> str | None:
        if len(text) > self._max_text_chars:
            noticed.truncated.append(at)
        if not self._keep_text:
            if self._scan_text:
                self._redactor.count(text[: self._max_text_chars], noticed.counts)
            return None
        if len(text) > self._max_text_chars:
            text = self._redactor.cut(text, self._max_text_chars)
        clean, cleaned = self._redactor.text(text, noticed.counts)
        noticed.cleaned += [at] * cleaned
        return clean

    def _error(self, at: int, error: object, noticed: Noticed) -> str | None:
        """The text of an error; without sanitizing only a short type."""
        text = error_text(error) if self._keep_errors else short_error(error)
        if not text:
            return None
        if len(text) > MAX_ERROR_CHARS:
            text = self._redactor.cut(text, MAX_ERROR_CHARS)
        clean, cleaned = self._redactor.text(text, noticed.counts)
        noticed.cleaned += [at] * cleaned
        return clean if self._keep_errors or clean == text else None
