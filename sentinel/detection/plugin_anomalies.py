"""From a finding of a detector of others to the anomaly that people see."""

from collections.abc import Sequence
from math import isfinite

import numpy as np

from sentinel.config.problems import printable
from sentinel.core.anomaly import SEVERITIES, Anomaly
from sentinel.core.batch import CleanBatch, PartitionId, SeriesKey
from sentinel.core.detector import MAX_SENTENCE, Finding
from sentinel.core.ids import anomaly_id, tick_anomaly_id
from sentinel.core.timestamp import rfc3339
from sentinel.detection.judge import severity


def anomaly_of_event(finding: Finding, detector: str, batch: CleanBatch, names: Sequence[SeriesKey], source: PartitionId) -> Anomaly:
    """The anomaly of a checked finding that an event brought to light.

    It is about that event, or, with `ts_ns`, about that time: then its id does not depend on what brought it to light.
    """
    event, series = finding.event, names[finding.series]
    offset, sub = int(batch.offsets[event]), int(batch.subs[event])
    if finding.ts_ns is None:
        of_it = anomaly_id(source, offset, sub, series, finding.metric, detector)
        return _anomaly(
            finding, detector, series, source, of_it, int(batch.ts_ns[event]), offset, batch.event_ids[event], batch.trace_ids[event]
        )
    of_it = tick_anomaly_id(source, finding.ts_ns, series, finding.metric, detector)
    return _anomaly(finding, detector, series, source, of_it, finding.ts_ns, offset, None, None)


def anomaly_at_mark(finding: Finding, detector: str, names: Sequence[SeriesKey], source: PartitionId, offset: int) -> Anomaly:
    """The anomaly of a checked finding at a time mark. `offset` is the next of the log."""
    series, ts_ns = names[finding.series], finding.ts_ns or 0
    of_it = tick_anomaly_id(source, ts_ns, series, finding.metric, detector)
    return _anomaly(finding, detector, series, source, of_it, ts_ns, offset, None, None)


def _anomaly(
    finding: Finding,
    detector: str,
    series: SeriesKey,
    source: PartitionId,
    of_it: str,
    ts_ns: int,
    offset: int,
    event_id: str | None,
    trace_id: str | None,
) -> Anomaly:
    return Anomaly(
        id=of_it,
        timestamp=rfc3339(ts_ns),
        service=series.service,
        model=series.model,
        metric=finding.metric,
        detector=detector,
        type=finding.type,
        severity=SEVERITIES[int(severity(np.array([finding.score]))[0])],
        value=finding.value,
        expected=_known(finding.expected),
        lower=_known(finding.lower),
        upper=_known(finding.upper),
        score=finding.score,
        baseline_mean=None,
        baseline_stddev=None,
        z_score=None,
        samples=finding.samples,
        window=0,
        direction=_direction(finding),
        confidence=finding.confidence,
        explanation=printable(finding.sentence, MAX_SENTENCE),
        event_id=event_id,
        trace_id=trace_id,
        partition=str(source),
        offset=offset,
        tenant=series.tenant,
        since=None if finding.since_ns is None else rfc3339(min(finding.since_ns, ts_ns)),
        exemplars=[] if trace_id is None else [trace_id],
    )


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def _direction(finding: Finding) -> str:
    """`above` or `below` the band, or its centre where there is no band; `unknown` without either."""
    if finding.value > finding.upper:
        return "above"
    if finding.value < finding.lower:
        return "below"
    if not isfinite(finding.expected) or finding.value == finding.expected:
        return "unknown"
    return "above" if finding.value > finding.expected else "below"
