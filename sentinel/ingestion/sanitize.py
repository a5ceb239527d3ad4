"""The step after which nothing raw is left: an `EventBatch` goes in, a `CleanBatch` comes out.

Most events hold identifiers only, and most batches hold none that needs a second look: one pass of an automaton over all identifiers of a
batch tells so. Texts are searched only where there are any; metadata and errors likewise.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import numpy as np

from sentinel.config.schema import DeadLetters, Parsing, Privacy, Validation
from sentinel.core.batch import Bool, CleanBatch, Dimensions, EventBatch, Int32, PartitionId
from sentinel.core.metrics import ERROR
from sentinel.core.reject import DeadLetter, Reject
from sentinel.ingestion.columns import Fields, take
from sentinel.ingestion.extras import REST, Extras
from sentinel.ingestion.identifiers import MAX_IDENTIFIER_CHARS, Identifiers, Name
from sentinel.ingestion.noticed import Noticed
from sentinel.ingestion.patterns import configured
from sentinel.ingestion.plain import Plain
from sentinel.ingestion.raw_record import RawRecord
from sentinel.ingestion.redact import Counts, Redactor
from sentinel.ingestion.wire import absent, transposed

GATED_EVENTS: Final = 64
"""Events whose identifiers are looked at together; so many need a second look when one of them does."""

LINKS: Final = ("session_id", "request_id", "trace_id", "span_id", "parent_span_id", "event_id")
_TRACE: Final = 2
_EVENT: Final = 5


class _Linked(msgspec.Struct, gc=False, omit_defaults=True):
    """The first fields of `Extra`: those that differ from event to event."""

    user_id: Name = None
    session_id: Name = None
    request_id: Name = None
    trace_id: Name = None
    span_id: Name = None
    parent_span_id: Name = None


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
        self._redactor = Redactor(configured(parsing.sanitize_patterns))
        self._identifiers = Identifiers(self._redactor, pseudonym_key)
        self._extras = Extras(parsing, validation, privacy, self._identifiers)
        self._raw = RawRecord(lambda text: self.text(text)[0], dead_letters.max_record_chars)
        self._lines = msgspec.json.Encoder().encode_lines

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

        A text of 1,500 characters costs about eight microseconds, three of them for its hash.
        """
        if not isinstance(batch.fields, Plain):
            return self._decoded(batch)
        suspect = self._suspect(batch.fields)
        if not suspect.any():
            return self._plain(batch, batch.fields)
        parts = [self._plain(kept, kept.fields)] if (kept := take(batch, np.logical_not(suspect))) is not None else []
        if (rest := take(batch, suspect)) is not None:
            wire = list(rest.wire)
            parts.append(self._decoded(replace(rest, wire=wire, fields=transposed(wire))))
        return CleanBatch.merged(parts)

    # ---------------------------------------------------------------------------------------------------------------- plain

    def _suspect(self, plain: Plain) -> Bool:
        """bool[n]: events whose identifiers need a second look, which they get as decoded ones."""
        texts, longest = plain.texts(LINKS, GATED_EVENTS)
        suspect = plain.longer(LINKS, MAX_IDENTIFIER_CHARS) if longest > MAX_IDENTIFIER_CHARS else np.zeros(len(plain), np.bool_)
        for block, text in enumerate(texts):
            if self._redactor.suspect_identifiers(text):
                suspect[block * GATED_EVENTS : (block + 1) * GATED_EVENTS] = True
        return suspect

    def _plain(self, batch: EventBatch, plain: Plain) -> CleanBatch:
        """Events whose identifiers are clean as they stand in their records."""
        noticed = Noticed()
        given, codes = plain.distinct(Dimensions._fields)
        dimension_sets, dimensions = self._identifiers.dimensions(given, codes, noticed)
        users, user = plain.distinct(("user_id",))
        names = [None if name is None else self._identifiers.pseudonym(name) for (name,) in users]
        extra: list[bytes | None] = plain.objects(LINKS[:_EVENT], names, user)
        failed = batch.metrics[:, ERROR] > 0
        busy = np.flatnonzero(plain.busy | failed).astype(np.int32)
        linked = zip([names[code] for code in user[busy].tolist()], *(plain.column(name, busy) for name in LINKS[:_EVENT]), strict=True)
        for at, event, links, bad in zip(busy.tolist(), plain.events(busy), linked, failed[busy].tolist(), strict=True):
            extra[at] = self._extras.of(event, links, at, noticed, failed=bad)
        ids = plain.column("event_id"), plain.lazy_column("trace_id")
        return self._clean(batch, noticed, (dimension_sets, dimensions), (tuple(names), user), *ids, extra)

    # -------------------------------------------------------------------------------------------------------------- decoded

    def _decoded(self, batch: EventBatch) -> CleanBatch:
        """Events of any kind."""
        noticed = Noticed()
        fields: Fields = batch.fields
        given: dict[tuple[Any, ...], int] = {}
        spelled = zip(*(fields[name] for name in Dimensions._fields), strict=True)
        codes = np.array([given.setdefault(values, len(given)) for values in spelled], np.int32)
        dimension_sets, dimensions = self._identifiers.dimensions(list(given), codes, noticed)
        links = self._links(fields, noticed)
        users = self._users(fields["user_id"])
        extra = self._objects(batch, users, links, noticed)
        return self._clean(batch, noticed, (dimension_sets, dimensions), _coded(users), links[_EVENT], links[_TRACE], extra)

    def _links(self, fields: Fields, noticed: Noticed) -> list[Sequence[Name]]:
        """The columns of LINKS, clean. One look at the identifiers of many events tells whether each needs its own."""
        links: list[Sequence[Any]] = [fields[name] for name in LINKS]
        given = [at for at, column in enumerate(links) if not absent(column)]
        for start in range(0, len(links[_EVENT]), GATED_EVENTS):
            block = slice(start, start + GATED_EVENTS)
            if self._identifiers.suspect([links[at][block] for at in given]):
                for at in given:
                    links[at] = self._clean_block(links[at], block, noticed)
        return links

    def _clean_block(self, column: Sequence[Any], block: slice, noticed: Noticed) -> list[Name]:
        clean = list(column)
        for at, value in enumerate(column[block], block.start):
            if value is not None:
                clean[at] = self._identifiers.link(str(value), noticed.counts)
                if clean[at] != str(value):
                    noticed.cleaned.append(at)
        return clean

    def _users(self, given: Sequence[Any]) -> list[Name]:
        """The pseudonym of each event's user."""
        known, pseudonym = self._identifiers.pseudonyms.get, self._identifiers.pseudonym
        return [None if user is None or user == "" else known(user) or pseudonym(user) for user in given]

    def _objects(self, batch: EventBatch, users: list[Name], links: list[Sequence[Name]], noticed: Noticed) -> list[bytes | None]:
        """Everything that is kept of each event besides its columns, as JSON; None when there is nothing."""
        # JSON has no raw line feed, so it can be split at them.
        extra: list[bytes | None] = [*self._lines(map(_Linked, users, *links[:_EVENT])).split(b"\n")[:-1]]
        failed = batch.metrics[:, ERROR] > 0
        for at in _busy(batch, failed):
            linked = [users[at], *(column[at] for column in links[:_EVENT])]
            extra[at] = self._extras.of(batch.wire[at], linked, at, noticed, failed=bool(failed[at]))
        return [None if given == b"{}" else given for given in extra]

    # ---------------------------------------------------------------------------------------------------------------- both

    def _clean(
        self,
        batch: EventBatch,
        noticed: Noticed,
        dimensions: tuple[tuple[Dimensions, ...], Int32],
        users: tuple[tuple[Name, ...], Int32],
        event_ids: Sequence[Name],
        trace_ids: Sequence[Name],
        extra: list[bytes | None],
    ) -> CleanBatch:
        names, series = self._identifiers.series(batch, noticed)
        personal = np.zeros(len(extra), np.bool_)
        personal[noticed.personal] = True
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
            dimension_sets=dimensions[0],
            dimensions=dimensions[1],
            users=users[0],
            user=users[1],
            personal=personal,
            event_ids=event_ids,
            trace_ids=trace_ids,
            extra=extra,
            findings=noticed.counts,
            sketches=batch.sketches,
        )


def _coded(names: Sequence[Name]) -> tuple[tuple[Name, ...], Int32]:
    """The distinct names, and the index of each in them."""
    number: dict[Name, int] = {}
    codes = np.array([number.setdefault(name, len(number)) for name in names], np.int32)
    return tuple(number), codes


def _busy(batch: EventBatch, failed: Bool) -> list[int]:
    """The events that have more than identifiers."""
    busy = set(np.flatnonzero(failed).tolist())
    for name in REST:
        column = batch.fields[name]
        if not absent(column):
            busy.update(at for at, value in enumerate(column) if value is not None)
    return sorted(busy)
