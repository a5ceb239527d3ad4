"""HTML and SVG as text in which nothing from outside is ever markup."""

import re
from collections.abc import Iterable
from html import escape
from typing import Final

from sentinel.core.batch import SeriesKey

_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")
"""Control characters, what has no width, and what turns the direction of writing: with them a name could pose as another."""


class Markup(str):
    """Text that is markup already, and made by us."""

    __slots__ = ()


def printable(text: str) -> str:
    r"""Text from outside with what cannot be seen made visible.

    >>> printable("a\u202eb")
    'a\\u202eb'
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shorten(text: str, length: int) -> str:
    """Text cut to `length` characters, with an ellipsis in the middle: the ends of generated names tell them apart.

    >>> shorten("abcdefghij", 5)
    'ab…ij'
    """
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[: length - 1 - half]}…{text[len(text) - half :]}"


def series_name(series: SeriesKey) -> str:
    """A series in words; the tenant only where it is not the usual one."""
    name = f"{series.service} / {series.model}"
    return name if series.tenant == "default" else f"{series.tenant}: {name}"


def tag(name: str, /, *children: str | Iterable[str], **attributes: str | float | None) -> Markup:
    """One element. Text is escaped unless it is `Markup`; an attribute that is None is left out.

    Names of attributes are written with `_` for `-`, and with one more at the end where Python has the word.

    >>> tag("p", "1 < 2", tag("b", "x"), class_="note", data_x=None)
    '<p class="note">1 &lt; 2<b>x</b></p>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(printable(_text(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(_flat(children))
    return Markup(f"<{name}{given}>{inside}</{name}>" if inside or name not in _VOID else f"<{name}{given}/>")


_VOID: Final = frozenset({"circle", "line", "meta", "path", "rect"})


def _flat(children: Iterable[str | Iterable[str]]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str):
            yield escape(printable(child))
        else:
            yield from _flat(child)


def _text(value: str | float) -> str:
    """A coordinate with two digits is finer than any screen."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
