"""Anomalies of time windows as what both stores keep of them. Pure.

They come complete, sentence included, and are few: so they are kept whole, and nothing of them is worked out again when they are read.
"""

import sys
from math import isnan
from typing import Final

from msgspec import structs

from sentinel.core.anomaly import SEVERITIES, Anomaly

SEVERITY_NUMBERS: Final[dict[str, int]] = {str(name): number for number, name in enumerate(SEVERITIES)}

_LARGEST: Final = sys.float_info.max
_COUNTS: Final = ("samples", "window", "offset")
_REQUIRED: Final = ("value", "score", "confidence")
_NUMBERS: Final = (*_REQUIRED, "expected", "lower", "upper", "baseline_mean", "baseline_stddev", "z_score")


def plain(anomaly: Anomaly) -> Anomaly:
    """The anomaly with numbers that JSON and line protocol can hold, each of its own type.

    The largest number stands for infinity, which says the same; a number that is none is left out, or 0 where there has to be one.
    """
    numbers: dict[str, float | int | None] = {name: int(getattr(anomaly, name)) for name in _COUNTS}
    for name in _NUMBERS:
        value = getattr(anomaly, name)
        numbers[name] = None if value is None or isnan(value) else max(-_LARGEST, min(float(value), _LARGEST))
    return structs.replace(anomaly, **numbers | {name: numbers[name] or 0.0 for name in _REQUIRED})
