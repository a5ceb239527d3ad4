"""From fired scores to anomalies: severity, order, deterministic ids."""

from collections.abc import Sequence

import numpy as np

from sentinel.config.schema import Validation
from sentinel.core.anomaly import DETECTORS, SEVERITIES, AnomalyBatch, DetectorName, Severity
from sentinel.core.batch import CleanBatch, Float64, Int8, Int32
from sentinel.core.flags import IMPLAUSIBLE_SHIFT, implausible_flag
from sentinel.core.ids import anomaly_ids
from sentinel.core.metrics import COST, LATENCY, METRIC_NAMES, METRICS, TIME_PER_OUTPUT_TOKEN, TTFT
from sentinel.detection.baselines import Fired
from sentinel.detection.windows import Stats

WARNING_FROM, CRITICAL_FROM = 1.5, 3.0
"""Scores at which an anomaly becomes a warning and critical."""

THRESHOLD = DETECTORS.index(DetectorName.THRESHOLD)


def judge(fired: Sequence[Fired], batch: CleanBatch, limits: Validation, window: int) -> AnomalyBatch:
    """The anomalies of one batch, ordered by event, metric and detector.

    Args:
        fired: what the detectors fired on, with `event` as index into the batch.
        batch: the events.
        limits: the configured limits, for values flagged as implausible.
        window: the configured window size.

    Returns:
        Anomalies whose ids depend on nothing but the event's place in its log, the series, the metric and the detector.
    """
    found = [*fired, *_implausible(batch, limits)]
    if not found:
        return _nothing(window)
    metric = np.repeat(np.array([f.metric for f in found], np.int8), [len(f.event) for f in found])
    detector = np.repeat(np.array([f.detector for f in found], np.int8), [len(f.event) for f in found])
    event = np.concatenate([f.event for f in found])
    order = np.lexsort((detector, metric, event))
    score = np.concatenate([f.score for f in found])[order]
    event, metric, detector = event[order], metric[order], detector[order]
    names = [batch.names[code] for code in batch.series[event].tolist()]
    where = batch.offsets[event].tolist(), batch.subs[event].tolist()
    what = [METRIC_NAMES[m] for m in metric.tolist()], [DETECTORS[d] for d in detector.tolist()]
    ids = anomaly_ids(batch.source, zip(*where, names, *what, strict=True))
    return AnomalyBatch(
        ids=ids,
        event=event,
        metric=metric,
        detector=detector,
        severity=severity(score),
        value=np.concatenate([f.value for f in found])[order],
        score=score,
        expected=np.concatenate([f.expected for f in found])[order],
        lower=np.concatenate([f.lower for f in found])[order],
        upper=np.concatenate([f.upper for f in found])[order],
        mean=np.concatenate([f.stats.mean for f in found])[order],
        sd=np.concatenate([f.stats.sd for f in found])[order],
        samples=np.concatenate([f.stats.n for f in found])[order].astype(np.int32),
        window=window,
    )


def severity(score: Float64) -> Int8:
    """Index into SEVERITIES by how far beyond the threshold.

    >>> severity(np.array([1.1, 1.5, 2.9, 3.0])).tolist()
    [0, 1, 1, 2]
    """
    warning, critical = SEVERITIES.index(Severity.WARNING), SEVERITIES.index(Severity.CRITICAL)
    return np.where(score >= CRITICAL_FROM, critical, np.where(score >= WARNING_FROM, warning, 0)).astype(np.int8)


def limits_of(metric: int, limits: Validation) -> tuple[float, float]:
    """The plausible range of a metric, in its unit.

    >>> limits_of(LATENCY, Validation())
    (0.1, 300000.0)
    """
    if metric == LATENCY:
        return limits.min_latency_ms, limits.max_latency_ms
    if metric in {TTFT, TIME_PER_OUTPUT_TOKEN}:
        return 0.0, limits.max_latency_ms
    return 0.0, limits.max_cost_usd if metric == COST else float(limits.max_tokens)


def _implausible(batch: CleanBatch, limits: Validation) -> list[Fired]:
    """One `Fired` of the threshold detector for each metric with values outside its limits."""
    if not np.any(batch.flags >> IMPLAUSIBLE_SHIFT):
        return []
    found = []
    for metric in range(len(METRICS)):
        event = np.flatnonzero(batch.flags & implausible_flag(metric)).astype(np.int32)
        if len(event):
            low, high = limits_of(metric, limits)
            value = batch.metrics[event, metric]
            score = np.where(value > high, value / high, low / np.maximum(value, np.finfo(float).tiny))
            found.append(_beyond_limits(metric, event, value, np.minimum(score, 1e9), low, high))
    return found


def _beyond_limits(metric: int, event: Int32, value: Float64, score: Float64, low: float, high: float) -> Fired:
    none = np.full(len(event), np.nan)
    unknown = Stats(np.zeros(len(event), np.int64), none, none, none, none, none, none)
    return Fired(metric, THRESHOLD, event, value, score, none, np.full(len(event), low), np.full(len(event), high), unknown)


def _nothing(window: int) -> AnomalyBatch:
    numbers, small, index = np.empty(0), np.empty(0, np.int8), np.empty(0, np.int32)
    return AnomalyBatch([], index, small, small, small, numbers, numbers, numbers, numbers, numbers, numbers, numbers, index, window)
