"""From findings to anomalies and bands: numbers of kernels as people see them."""

from collections.abc import Sequence
from math import isfinite, nan
from typing import Any, Final

import numpy as np

from sentinel.core.anomaly import SEVERITIES, Anomaly, Contributor
from sentinel.core.batch import PartitionId, SeriesKey
from sentinel.core.ids import tick_anomaly_id
from sentinel.core.tell import DETECTOR_OF, ERROR_RATE, REQUESTS, Kind, Told, sentence, tick_direction, tick_type
from sentinel.core.timestamp import rfc3339
from sentinel.detection.tick_state import QUANTITY_NAMES

SURE: Final = 100.0
"""Samples after which an expectation is trusted half."""


def confidence(samples: float) -> float:
    """How far an expectation that rests on so many samples can be trusted, 0 to 1.

    >>> confidence(100.0), confidence(900.0)
    (0.5, 0.9)
    """
    return samples / (samples + SURE)


def quantity_of(kind: Kind, quantity: int) -> str:
    """The name of what a finding is about."""
    if kind is Kind.FAILURES:
        return ERROR_RATE
    return QUANTITY_NAMES[quantity] if quantity >= 0 else REQUESTS


def anomaly_of(
    found: np.void,
    series: SeriesKey,
    source: PartitionId,
    window: int,
    offset: int,
    contributors: Sequence[Contributor],
    exemplars: Sequence[str],
    markers: Sequence[str],
) -> Anomaly:
    """A finding as the API gives it.

    Where:
        found: a record of `tick_state.FINDING`.
        series: where.
        source: the log.
        window: length of a tick, in seconds.
        offset: the next of the log when it was found.
        contributors, exemplars: who had the largest part, and traces to look at.
        markers: ids of what was changed on purpose.
    """
    kind = Kind(int(found["kind"]))
    quantity = quantity_of(kind, int(found["quantity"]))
    others = [name for at, name in enumerate(QUANTITY_NAMES) if int(found["others"]) >> at & 1]
    samples = float(found["samples"])
    told = Told(
        kind=kind,
        quantity=quantity,
        series=series,
        value=float(found["value"]),
        expected=float(found["expected"]),
        lower=float(found["lower"]),
        upper=float(found["upper"]),
        since_ns=int(found["since_ns"]),
        ts_ns=int(found["ts_ns"]),
        share=float(found["share"]),
        samples=int(samples),
        confidence=confidence(samples),
        others=others,
        series_count=int(found["series_count"]),
        contributors=contributors,
    )
    deviation = float(found["deviation"])
    z = (told.value - told.expected) / deviation if deviation > 0 else nan
    return Anomaly(
        id=tick_anomaly_id(source, int(found["tick_ns"]), series, quantity, DETECTOR_OF[kind]),
        timestamp=rfc3339(told.ts_ns),
        service=series.service,
        model=series.model,
        metric=quantity,
        detector=DETECTOR_OF[kind],
        type=tick_type(kind, quantity),
        severity=SEVERITIES[int(found["severity"])],
        value=told.value,
        expected=_finite(told.expected),
        lower=_finite(told.lower),
        upper=_finite(told.upper),
        score=float(found["score"]),
        baseline_mean=_finite(told.expected),
        baseline_stddev=_finite(deviation),
        z_score=_finite(z),
        samples=told.samples,
        window=window,
        direction=tick_direction(told),
        confidence=told.confidence,
        explanation=sentence(told),
        event_id=None,
        trace_id=exemplars[0] if exemplars else None,
        partition=str(source),
        offset=offset,
        tenant=series.tenant,
        since=rfc3339(told.since_ns),
        contributors=list(contributors),
        exemplars=list(exemplars),
        markers=list(markers),
    )


def _finite(value: float | Any) -> float | None:  # noqa: ANN401  numpy's own numbers
    """The number, None where there is none."""
    return float(value) if isfinite(value) else None
