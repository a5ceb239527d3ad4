"""Limits: what is flagged, what is refused, and how times are set right."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from decode_inputs import LOG_NS, as_json, decoded, delivery, events, flat, request

from sentinel.config.schema import Parsing, Validation
from sentinel.core.batch import EventBatch
from sentinel.core.delivery import NO_LOG_TIME
from sentinel.core.errors import RejectCode
from sentinel.core.flags import Flag, implausible_flag, learnable
from sentinel.core.metrics import COMPLETION_TOKENS, COST, LATENCY, PROMPT_TOKENS, TIME_PER_OUTPUT_TOKEN, TOTAL_TOKENS, TTFT
from sentinel.ingestion.decode import decode
from sentinel.ingestion.validate import validate
from sentinel.ingestion.wire import WireEvent

FLAG, REJECT = Validation(), Validation(on_out_of_range="reject")
SECOND = 10**9


def validated(*records: dict[str, Any], limits: Validation = FLAG) -> EventBatch:
    """The events of records none of which is refused."""
    batch, rejects = validate(events(*records), limits)
    assert rejects == []
    assert batch is not None
    return batch


def test_plausible_batch_is_passed_through() -> None:
    """When nothing is wrong the batch itself comes back: no copy is made."""
    batch = events(flat(prompt_tokens=100_000, cost_usd=100), flat(latency_ms=0.1), flat(latency_ms=300_000))
    assert validate(batch, FLAG) == (batch, [])
    assert validate(batch, FLAG)[0] is batch


@pytest.mark.parametrize(
    ("fields", "metrics"),
    [
        ({"latency_ms": 0.05}, [LATENCY]),
        ({"latency_ms": 300_001}, [LATENCY]),
        ({"ttft_ms": 300_001}, [TTFT]),
        ({"time_per_output_token_ms": 300_001}, [TIME_PER_OUTPUT_TOKEN]),
        ({"prompt_tokens": 100_001}, [PROMPT_TOKENS]),
        ({"completion_tokens": 100_001}, [COMPLETION_TOKENS]),
        ({"total_tokens": 100_001}, [TOTAL_TOKENS]),
        ({"prompt_tokens": 90_000, "completion_tokens": 20_000}, [TOTAL_TOKENS]),
        ({"cost_usd": 100.01}, [COST]),
        ({"cost_usd": 101, "latency_ms": 0}, [LATENCY, COST]),
        ({"ttft_ms": 0, "cost_usd": 0, "prompt_tokens": 0}, []),
    ],
)
def test_values_outside_their_limits(fields: dict[str, Any], metrics: list[int]) -> None:
    """A value outside its limits is flagged, one bit for each metric, or its event is rejected: as configured."""
    batch = validated(flat(), flat(**fields))
    assert batch.flags.tolist() == [0, sum(map(implausible_flag, metrics))]
    kept, rejects = validate(events(flat(), flat(**fields)), REJECT)
    assert kept is not None
    assert [(reject.index, reject.code) for reject in rejects] == [(1, RejectCode.OUT_OF_RANGE)] * bool(metrics)
    assert kept.offsets.tolist() == [100] + [101] * (not metrics)


def test_reject_names_the_field_and_carries_the_event() -> None:
    """A reject says which metric it is about, where it stood, and holds the event in the flat dialect to look at again."""
    batch = decoded(as_json(request({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "llm.cost_usd": 1e9}))).batch
    assert batch is not None
    kept, (reject,) = validate(batch, REJECT)
    assert kept is None
    assert (reject.detail, reject.offset, reject.sub, reject.timestamp_ns) == ("cost_usd: outside its limits", 100, 0, LOG_NS)
    assert reject.raw is not None
    assert msgspec.json.decode(reject.raw, type=WireEvent).cost_usd == 1e9


def test_infinite_values_are_always_rejected() -> None:
    """A number that overflowed on the way is refused even where values outside their limits are flagged."""
    batch = events(flat(latency_ms=..., inference_time=1e308), flat(prompt_tokens=1e308, completion_tokens=1e308), flat())
    kept, rejects = validate(batch, FLAG)
    assert [(reject.index, reject.detail) for reject in rejects] == [
        (0, "latency_ms: outside its limits"),
        (1, "total_tokens: outside its limits"),
    ]
    assert kept is not None
    assert kept.offsets.tolist() == [102]


def test_negative_values_are_always_rejected() -> None:
    """A negative value cannot be, whoever built the batch."""
    batch = events(flat(), flat())
    batch.metrics[1, COST] = -0.5
    kept, rejects = validate(batch, FLAG)
    assert [reject.index for reject in rejects] == [1]
    assert kept is not None
    assert len(kept) == 1


def test_series_of_rejected_events_leave_no_name() -> None:
    """The names that are left are those of the events that are left, numbered again by first appearance."""
    records = [flat(service_name="a", latency_ms=0), flat(service_name="c"), flat(service_name="b"), flat(service_name="c")]
    kept, _ = validate(events(*records), REJECT)
    assert kept is not None
    assert [key.service for key in kept.names] == ["c", "b"]
    assert kept.series.tolist() == [0, 1, 0]
    assert [wire.service_name for wire in kept.wire] == ["c", "b", "c"]


def test_future_times_are_clamped_to_the_log() -> None:
    """A time further ahead of the log than allowed becomes the log's time; one within the allowance stays."""
    far, near = LOG_NS + 61 * SECOND, LOG_NS + 60 * SECOND
    batch = validated(flat(timestamp=far), flat(timestamp=near))
    assert batch.ts_ns.tolist() == [LOG_NS, near]
    assert batch.flags.tolist() == [Flag.TIMESTAMP_FUTURE, 0]


