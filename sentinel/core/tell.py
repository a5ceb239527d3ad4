"""What a finding of time windows means in words: its type, its direction, and one sentence an engineer can act on. Pure."""

from collections.abc import Sequence
from enum import IntEnum
from math import isfinite
from typing import Final, NamedTuple

from sentinel.core.anomaly import Contributor, DetectorName
from sentinel.core.batch import SeriesKey
from sentinel.core.explain import number
from sentinel.core.metrics import METRICS
from sentinel.core.timestamp import rfc3339


class Kind(IntEnum):
    """What was found in time windows."""

    RISE = 0
    DRIFT = 1
    FALL = 2
    EXTREMES = 3
    REGIME = 4
    FAILURES = 5
    SURGE = 6
    DROP = 7
    SILENCE = 8
    ALL_SILENT = 9


SPEND: Final = "cost_usd_per_minute"
ERROR_RATE: Final = "error_rate"
REQUESTS: Final = "requests_per_minute"

DETECTOR_OF: Final = {
    Kind.RISE: DetectorName.LEVEL,
    Kind.DRIFT: DetectorName.LEVEL,
    Kind.FALL: DetectorName.LEVEL,
    Kind.EXTREMES: DetectorName.LEVEL,
    Kind.REGIME: DetectorName.LEVEL,
    Kind.FAILURES: DetectorName.RATE,
    Kind.SURGE: DetectorName.RATE,
    Kind.DROP: DetectorName.RATE,
    Kind.SILENCE: DetectorName.SILENCE,
    Kind.ALL_SILENT: DetectorName.SILENCE,
}
"""Who finds what."""

_OWN_TYPE: Final = {
    Kind.REGIME: "regime_change",
    Kind.FAILURES: "error_rate_increase",
    Kind.SURGE: "throughput_surge",
    Kind.DROP: "throughput_drop",
    Kind.SILENCE: "silence",
    Kind.ALL_SILENT: "silence",
}
_OF_METRIC: Final = {metric.name: metric for metric in METRICS}


class Told(NamedTuple):
    """What a sentence is made of; NaN where there is none.

    Attributes:
        quantity: what was judged, by name.
        value, expected, lower, upper: in the unit of the quantity; shares 0 to 1.
        since_ns: when it began; ts_ns: when it was certain.
        share: of `EXTREMES`, the share of requests beyond `expected`.
        samples: requests or minutes the expectation rests on.
        confidence: how far that can be trusted, 0 to 1.
        others: further quantities that have shifted with it.
        series_count: of `SILENCE`, other series of the log that speak; of `ALL_SILENT`, all series of the log.
        contributors: who had the largest part, strongest first.
    """

    kind: Kind
    quantity: str
    series: SeriesKey
    value: float
    expected: float
    lower: float
    upper: float
    since_ns: int
    ts_ns: int
    share: float
    samples: int
    confidence: float
    others: Sequence[str]
    series_count: int
    contributors: Sequence[Contributor]


def tick_type(kind: Kind, quantity: str) -> str:
    """The public type of a finding.

    >>> tick_type(Kind.DRIFT, "latency_ms"), tick_type(Kind.RISE, "cost_usd_per_minute"), tick_type(Kind.DROP, "requests_per_minute")
    ('latency_drift', 'cost_anomaly', 'throughput_drop')
    """
    if kind in _OWN_TYPE:
        return _OWN_TYPE[kind]
    metric = _OF_METRIC["cost_usd" if quantity == SPEND else quantity]
    return metric.drift if kind in {Kind.DRIFT, Kind.FALL} else metric.spike


def tick_direction(told: Told) -> str:
    """`above` or `below` what was expected."""
    if told.kind in {Kind.FALL, Kind.DROP, Kind.SILENCE, Kind.ALL_SILENT}:
        return "below"
    return "below" if told.kind is Kind.REGIME and told.value < told.expected else "above"


