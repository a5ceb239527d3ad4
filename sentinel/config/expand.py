"""`${NAME}` and `${NAME:-default}` in a value: expanded once, after parsing, never in what was expanded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-(?P<text>[^{}]*))?\}|\$\{")


@dataclass(frozen=True, slots=True)
class Expanded:
    """A value after expansion.

    Attributes:
        text: the result; meaningless when `unset` or `malformed`.
        from_environment: it holds something that came from a variable or its default.
        unset: variables without a value and without a default.
        malformed: a `${` begins no variable.
    """

    text: str
    from_environment: bool
    unset: tuple[str, ...]
    malformed: bool

    def __repr__(self) -> str:
        return f"Expanded(unset={self.unset}, malformed={self.malformed})"


def expand(text: str, env: Mapping[str, str]) -> Expanded:
    """Replace the variables of one value. As in a shell, `:-` also replaces an empty variable, and `$${` stands for `${`.

    >>> expand("${HOST:-localhost}:${PORT}/$${x}", {"PORT": "${HOST}"}).text
    'localhost:${HOST}/${x}'
    >>> expand("${TOKEN}", {}).unset
    ('TOKEN',)
    """
    unset: list[str] = []
    malformed = False
    from_environment = False

    def replacement(found: re.Match[str]) -> str:
        nonlocal malformed, from_environment
        name, default = found["name"], found["text"]
        if name is None:
            malformed = malformed or found[0] == "${"
            return "${"
        from_environment = True
        value = env.get(name)
        if default is not None:
            return value or default
        if value is None:
            unset.append(name)
        return value or ""

    return Expanded(_REFERENCE.sub(replacement, text), from_environment, tuple(dict.fromkeys(unset)), malformed)
