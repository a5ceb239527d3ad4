"""Anomalies for tests of alerts: made like real ones, with the numbers a test cares about."""

from dataclasses import replace
from math import nan
from typing import NamedTuple

import numpy as np

from sentinel.core.anomaly import DETECTORS, SEVERITIES, Anomaly, AnomalyBatch, DetectorName
from sentinel.core.batch import CleanBatch, PartitionId, SeriesKey
from sentinel.core.explain import describe
from sentinel.core.ids import anomaly_id
from sentinel.core.metrics import METRIC_INDEX

LOG = PartitionId("kafka", "llm.telemetry", 0)
START_NS = 1_768_473_000_000_000_000  # 2026-01-15T10:30:00Z
SCORES = {"info": 1.2, "warning": 2.0, "critical": 4.0}


class Found(NamedTuple):
    """One anomaly in short: seconds after START_NS, how bad, where. The score follows from the severity unless it is given."""

    at_s: float
    severity: str = "warning"
    service: str = "chat"
    score: float | None = None
    metric: str = "latency_ms"
    detector: str = "zscore"
    tenant: str = "default"


def columns(found: "list[Found]", first_offset: int = 0, log: PartitionId = LOG) -> tuple[CleanBatch, AnomalyBatch]:
    """A batch of one event for each anomaly, and the anomalies."""
    count = len(found)
    names = tuple(dict.fromkeys(SeriesKey(one.tenant, one.service, "gpt-4o") for one in found))
    offsets = np.arange(first_offset, first_offset + count, dtype=np.int64)
    small = np.zeros(count, np.int32)
    batch = replace(
        CleanBatch.empty(log, START_NS),
        offsets=offsets,
        subs=small,
        ts_ns=np.array([START_NS + round(one.at_s * 1e9) for one in found], np.int64),
        names=names,
        series=np.array([names.index(SeriesKey(one.tenant, one.service, "gpt-4o")) for one in found], np.int32),
        event_ids=[None] * count,
        trace_ids=[None] * count,
    )
    return batch, _anomalies(found, batch)


def _anomalies(found: "list[Found]", batch: CleanBatch) -> AnomalyBatch:
    scores = np.array([SCORES[one.severity] if one.score is None else one.score for one in found])
    flat = np.full(len(found), nan)
    return AnomalyBatch(
        ids=[
            anomaly_id(batch.source, int(batch.offsets[i]), 0, batch.names[batch.series[i]], one.metric, one.detector)
            for i, one in enumerate(found)
        ],
        event=np.arange(len(found), dtype=np.int32),
        metric=np.array([METRIC_INDEX[one.metric] for one in found], np.int8),
        detector=np.array([DETECTORS.index(DetectorName(one.detector)) for one in found], np.int8),
        severity=np.array([[*SEVERITIES].index(one.severity) for one in found], np.int8),
        value=1_000.0 + 250.0 * scores,
        score=scores,
        expected=np.full(len(found), 1_000.0),
        lower=flat,
        upper=flat,
        mean=np.full(len(found), 1_000.0),
        sd=np.full(len(found), 100.0),
        samples=np.full(len(found), 500, np.int32),
        window=1_000,
    )


def anomalies(*found: Found, first_offset: int = 0, log: PartitionId = LOG) -> list[Anomaly]:
    """The anomalies as people see them, at consecutive offsets."""
    batch, judged = columns(list(found), first_offset, log)
    return [describe(batch, judged, i) for i in range(len(judged))]