def sentence(told: Told) -> str:
    """One sentence: what came, what was expected, since when, how sure, and who had the largest part.

    >>> print(sentence(Told(Kind.SURGE, REQUESTS, SeriesKey("default", "chat", "m"), 240.0, 60.0, 20.0, 120.0, 0, 30_000_000_000,
    ...     float("nan"), 5_000, 0.96, (), 0, ())))
    Traffic of chat / m has surged to 240 requests per minute where 60 are expected (at most 120), since 1970-01-01T00:00:00.000Z, \
30 s before it was certain; the expectation rests on 5,000 ticks (confidence 96%).
    """
    parts = [f"{_what(told)}, since {rfc3339(told.since_ns)}, {_length(told.ts_ns - told.since_ns)} before it was certain"]
    if told.others:
        parts.append(f"{_listed(told.others)} shifted with it")
    if told.contributors:
        parts.append(f"{_listed([_part(one) for one in told.contributors])}")
    parts.append(f"the expectation rests on {told.samples:,} {_samples(told)} (confidence {told.confidence:.0%})")
    return "; ".join(parts) + "."


def _what(told: Told) -> str:  # noqa: PLR0911  a sentence a kind
    """What came and what was expected."""
    where = f"{told.series.service} / {told.series.model}"
    value, expected = number(told.value), number(told.expected)
    match told.kind:
        case Kind.FAILURES:
            return f"{told.value:.1%} of the requests of {where} fail where {told.expected:.1%} do usually (at most {told.upper:.1%})"
        case Kind.SURGE:
            return (
                f"Traffic of {where} has surged to {value} requests per minute where {expected} are expected (at most {number(told.upper)})"
            )
        case Kind.DROP:
            least = number(told.lower)
            return f"Traffic of {where} has dropped to {value} requests per minute where {expected} are expected (at least {least})"
        case Kind.SILENCE:
            others = f"while {told.series_count} other series of the log speak" if told.series_count else "the only series of its log"
            return f"{where} has fallen silent where {expected} requests per minute are expected, {others}"
        case Kind.ALL_SILENT:
            return f"All {told.series_count} series of the log are silent, {where} the busiest of them with {expected} requests per minute"
        case Kind.EXTREMES:
            return (
                f"{told.share:.0%} of the values of {told.quantity} of {where} lie beyond {expected}, about {value}, where 1% usually do"
                f"{_for_length(told)}"
            )
        case Kind.REGIME:
            return f"The level of {told.quantity} of {where} has changed for good from {expected} to {value}, which is normal from now on"
        case _:
            verb = {Kind.RISE: "has risen to", Kind.DRIFT: "has drifted up to"}.get(told.kind, "has fallen to")
            band = f" (normal band {number(told.lower)} to {number(told.upper)})" if isfinite(told.lower) else ""
            return f"{told.quantity} of {where} {verb} {value} where {expected} is expected{_for_length(told)}{band}"


def _for_length(told: Told) -> str:
    """Latency is judged for its length."""
    return " for requests of usual length" if told.quantity in {"latency_ms", "ttft_ms"} else ""


def _part(one: Contributor) -> str:
    """Who had how large a part."""
    usual = "" if one.usual is None else f", usually {one.usual:.0%}"
    return f"{one.share:.0%} of them from {one.dimension.replace('_', ' ')} {one.value}{usual}"


def _samples(told: Told) -> str:
    """What an expectation rests on."""
    if told.quantity == REQUESTS:
        return "ticks"
    return "stretches of five minutes" if told.quantity == SPEND else "requests"


def _length(ns: int) -> str:
    """A length of time for people.

    >>> [_length(int(s * 1e9)) for s in (4, 90, 400, 9_000)]
    ['4 s', '90 s', '7 min', '2.5 h']
    """
    seconds = ns / 1e9
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def _listed(names: Sequence[str]) -> str:
    """Names one after the other.

    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
