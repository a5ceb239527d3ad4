"""Plain events, anomalies and writes for the checks of stores: consistent, made up, the same every time."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from sentinel.core.anomaly import DETECTORS, AnomalyBatch, DetectorName
from sentinel.core.batch import CleanBatch, Dimensions, PartitionId, SeriesKey
from sentinel.core.ids import anomaly_id
from sentinel.core.metrics import COST, ERROR, LATENCY, METRIC_NAMES, METRICS, PROMPT_TOKENS
from sentinel.core.ports import StoreWrite

START_NS: Final = 1_768_473_000_123_000_000
"""2026-01-15T10:30:00.123Z."""
SECOND_NS: Final = 1_000_000_000
LOG: Final = PartitionId("kafka", "llm.telemetry", 0)
CHAT: Final = SeriesKey("default", "chat-api", "gpt-4")
SEARCH: Final = SeriesKey("default", "search", "gpt-4o-mini")


def events(
    count: int,
    *,
    source: PartitionId = LOG,
    first: int = 0,
    start_ns: int = START_NS,
    step_ns: int = SECOND_NS,
    names: tuple[SeriesKey, ...] = (CHAT,),
) -> CleanBatch:
    """Plain events at consecutive offsets, the series in turn; event i of the log has latency i + 1 ms."""
    offsets = np.arange(first, first + count, dtype=np.int64)
    metrics = np.full((count, len(METRICS)), np.nan)
    metrics[:, LATENCY] = offsets + 1.0
    metrics[:, PROMPT_TOKENS] = offsets % 7
    metrics[:, COST] = (offsets + 1) * 1e-4
    metrics[:, ERROR] = offsets % 10 == 9
    return CleanBatch(
        source=source,
        received_ns=start_ns,
        index=np.arange(count, dtype=np.int32),
        offsets=offsets,
        subs=np.zeros(count, dtype=np.int32),
        ts_ns=start_ns + (offsets - first) * step_ns,
        log_ns=start_ns + (offsets - first) * step_ns,
        names=names,
        series=(offsets % len(names)).astype(np.int32),
        metrics=metrics,
        flags=np.zeros(count, dtype=np.int32),
        dialects=np.zeros(count, dtype=np.int8),
        dimension_sets=(Dimensions(),),
        dimensions=np.zeros(count, dtype=np.int32),
        users=(None,),
        user=np.zeros(count, dtype=np.int32),
        personal=np.zeros(count, dtype=np.bool_),
        event_ids=[f"event-{source.partition}-{offset}" for offset in offsets],
        trace_ids=[None] * count,
        extra=[None] * count,
        findings={},
    )


def anomalies(batch: CleanBatch, found: Sequence[tuple[int, int, DetectorName, int]] = ()) -> AnomalyBatch:
    """Anomalies of a batch: (event, metric, detector, severity) each, with made-up but consistent numbers."""
    event = np.array([row[0] for row in found], dtype=np.int32)
    metric = np.array([row[1] for row in found], dtype=np.int8)
    value = np.array([batch.metrics[row[0], row[1]] for row in found], dtype=np.float64)
    mean = value / 2
    return AnomalyBatch(
        ids=[
            anomaly_id(batch.source, int(batch.offsets[i]), int(batch.subs[i]), batch.names[batch.series[i]], METRIC_NAMES[m], detector)
            for i, m, detector, _ in found
        ],
        event=event,
        metric=metric,
        detector=np.array([DETECTORS.index(row[2]) for row in found], dtype=np.int8),
        severity=np.array([row[3] for row in found], dtype=np.int8),
        value=value,
        score=np.full(len(found), 2.5),
        expected=mean,
        lower=np.array([np.nan if row[2] is DetectorName.CUSUM else mean[k] - 1 for k, row in enumerate(found)]),
        upper=np.array([np.nan if row[2] is DetectorName.CUSUM else mean[k] + 1 for k, row in enumerate(found)]),
        mean=mean,
        sd=np.full(len(found), 0.5),
        samples=np.full(len(found), 250, dtype=np.int32),
        window=1_000,
    )


def write_of(batch: CleanBatch, found: AnomalyBatch | None = None, next_offset: int | None = None) -> StoreWrite:
    """The write of a batch, its position right behind the last event."""
    behind = int(batch.offsets[-1]) + 1 if next_offset is None else next_offset
    return StoreWrite(batch=batch, anomalies=anomalies(batch) if found is None else found, source=batch.source, next_offset=behind)
