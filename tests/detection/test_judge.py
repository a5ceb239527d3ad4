"""From fired scores to anomalies."""

import numpy as np
import pytest

from sentinel.config.schema import Detection, Validation
from sentinel.core.anomaly import DETECTORS, SEVERITIES
from sentinel.core.batch import CleanBatch, Dimensions, PartitionId, SeriesKey
from sentinel.core.flags import implausible_flag
from sentinel.core.metrics import COST, LATENCY, METRIC_NAMES, METRICS
from sentinel.detection.baselines import Baselines
from sentinel.detection.judge import judge

LOG = PartitionId("c", "t", 0)


def batch(latency: list[float], flags: list[int] | None = None, first_offset: int = 0) -> CleanBatch:
    """Events of one series with these latencies."""
    n = len(latency)
    metrics = np.full((n, len(METRICS)), np.nan)
    metrics[:, LATENCY] = latency
    empty = CleanBatch.empty(LOG, 0)
    return CleanBatch(
        source=LOG,
        received_ns=0,
        index=np.arange(n, dtype=np.int32),
        offsets=np.arange(first_offset, first_offset + n, dtype=np.int64),
        subs=np.zeros(n, np.int32),
        ts_ns=np.zeros(n, np.int64),
        log_ns=np.zeros(n, np.int64),
        names=(SeriesKey("default", "chat", "m"),),
        series=np.zeros(n, np.int32),
        metrics=metrics,
        flags=np.array(flags or [0] * n, np.int32),
        dialects=np.zeros(n, np.int8),
        event_ids=[None] * n,
        dimension_sets=(Dimensions(),),
        dimensions=np.zeros(n, np.int32),
        users=(None,),
        user=np.zeros(n, np.int32),
        personal=np.zeros(n, np.bool_),
        trace_ids=[None] * n,
        extra=[None] * n,
        findings=empty.findings,
    )


def found(events: CleanBatch, baselines: Baselines | None = None) -> list[tuple[str, int, str, str, str]]:
    """Anomalies as (id, offset, metric, detector, severity)."""
    fired = (baselines or Baselines(Detection())).score_and_update(events.names, events.series, events.metrics)
    made = judge(fired, events, Validation(), 1000)
    return [
        (
            made.ids[i],
            int(events.offsets[made.event[i]]),
            METRIC_NAMES[made.metric[i]],
            DETECTORS[made.detector[i]],
            SEVERITIES[made.severity[i]],
        )
        for i in range(len(made))
    ]


def test_anomalies_come_in_order_of_event_metric_detector() -> None:
    """Order and ids do not depend on how the stream was cut."""
    rng = np.random.default_rng(1)
    values = rng.lognormal(5, 1, 300).tolist()
    whole = found(batch(values))
    assert [row[1:4] for row in whole] == sorted([row[1:4] for row in whole], key=lambda r: (r[0], r[1], DETECTORS.index(r[2])))
    baselines = Baselines(Detection())
    cut = [row for start in range(0, 300, 7) for row in found(batch(values[start : start + 7], first_offset=start), baselines)]
    assert cut == whole
    assert len({row[0] for row in whole}) == len(whole) > 10


def test_implausible_values_are_anomalies_of_the_threshold_detector() -> None:
    """A flagged value is reported with its limits and a score of value over limit."""
    events = batch([600_000.0, 120.0, 0.05], [implausible_flag(LATENCY), 0, implausible_flag(LATENCY)])
    made = judge([], events, Validation(), 1000)
    assert [DETECTORS[d] for d in made.detector] == ["threshold", "threshold"]
    assert made.event.tolist() == [0, 2]
    assert made.score.tolist() == pytest.approx([2.0, 2.0])
    assert (made.lower[0], made.upper[0]) == (0.1, 300_000.0)


def test_a_cost_beyond_its_limit_uses_the_configured_limit() -> None:
    """The score of an implausible cost follows validation.max_cost_usd."""
    events = batch([100.0], [implausible_flag(COST)])
    events.metrics[0, COST] = 50.0
    made = judge([], events, Validation(max_cost_usd=10.0), 1000)
    assert made.score.tolist() == [5.0]


def test_nothing_fired_is_an_empty_batch() -> None:
    """No anomaly: empty columns of the right types."""
    made = judge([], batch([1.0]), Validation(), 1000)
    assert (len(made), made.event.dtype, made.severity.dtype) == (0, np.int32, np.int8)
