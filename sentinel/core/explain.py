"""What an anomaly's columns mean in words: its type, its direction and one sentence with the numbers. Pure."""

from dataclasses import dataclass
from math import floor, isfinite, log10, nan

from sentinel.core.anomaly import DETECTORS, SEVERITIES, Anomaly, AnomalyBatch, DetectorName
from sentinel.core.batch import CleanBatch, PartitionId, SeriesKey
from sentinel.core.metrics import METRICS, Metric
from sentinel.core.timestamp import rfc3339

THRESHOLD_NAMES = {
    DetectorName.ZSCORE: "z-score threshold",
    DetectorName.IQR: "interquartile-range threshold",
    DetectorName.MAD: "median-absolute-deviation threshold",
    DetectorName.CUSUM: "cumulative-sum threshold",
    DetectorName.THRESHOLD: "plausible limit",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The numbers of one anomaly; NaN where it has none, as in `AnomalyBatch`."""

    metric: Metric
    detector: DetectorName
    value: float
    score: float
    expected: float
    lower: float
    upper: float
    mean: float
    sd: float
    samples: int
    window: int


def anomaly_type(metric: Metric, detector: DetectorName) -> str:
    """The public type: a drift for CUSUM, an implausible value for the limits, else a spike.

    >>> anomaly_type(METRICS[0], DetectorName.CUSUM)
    'latency_drift'
    """
    if detector is DetectorName.THRESHOLD:
        return "implausible_value"
    return metric.drift if detector is DetectorName.CUSUM else metric.spike


def direction(finding: Finding) -> str:
    """`above` or `below` what was expected: the band where the value is outside it, else its centre; `unknown` without either."""
    if finding.value > finding.upper:
        return "above"
    if finding.value < finding.lower:
        return "below"
    centre = finding.expected if isfinite(finding.expected) else finding.mean
    if finding.value == centre or not isfinite(centre):
        return "unknown"
    return "above" if finding.value > centre else "below"


def z_score(finding: Finding) -> float | None:
    """Standard deviations from the mean; None without a mean or a spread."""
    if not (isfinite(finding.mean) and isfinite(finding.sd) and finding.sd > 0):
        return None
    z = (finding.value - finding.mean) / finding.sd
    return z if isfinite(z) else None


def confidence(samples: int, window: int) -> float:
    """How full the window was: min(1, samples / window). It says how much the baseline had seen, nothing about the verdict itself.

    >>> confidence(250, 1000)
    0.25
    """
    return min(1.0, samples / window) if window > 0 else 0.0


def number(value: float) -> str:
    """A number for people: about four digits that matter, thousands apart.

    >>> [number(v) for v in (15234.53, 1000.0, 12.3456, 0.00001234, 3e20)]
    ['15,234.5', '1,000', '12.35', '0.00001234', '3e+20']
    """
    size = abs(value)
    if not isfinite(value):
        return "not finite"
    if size >= 1e15 or 0 < size < 1e-9:
        return f"{value:.4g}"
    if value == int(value):
        return f"{value:,.0f}"
    decimals = 1 if size >= 100 else 3 - floor(log10(size))
    return f"{value:,.{decimals}f}".rstrip("0").rstrip(".")


def explanation(finding: Finding, series: SeriesKey) -> str:
    """One sentence that says what was seen, what was expected and how far beyond the boundary it lies."""
    where = f"{finding.metric.name} of {series.service} / {series.model}"
    if finding.detector is DetectorName.THRESHOLD:
        return f"{where} was {number(finding.value)}, {_limit(finding)}; the value is stored, not learned."
    if finding.detector is DetectorName.CUSUM:
        return f"{where} has drifted: {_seen(finding)}{_baseline(finding)}; {_distance(finding)}."
    return f"{where} was {_seen(finding)}{_baseline(finding)}; {_distance(finding)}."


def _limit(finding: Finding) -> str:
    """Which plausible limit a value broke."""
    side = direction(finding)
    limit = finding.upper if side == "above" else finding.lower
    return f"{side} the plausible limit {number(limit)}" if isfinite(limit) else "outside the plausible limits"


def _seen(finding: Finding) -> str:
    """The value against what was expected."""
    expected = finding.expected if isfinite(finding.expected) else finding.mean
    if not isfinite(expected):
        return number(finding.value)
    side = {"above": "above", "below": "below"}.get(direction(finding), "near")
    return f"{number(finding.value)}, {side} the expected {number(expected)}"


def _baseline(finding: Finding) -> str:
    """The normal band and how much it rests on."""
    over = f"over {finding.samples:,} sample{'' if finding.samples == 1 else 's'}"
    if isfinite(finding.lower) and isfinite(finding.upper):
        return f" (normal band {number(finding.lower)} to {number(finding.upper)} {over})"
    return f" ({over})"


def _distance(finding: Finding) -> str:
    """How far beyond, in units of the detector and of the baseline."""
    score = f"{finding.score:,.1f}" if abs(finding.score) < 1e6 else number(finding.score)
    times = f"{score} times the {THRESHOLD_NAMES[finding.detector]}"
    if finding.detector is DetectorName.CUSUM:
        return f"the sum of deviations is {times}"
    z = z_score(finding)
    return times if z is None else f"{number(round(abs(z), 1))} standard deviations from the mean, {times}"


def _finite(value: float) -> float | None:
    """The number, None where there is none."""
    return value if isfinite(value) else None


def described(
    finding: Finding,
    series: SeriesKey,
    source: PartitionId,
    *,
    anomaly_id: str,
    ts_ns: int,
    severity: int,
    offset: int,
    event_id: str | None,
    trace_id: str | None,
) -> Anomaly:
    """The anomaly as the API gives it.

    Args:
        finding: its numbers.
        series: where it was found.
        source: the log of the event.
        anomaly_id: its deterministic id.
        ts_ns: event time.
        severity: index into SEVERITIES.
        offset: of the event's record in its log.
        event_id: the producer's id of the event.
        trace_id: the producer's id of its trace.
    """
    return Anomaly(
        id=anomaly_id,
        timestamp=rfc3339(ts_ns),
        service=series.service,
        model=series.model,
        metric=finding.metric.name,
        detector=finding.detector,
        type=anomaly_type(finding.metric, finding.detector),
        severity=SEVERITIES[severity],
        value=finding.value,
        expected=_finite(finding.expected),
        lower=_finite(finding.lower),
        upper=_finite(finding.upper),
        score=finding.score,
        baseline_mean=_finite(finding.mean),
        baseline_stddev=_finite(finding.sd),
        z_score=z_score(finding),
        samples=finding.samples,
        window=finding.window,
        direction=direction(finding),
        confidence=confidence(finding.samples, finding.window),
        explanation=explanation(finding, series),
        event_id=event_id,
        trace_id=trace_id,
        partition=str(source),
        offset=offset,
        tenant=series.tenant,
    )


def describe(batch: CleanBatch, anomalies: AnomalyBatch, i: int) -> Anomaly:
    """Anomaly i of a batch as the API gives it, before or without a store."""
    event = int(anomalies.event[i])
    return described(
        finding_of(
            int(anomalies.metric[i]),
            int(anomalies.detector[i]),
            *(
                float(column[i])
                for column in (
                    anomalies.value,
                    anomalies.score,
                    anomalies.expected,
                    anomalies.lower,
                    anomalies.upper,
                    anomalies.mean,
                    anomalies.sd,
                )
            ),
            samples=int(anomalies.samples[i]),
            window=anomalies.window,
        ),
        batch.names[int(batch.series[event])],
        batch.source,
        anomaly_id=anomalies.ids[i],
        ts_ns=int(batch.ts_ns[event]),
        severity=int(anomalies.severity[i]),
        offset=int(batch.offsets[event]),
        event_id=batch.event_ids[event],
        trace_id=batch.trace_ids[event],
    )


def finding_of(metric: int, detector: int, *numbers: float | None, samples: int, window: int) -> Finding:
    """The finding of stored columns: numbers are value, score, expected, lower, upper, mean, sd, with None for NaN."""
    value, score, expected, lower, upper, mean, sd = (nan if x is None else x for x in numbers)
    return Finding(METRICS[metric], DETECTORS[detector], value, score, expected, lower, upper, mean, sd, samples, window)
