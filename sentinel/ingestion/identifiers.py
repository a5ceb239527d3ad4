"""Names and ids without personal data and secrets: series, dimensions, users, and the ids that link events.

Few of them are distinct, so clean ones are remembered; the ids that differ from event to event are looked at many at a time.
"""

import hashlib
import hmac
from base64 import b32encode
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from sentinel.core.batch import Dimensions, EventBatch, Int32, SeriesKey
from sentinel.ingestion.noticed import Noticed
from sentinel.ingestion.redact import Counts, Redactor, encoded

MAX_IDENTIFIER_CHARS: Final = 128
CACHE_ENTRIES: Final = 65_536
"""Pseudonyms, names and sets of dimensions remembered, none with a longer text; beyond it the memory starts anew."""

UNNAMED: Final = "__unnamed__"
"""Takes the place of a name that held nothing printable."""

Name = str | None


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


class Identifiers:
    """The rules for identifiers, with three bounded memories.

    Args:
        redactor: the patterns.
        key: secret of the installation, for pseudonyms and hashes.
    """

    def __init__(self, redactor: Redactor, key: bytes) -> None:
        self.redactor = redactor
        self.pseudonyms: dict[str | int, str] = {}
        self._key = key
        self._hash = hashlib.blake2b(digest_size=16, key=hmac.digest(key, b"text hash", "sha256"))
        self._sets: dict[tuple[Any, ...], tuple[Dimensions, Counts, bool]] = {}
        self._names: dict[SeriesKey, tuple[SeriesKey, Counts]] = {}

    # ----------------------------------------------------------------------------------------------------------- the few

    def series(self, batch: EventBatch, noticed: Noticed) -> tuple[tuple[SeriesKey, ...], Int32]:
        """Clean names and each event's index into them; names that have become equal are one."""
        clean = [self._name(name) for name in batch.names]
        changed = [at for at, name in enumerate(batch.names) if clean[at][0] != name]
        if not changed:
            return batch.names, batch.series
        per_series = np.bincount(batch.series, minlength=len(clean)).tolist()
        for at in changed:
            noticed.count(clean[at][1], per_series[at])
        noticed.cleaned += np.flatnonzero(np.isin(batch.series, changed)).tolist()
        names = tuple(dict.fromkeys(name for name, _ in clean))
        position = {name: at for at, name in enumerate(names)}
        remap = np.array([position[name] for name, _ in clean], dtype=np.int32)
        return names, remap[batch.series]

    def dimensions(
        self, given: Sequence[tuple[str | int | None, ...]], codes: Int32, noticed: Noticed
    ) -> tuple[tuple[Dimensions, ...], Int32]:
        """Clean sets of dimensions and each event's index into them; sets that have become equal are one.

        Args:
            given: the distinct sets as the producers gave them.
            codes: int32[n], index into them.
            noticed: gets what was found and changed.
        """
        number: dict[Dimensions, int] = {}
        remap = np.empty(len(given), np.int32)
        for code, values in enumerate(given):
            clean, counts, changed = self._set(values)
            remap[code] = number.setdefault(clean, len(number))
            if changed:
                events = np.flatnonzero(codes == code)
                noticed.cleaned += events.tolist()
                noticed.count(counts, len(events))
        return tuple(number), remap[codes]

    def pseudonym(self, user_id: str | int) -> str:
        """The pseudonym of a user."""
        known = self.pseudonyms.get(user_id)
        if known is None:
            text = str(user_id)
            known = pseudonym(self._key, text)
            if len(self.pseudonyms) >= CACHE_ENTRIES:
                self.pseudonyms.clear()
            if len(text) <= MAX_IDENTIFIER_CHARS:
                self.pseudonyms[user_id] = known
        return known

    def _name(self, name: SeriesKey) -> tuple[SeriesKey, Counts]:
        known = self._names.get(name)
        if known is None:
            counts: Counts = {}
            clean = SeriesKey(*(self.redactor.identifier(part, counts)[:MAX_IDENTIFIER_CHARS].strip() or UNNAMED for part in name))
            known = (clean, counts)
            if len(self._names) >= CACHE_ENTRIES:
                self._names.clear()
            self._names[name] = known
        return known

    def _set(self, values: tuple[str | int | None, ...]) -> tuple[Dimensions, Counts, bool]:
        """A clean set, what was found in it, and whether anything had to change."""
        known = self._sets.get(values)
        if known is None:
            counts: Counts = {}
            given = [None if value is None else str(value) for value in values]
            clean = Dimensions(*(None if value is None else self._short(value, counts) for value in given))
            known = (clean, counts, list(clean) != given)
            if len(self._sets) >= CACHE_ENTRIES:
                self._sets.clear()
            if max((len(value) for value in given if value is not None), default=0) <= MAX_IDENTIFIER_CHARS:
                self._sets[values] = known
        return known

    # ---------------------------------------------------------------------------------------------------------- the many

    def suspect(self, columns: Sequence[Sequence[Any]]) -> bool:
        """Whether an identifier in these columns of a few events is too long, a number or not clean."""
        present = [column if None not in column else [value for value in column if value is not None] for column in columns]
        try:
            text = " ".join([" ".join(column) for column in present])
        except TypeError:  # a number
            return True
        longest = max((max(map(len, column), default=0) for column in present), default=0)
        return longest > MAX_IDENTIFIER_CHARS or self.redactor.suspect_identifiers(encoded(text))

    def link(self, value: str, counts: Counts) -> str:
        """An id that links events. When it has to change it gets a keyed hash, so that two of them stay two."""
        clean = self._short(value, counts)
        return clean if clean == value else f"{clean[: MAX_IDENTIFIER_CHARS - 17]}~{self.hash(value)[:16]}"

    def hash(self, text: str) -> str:
        """The keyed hash of a text: 32 hexadecimal digits."""
        hashed = self._hash.copy()
        hashed.update(encoded(text))
        return hashed.hexdigest()

    def _short(self, value: str, counts: Counts) -> str:
        """A clean identifier of at most MAX_IDENTIFIER_CHARS characters."""
        clean = self.redactor.identifier(value, counts)
        if len(clean) > MAX_IDENTIFIER_CHARS:
            clean = self.redactor.identifier(self.redactor.cut(value, MAX_IDENTIFIER_CHARS), counts)[:MAX_IDENTIFIER_CHARS]
        return clean
