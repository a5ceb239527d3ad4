"""Who may do what over the API: scopes, roles, and API keys as they are sent and as they are kept. Pure.

A key is `sntl_<kid>.<secret>`. The kid names it and is no secret; of the whole only a sha256 is kept. A fast hash is right here: the
secret has 256 bits from the system's generator, so there is nothing to guess (OWASP ASVS 5.0, 6.5.2).
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

PREFIX: Final = "sntl_"
KID_BYTES: Final = 8
SECRET_BYTES: Final = 32
"""Random bytes of a kid and of a secret; each is written as two hexadecimal digits."""
_KEY: Final = re.compile(rf"{PREFIX}([0-9a-f]{{{2 * KID_BYTES}}})\.[0-9a-f]{{{2 * SECRET_BYTES}}}")
_BEGUN: Final = re.compile(rf"{PREFIX}[0-9a-f]{{{2 * KID_BYTES}}}\.[0-9a-f]", re.IGNORECASE)


class Scope(StrEnum):
    """What an operation needs; each needs exactly one."""

    PUBLIC = "public"
    """Nothing: probes and files that hold no data."""
    READ = "read"
    INGEST = "ingest"
    OPERATE = "operate"
    ADMIN = "admin"


class Role(StrEnum):
    """What a key is for."""

    VIEWER = "viewer"
    INGESTER = "ingester"
    OPERATOR = "operator"
    ADMIN = "admin"


GRANTS: Final[Mapping[Role, frozenset[Scope]]] = {
    Role.VIEWER: frozenset((Scope.PUBLIC, Scope.READ)),
    Role.INGESTER: frozenset((Scope.PUBLIC, Scope.INGEST)),
    Role.OPERATOR: frozenset((Scope.PUBLIC, Scope.READ, Scope.OPERATE)),
    Role.ADMIN: frozenset(Scope),
}


class Refusal(StrEnum):
    """Why a key does not open the door. `EXPIRED` is told only to who has the right secret."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept; times are wall clock, nanoseconds since the epoch.

    Attributes:
        roles: what it is for; it has the scopes of all of them.
        digest: sha256 of the key as it is sent, as 64 hexadecimal digits; never shown.
        created_by: who made it, as in the audit log.
        expires_ns: the key opens nothing from then on; None = never.
        revoked_ns: when it was revoked; None = it was not.
        last_used_ns: when it was used, to about a minute; None = never.
    """

    kid: str
    name: str
    roles: frozenset[Role]
    digest: bytes = field(repr=False)
    created_ns: int
    created_by: str = ""
    expires_ns: int | None = None
    revoked_ns: int | None = None
    last_used_ns: int | None = None

    def grants(self, scope: Scope) -> bool:
        """Whether one of its roles has the scope."""
        return any(scope in GRANTS[role] for role in self.roles)

    def expired(self, now_ns: int) -> bool:
        """Whether its time is over."""
        return self.expires_ns is not None and now_ns >= self.expires_ns


NOBODY: Final = ApiKey("", "", frozenset(), b"0" * 64, 0)
"""Stands in for a key that is not there, so that looking for one costs the same. No text is known to have its digest."""


def roles_of(words: str) -> frozenset[Role]:
    """The roles named in a text, with blanks between; words that name none, of a newer version perhaps, give nothing.

    >>> sorted(roles_of("viewer ingester emperor"))
    [<Role.INGESTER: 'ingester'>, <Role.VIEWER: 'viewer'>]
    """
    named = words.split()
    return frozenset(role for role in Role if role.value in named)


def words_of(roles: frozenset[Role]) -> str:
    """The names of roles, with blanks between, in one order."""
    return " ".join(role.value for role in Role if role in roles)


def spelled(kid: str, secret: str) -> str:
    """The key as it is sent.

    Args:
        kid: KID_BYTES in lower-case hexadecimal.
        secret: SECRET_BYTES likewise.
    """
    key = f"{PREFIX}{kid}.{secret}"
    if _KEY.fullmatch(key) is None:
        raise ValueError(f"a kid has {KID_BYTES} bytes and a secret {SECRET_BYTES}, in lower-case hexadecimal")
    return key


def kid_of(text: str) -> str:
    """The kid a person means who gives it alone, or the whole key.

    >>> kid_of("0123456789abcdef"), kid_of("sntl_0123456789abcdef.00")
    ('0123456789abcdef', '0123456789abcdef')
    """
    return text.strip().removeprefix(PREFIX).partition(".")[0]


def digest_of(key: str) -> bytes:
    """What is kept of a key as it is sent; any text has a digest, also one that no encoding holds."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest().encode()


def admitted(given: str, find: Callable[[str], ApiKey | None], now_ns: int) -> ApiKey | Refusal:
    """The key somebody holds who sent `given`, or why it opens nothing.

    An unknown kid, a wrong secret and a text that is no key take the same steps: one look-up, one hash, one comparison in constant time.

    Args:
        given: what was sent, hostile.
        find: the key of a kid, None when there is none or it was revoked.
        now_ns: wall clock.
    """
    found = _KEY.fullmatch(given)
    stored = find(found[1] if found else "") or NOBODY
    fits = hmac.compare_digest(digest_of(given), stored.digest)
    if not fits or stored is NOBODY or stored.revoked_ns is not None:
        return Refusal.UNKNOWN
    return Refusal.EXPIRED if stored.expired(now_ns) else stored


def holds_key(text: str) -> bool:
    """Whether one of our keys, or the beginning of one's secret, stands in a text.

    >>> holds_key("/api/v1/status?key=sntl_0123456789abcdef.0123"), holds_key("sntl_0123456789abcdef"), holds_key("?service=sntl_chat")
    (True, False, False)
    """
    return _BEGUN.search(text) is not None
