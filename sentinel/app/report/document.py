"""The frame of every page: one file, with a policy under which nothing is fetched and nothing runs."""

from collections.abc import Iterable

from sentinel.app.report.markup import Markup, tag
from sentinel.app.report.style import COLOURS, PAGE, PLOT, policy


def document(title: str, body: Iterable[Markup]) -> str:
    """The whole file."""
    style = COLOURS + PLOT + PAGE
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy(style)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', *body)), lang='en')}\n"