def test_old_events_are_kept_but_not_learned() -> None:
    """An event older than allowed keeps its time, is flagged, and none of its values enters a window."""
    old, young = LOG_NS - 86_401 * SECOND, LOG_NS - 86_400 * SECOND
    batch = validated(flat(timestamp=old), flat(timestamp=young))
    assert batch.ts_ns.tolist() == [old, young]
    assert batch.flags.tolist() == [Flag.TOO_OLD, 0]
    assert np.isnan(learnable(batch.metrics, batch.flags)[0]).all()


def test_flags_of_decoding_are_kept() -> None:
    """Flags add up: what decoding noticed stays beside what the limits say."""
    batch = validated(flat(timestamp=..., prompt_tokens=1, completion_tokens=1, total_tokens=5, latency_ms=0))
    assert batch.flags.tolist() == [Flag.TIMESTAMP_MISSING | Flag.TOTAL_DISAGREES | implausible_flag(LATENCY)]
    assert batch.flags.dtype == np.int32


def test_batch_is_not_changed() -> None:
    """The batch that is judged stays as it was."""
    batch = events(flat(timestamp=LOG_NS + 10**12, latency_ms=0))
    before = batch.ts_ns.tolist(), batch.flags.tolist()
    validate(batch, FLAG)
    assert (batch.ts_ns.tolist(), batch.flags.tolist()) == before


def test_a_log_without_time_has_no_old_events_but_no_future_either() -> None:
    """A file of old events: nothing is too old; a time far ahead and a missing one become the time of receipt, flagged."""
    records = [flat(timestamp="2019-05-01T00:00:00Z"), flat(timestamp="2150-01-01T00:00:00Z"), flat(timestamp=...)]
    handed = replace(delivery([json.dumps(record).encode() for record in records]), timestamps_ns=np.full(3, NO_LOG_TIME, np.int64))
    batch = decode(handed, Parsing()).batch
    assert batch is not None
    judged, rejects = validate(batch, FLAG)
    assert judged is not None
    assert rejects == []
    assert judged.flags.tolist() == [0, int(Flag.TIMESTAMP_FUTURE), int(Flag.TIMESTAMP_MISSING)]
    assert judged.ts_ns[1:].tolist() == [handed.received_ns] * 2
