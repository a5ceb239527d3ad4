"""Commands: what people and their tools tell the detectors. Each has a place in a partition's log, so that a replay obeys it again."""

from typing import Literal

import msgspec

from sentinel.core.batch import SeriesKey

MarkerKind = Literal["deploy", "prompt_version", "price"]


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """The series a command is about: those that agree with every name that is given, all of a tenant when none is.

    >>> Which(service="chat").covers(SeriesKey("default", "chat", "m"))
    True
    >>> Which(model="other").covers(SeriesKey("default", "chat", "m"))
    False
    """

    tenant: str = "default"
    service: str | None = None
    model: str | None = None

    def covers(self, series: SeriesKey) -> bool:
        """Whether a series is meant."""
        wanted = (self.tenant, self.service or series.service, self.model or series.model)
        return wanted == series


class AcceptRegime(msgspec.Struct, frozen=True, kw_only=True, tag="accept_regime"):
    """What these series do now is normal from now on: their open level shifts and rates become the baseline."""

    which: Which = Which()


class Marker(msgspec.Struct, frozen=True, kw_only=True, tag="marker"):
    """Something was changed on purpose: for a while bands are wider, and anomalies name it.

    Attributes:
        kind: what was changed.
        ts_ns: when, nanoseconds since the epoch.
        id: the marker's own id, for links; at most 128 characters.
        which: the series it may touch.
        text: for people; at most 200 characters are kept.
    """

    kind: MarkerKind
    ts_ns: int
    id: str
    which: Which = Which()
    text: str = ""


Command = AcceptRegime | Marker
