"""Plain events, anomalies and writes for the checks of stores: consistent, made up, the same every time."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import structs

from sentinel.core.anomaly import DETECTORS, Anomaly, AnomalyBatch, Contributor, DetectorName, Severity
from sentinel.core.batch import CleanBatch, Dimensions, PartitionId, SeriesKey
from sentinel.core.ids import anomaly_id, tick_anomaly_id
from sentinel.core.metrics import COST, ERROR, LATENCY, METRIC_NAMES, METRICS, PROMPT_TOKENS
from sentinel.core.ports import StoreWrite
from sentinel.core.timestamp import rfc3339

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


def tick_anomaly(number: int = 0, series: SeriesKey = CHAT, **changes: Any) -> Anomaly:  # noqa: ANN401  fields of any type
    """An anomaly of the time window that closed `number` seconds after START_NS, with something in every field."""
    metric, detector = changes.get("metric", "error_rate"), changes.get("detector", DetectorName.RATE)
    found = Anomaly(
        id=tick_anomaly_id(LOG, START_NS + (number - 10) * SECOND_NS, series, metric, detector),
        timestamp=rfc3339(START_NS + number * SECOND_NS),
        tenant=series.tenant,
        service=series.service,
        model=series.model,
        metric="error_rate",
        detector=DetectorName.RATE,
        type="error_rate_increase",
        severity=Severity.WARNING,
        value=0.25,
        expected=0.01,
        lower=0.0,
        upper=0.04,
        score=2.5,
        baseline_mean=0.0105,
        baseline_stddev=0.004,
        z_score=60.0,
        samples=360,
        window=1_000,
        direction="above",
        confidence=0.875,
        explanation="error_rate of chat-api / gpt-4 was 25% instead of 1% since 10:29:40.",
        event_id=None,
        trace_id=None,
        partition=str(LOG),
        offset=number,
        since=rfc3339(START_NS + (number - 20) * SECOND_NS),
        contributors=[
            Contributor(dimension="finish_reason", value='content "filter"', share=0.75, usual=0.125),
            Contributor(dimension="user", value="u_3f9a0c1d", share=0.5),
        ],
        exemplars=["trace-1", "trace-2"],
        markers=["deploy-7"],
    )
    return structs.replace(found, **changes)


def write_of(
    batch: CleanBatch, found: AnomalyBatch | None = None, next_offset: int | None = None, ticks: Sequence[Anomaly] = ()
) -> StoreWrite:
    """The write of a batch, its position right behind the last event."""
    behind = int(batch.offsets[-1]) + 1 if next_offset is None else next_offset
    return StoreWrite(batch, anomalies(batch) if found is None else found, batch.source, behind, ticks)


def mark_of(next_offset: int, *ticks: Anomaly) -> StoreWrite:
    """The write of a time mark: no events, and anomalies of the windows that it closed."""
    return write_of(events(0), next_offset=next_offset, ticks=ticks)
