"""Clean events back to the flat dialect, for the topic that HTTP input is produced to."""

import math

import msgspec

from sentinel.core.batch import CleanBatch
from sentinel.core.metrics import ERROR, METRIC_NAMES, TOTAL_TOKENS
from sentinel.core.sketches import SKETCH_FIELDS
from sentinel.core.timestamp import rfc3339
from sentinel.ingestion.sketch import text_of

_COLUMNS = [(index, name) for index, name in enumerate(METRIC_NAMES) if index not in {ERROR, TOTAL_TOKENS}]


def flat(batch: CleanBatch) -> list[bytes]:
    """Each event as one JSON object that decodes to the same event again: sanitizing twice changes nothing."""
    series, times, metrics = batch.series.tolist(), batch.ts_ns.tolist(), batch.metrics.tolist()
    sets = [{name: value for name, value in known._asdict().items() if value is not None} for known in batch.dimension_sets]
    dimensions = batch.dimensions.tolist()
    return [
        _spliced(
            _event(batch, i, batch.names[series[i]], times[i], metrics[i]) | sets[dimensions[i]],
            batch.extra[i],
            failed=metrics[i][ERROR] == 1.0,
        )
        for i in range(len(batch))
    ]


def _event(batch: CleanBatch, i: int, name: tuple[str, str, str], ts_ns: int, values: list[float]) -> dict[str, object]:
    tenant, service, model = name
    # Decoders read texts to the microsecond; a number keeps every nanosecond.
    timestamp = ts_ns if ts_ns % 1_000 else rfc3339(ts_ns)
    event: dict[str, object] = {"timestamp": timestamp, "service_name": service, "model_name": model}
    if tenant != "default":
        event["tenant"] = tenant
    if batch.event_ids[i] is not None:
        event["event_id"] = batch.event_ids[i]
    event |= {column: values[index] for index, column in _COLUMNS if not math.isnan(values[index])}
    parts_known = "prompt_tokens" in event and "completion_tokens" in event
    if not parts_known and not math.isnan(values[TOTAL_TOKENS]):
        event["total_tokens"] = values[TOTAL_TOKENS]
    if batch.sketches is not None:
        event |= {name: text_of(sketch) for name, sketch in zip(SKETCH_FIELDS, batch.sketches[i], strict=True) if sketch[0]}
    return event


def _spliced(event: dict[str, object], extra: bytes | None, *, failed: bool) -> bytes:
    """The columns and the rest as one object, without decoding the rest."""
    if failed:
        event["success"] = False
    head = msgspec.json.encode(event)
    return head if not extra or extra == b"{}" else head[:-1] + b"," + extra[1:]
