"""Which series a rule is for, by names with `*` and `?`."""

import re
from fnmatch import translate

from sentinel.core.batch import SeriesKey


class Matcher:
    """Patterns of a rule.

    >>> Matcher("chat*", "gpt-?").covers(SeriesKey("default", "chatbot", "gpt-5"))
    True
    """

    __slots__ = ("_model", "_service")

    def __init__(self, service: str, model: str) -> None:
        self._service = _pattern(service)
        self._model = _pattern(model)

    def covers(self, series: SeriesKey) -> bool:
        """Whether the rule is for this series."""
        return self._service.match(series.service) is not None and self._model.match(series.model) is not None


def _pattern(text: str) -> re.Pattern[str]:
    """`*` and `?` stand for any characters, all others for themselves, also `[`."""
    return re.compile(translate(text.replace("[", "[[]")))
