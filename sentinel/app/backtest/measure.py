"""How the value that a plot shows follows from requests, by the metric's name."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from sentinel.core.metrics import ERROR, METRIC_INDEX
from sentinel.core.tell import ERROR_RATE, REQUESTS

PERSONAL: Final = "personal_rate"
PER_MINUTE: Final = "_per_minute"


class Kind(Enum):
    """What is worked out of the requests of a stretch of time."""

    QUANTILES = "median of requests"
    SHARE = "failed requests"
    PERSONAL = "with personal data"
    COUNT = "requests a minute"
    SUM = "sum a minute"
    JUDGED = "as judged"
    """Nothing: the detectors' own figure is shown."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How a metric is measured; `column` of METRICS, None where no column is needed."""

    kind: Kind
    column: int | None


def measure_of(metric: str) -> Measure:
    """How a metric is measured. A name that is not a column's belongs to a detector, which is the only one to know.

    >>> [measure_of(name).kind.name for name in ("latency_ms", "error_rate", "requests_per_minute", "cost_usd_per_minute", "skew")]
    ['QUANTILES', 'SHARE', 'COUNT', 'SUM', 'JUDGED']
    """
    if metric in {"error", ERROR_RATE}:
        return Measure(Kind.SHARE, ERROR)
    if metric == PERSONAL:
        return Measure(Kind.PERSONAL, None)
    if metric == REQUESTS:
        return Measure(Kind.COUNT, None)
    column = METRIC_INDEX.get(metric.removesuffix(PER_MINUTE))
    if column is None:
        return Measure(Kind.JUDGED, None)
    return Measure(Kind.SUM if metric.endswith(PER_MINUTE) else Kind.QUANTILES, column)
