"""Plausibility: values outside the configured limits are flagged or refused, times are set right. All at once, as columns."""

from dataclasses import replace

import numpy as np

from sentinel.config.schema import Validation
from sentinel.core.batch import Bool, EventBatch, Float64
from sentinel.core.delivery import NO_LOG_TIME
from sentinel.core.errors import RejectCode
from sentinel.core.flags import IMPLAUSIBLE_SHIFT, Flag
from sentinel.core.metrics import COMPLETION_TOKENS, COST, LATENCY, METRIC_NAMES, PROMPT_TOKENS, TIME_PER_OUTPUT_TOKEN, TOTAL_TOKENS, TTFT
from sentinel.core.reject import Reject
from sentinel.ingestion.columns import take
from sentinel.ingestion.wire import as_record


def validate(batch: EventBatch, limits: Validation) -> tuple[EventBatch | None, list[Reject]]:
    """Hold a batch against the limits. It costs next to nothing when nothing is wrong.

    A value outside its limits is flagged (`implausible_flag`) or, with `on_out_of_range: reject`, refuses its event; a negative or
    infinite one always refuses it. A time too far ahead of the log's is clamped to it, an old one is flagged. The processing time
    plays no part: a replay decides the same. In a log that has no times of its own (a file) a time is never too old, and the time of
    receipt stands for the log's: an event from the far future would otherwise silence all that follow.

    Args:
        batch: decoded events; it is not changed.
        limits: the `ingestion.validation` section.

    Returns:
        The events that are left, None when there is none, and the refused. A reject carries its event in the flat dialect, unsanitized,
        because the record it came from may hold others that are fine.
    """
    batch = _with_times_judged(batch, limits)
    outside = _outside(batch.metrics, limits)
    if not outside.any():
        return batch, []
    # NaN is not outside, so what is not finite here is infinite.
    refusing = outside if limits.on_out_of_range == "reject" else outside & ((batch.metrics < 0) | np.isinf(batch.metrics))
    bits = np.int32(1) << (IMPLAUSIBLE_SHIFT + np.arange(outside.shape[1], dtype=np.int32))
    batch = replace(batch, flags=batch.flags | (outside * bits).sum(axis=1, dtype=np.int32))
    refused = refusing.any(axis=1)
    if not refused.any():
        return batch, []
    rejects = [_reject(batch, position, int(refusing[position].argmax())) for position in np.flatnonzero(refused).tolist()]
    return take(batch, np.logical_not(refused)), rejects


def bounds(limits: Validation) -> tuple[Float64, Float64]:
    """The lowest and the highest plausible value of each metric, float64[m] each, in its unit."""
    low, high = np.zeros(len(METRIC_NAMES)), np.ones(len(METRIC_NAMES))
    low[LATENCY] = limits.min_latency_ms
    high[[LATENCY, TTFT, TIME_PER_OUTPUT_TOKEN]] = limits.max_latency_ms
    high[[PROMPT_TOKENS, COMPLETION_TOKENS, TOTAL_TOKENS]] = limits.max_tokens
    high[COST] = limits.max_cost_usd
    return low, high


def _outside(metrics: Float64, limits: Validation) -> Bool:
    """bool[n, m]: which values are beyond their limits; an absent one is not."""
    low, high = bounds(limits)
    return (metrics < low) | (metrics > high)


def _with_times_judged(batch: EventBatch, limits: Validation) -> EventBatch:
    timeless = batch.log_ns == NO_LOG_TIME
    known_ns = np.where(timeless, batch.received_ns, batch.log_ns)
    ahead_ns = batch.ts_ns - known_ns
    future, old = ahead_ns > limits.max_future_secs * 1e9, (ahead_ns < -limits.max_age_secs * 1e9) & ~timeless
    if not future.any() and not old.any():
        return batch
    flags = batch.flags | np.where(future, Flag.TIMESTAMP_FUTURE, 0) | np.where(old, Flag.TOO_OLD, 0)
    return replace(batch, ts_ns=np.where(future, known_ns, batch.ts_ns), flags=flags.astype(np.int32))


def _reject(batch: EventBatch, position: int, metric: int) -> Reject:
    return Reject(
        index=int(batch.index[position]),
        offset=int(batch.offsets[position]),
        sub=int(batch.subs[position]),
        timestamp_ns=int(batch.log_ns[position]),
        code=RejectCode.OUT_OF_RANGE,
        detail=f"{METRIC_NAMES[metric]}: outside its limits",
        raw=as_record(batch.wire[position]),
    )
