"""Numbers and times as people read them."""

from datetime import UTC, datetime
from math import floor, log10
from typing import Final

SECOND_NS: Final = 1_000_000_000
_LARGE: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))


def value_text(metric: str, value: float) -> str:
    """A value of a metric with the unit its name tells.

    >>> [value_text(*pair) for pair in (("latency_ms", 12_345.0), ("cost_usd", 0.00123), ("error_rate", 0.021), ("total_tokens", 5120.0))]
    ['12.3 s', '$0.00123', '2.1%', '5,120']
    """
    if metric.endswith("_ms"):
        return _milliseconds(value)
    if "usd" in metric or "cost" in metric:
        return f"${compact(value)}"
    if metric == "error" or metric.endswith(("_rate", "_share")):
        return f"{compact(value * 100)}%"
    return compact(value)


def _milliseconds(value: float) -> str:
    if abs(value) >= 120_000:
        return f"{compact(value / 60_000)} min"
    return f"{compact(value / 1_000)} s" if abs(value) >= 1_000 else f"{compact(value)} ms"


def compact(value: float) -> str:
    """Three digits that matter, large ones short.

    >>> [compact(value) for value in (0.0, 0.01234, 1.5, 123.4, 9_999.0, 12_345.0)]
    ['0', '0.0123', '1.5', '123', '9,999', '12.3k']
    """
    size = abs(value)
    for limit, letter in _LARGE:
        if size >= limit:
            return f"{_three(value / (1e3 if letter == 'k' else limit))}{letter}"
    return f"{value:,.0f}" if size >= 1_000 else _three(value)


def rough(rate: float) -> str:
    """A rate that is not known well: two digits at most.

    >>> [rough(rate) for rate in (0.0, 0.26, 8.06, 14.4, 12_345.0)]
    ['0', '0.3', '8.1', '14', '12.3k']
    """
    return compact(round(rate)) if rate >= 10 else _three(round(rate, 1))


def _three(value: float) -> str:
    if not value:
        return "0"
    decimals = 2 - floor(log10(abs(value)))
    if decimals > 7:
        return f"{value:.1e}"
    text = f"{value:.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def moment(ts_ns: int) -> str:
    """A time in UTC to the second.

    >>> moment(1_768_473_000_123_000_000)
    '2026-01-15 10:30:00'
    """
    return datetime.fromtimestamp(ts_ns // SECOND_NS, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def length(ns: int) -> str:
    """A length of time.

    >>> [length(s * SECOND_NS) for s in (0, 45, 600, 5_400, 90_000, 604_800)]
    ['0 s', '45 s', '10 min', '1.5 h', '1 d 1 h', '7 d']
    """
    seconds = ns // SECOND_NS
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 3_600:
        return f"{seconds / 60:.0f} min"
    if seconds < 86_400:
        return f"{_three(seconds / 3_600)} h"
    days, hours = divmod(round(seconds / 3_600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number of things in words.

    >>> counted(1, "alert"), counted(1_200, "alert"), counted(2, "anomaly", "anomalies")
    ('1 alert', '1,200 alerts', '2 anomalies')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
