"""Traffic over time, from the rollups: the answer to `SeriesQuery`, as a function of one read-only connection."""

import sqlite3
from math import isnan
from typing import Final

import numpy as np
import orjson

from sentinel.core.batch import Float64, SeriesKey
from sentinel.core.query import SeriesPoint, SeriesPoints, SeriesQuery
from sentinel.core.timestamp import rfc3339
from sentinel.storage import rollup, rollup_rows, schema, sketch
from sentinel.storage.reader import bounds, capped, series_condition, series_names
from sentinel.storage.rollup import EVERYTHING, MINUTE_NS, SUMS, Rollups

MAX_POINTS: Final = 50_000
"""Most points in one answer, over all series."""

_ROWS_AT_ONCE: Final = 5_000
_LATENCY, _TTFT = 0, 1
_LATENCY_COUNT, _LATENCY_SUM = (SUMS.index(name) for name in ("latency_count", "latency_sum_ms"))

# The other sketches are left where they are: most of a row's bytes.
_COLUMNS: Final = ", ".join((*schema.ROLLUP_KEY, *schema.ROLLUP_VALUES[: len(SUMS) + 2], "latency_sketch", "ttft_sketch"))
_ROWS: Final = f"SELECT {_COLUMNS} FROM rollups WHERE minute >= :first AND minute < :last {{matching}} ORDER BY minute, series"  # noqa: S608  names of our own columns
_BUSIEST: Final = (
    "SELECT series, sum(requests) AS traffic FROM rollups WHERE minute >= :first AND minute < :last {matching} "
    "GROUP BY series ORDER BY traffic DESC, series LIMIT :limit"
)
_CHOSEN: Final = " AND series IN (SELECT value FROM json_each(:chosen))"


def timeseries(connection: sqlite3.Connection, query: SeriesQuery) -> list[SeriesPoints]:
    """Points of whole minutes: the minute the range starts in is part of it. A step without traffic has no point.

    Steps begin at multiples of `step_s` since the epoch. With `by_series` the busiest `limit` series, the busiest first; else exactly one
    list of points.

    Raises:
        ValueError: the step is no multiple of 60 s, the limit unusable, or the answer would be larger than MAX_POINTS.
    """
    if query.step_s < 60 or query.step_s % 60:
        raise ValueError("step_s must be a multiple of 60")
    condition, parameters = series_condition(query.series)
    # One minute of all series together is one row of its own: the question asked most does not read every series.
    matching = f" AND series > {EVERYTHING}{condition}" if condition or query.by_series else f" AND series = {EVERYTHING}"
    span = bounds(query.range)
    parameters |= {"first": span["start"] // MINUTE_NS, "last": -(-span["end"] // MINUTE_NS)}
    step = query.step_s // 60
    limit = capped(query.limit)
    if not query.by_series:
        merged = _merged(connection, _ROWS.format(matching=matching), parameters, step, by_series=False)
        return [SeriesPoints(tenant=None, service=None, model=None, points=_points(merged) if merged else [])]
    busiest = [series for series, _ in connection.execute(_BUSIEST.format(matching=matching), parameters | {"limit": limit})]
    chosen = {"first": parameters["first"], "last": parameters["last"], "chosen": orjson.dumps(busiest).decode()}
    merged = _merged(connection, _ROWS.format(matching=_CHOSEN), chosen, step, by_series=True)
    return _by_series(merged, busiest, series_names(connection, busiest)) if merged else []


def _merged(
    connection: sqlite3.Connection, statement: str, parameters: dict[str, int | str], step: int, *, by_series: bool
) -> Rollups | None:
    """The matching rollups, merged by step and, if wanted, series; None when there are none.

    Rows are merged a few thousand at a time, so memory follows the size of the answer, not of the range.
    """
    cursor = connection.execute(statement, parameters)
    merged: Rollups | None = None
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        part = rollup_rows.from_rows(rows)
        series = part.series if by_series else np.zeros(len(part), dtype=np.int64)
        part = rollup.regroup(part, part.minute // step * step, series)
        merged = rollup.merge([merged, part]) if merged is not None else part
        if len(merged) > MAX_POINTS:
            raise ValueError(
                f"the answer would have more than {MAX_POINTS:,} points; choose a larger step_s, a shorter range or a smaller limit"
            )
    return merged


def _by_series(merged: Rollups, busiest: list[int], names: dict[int, SeriesKey]) -> list[SeriesPoints]:
    """The points of each series, in the order of `busiest`."""
    points: dict[int, list[SeriesPoint]] = {number: [] for number in busiest}
    for number, point in zip(merged.series.tolist(), _points(merged), strict=True):
        points[number].append(point)
    return [
        SeriesPoints(tenant=names[number].tenant, service=names[number].service, model=names[number].model, points=points[number])
        for number in busiest
    ]


def _points(merged: Rollups) -> list[SeriesPoint]:
    """One point a group, in order."""
    with np.errstate(invalid="ignore"):
        mean = merged.sums[:, _LATENCY_SUM] / merged.sums[:, _LATENCY_COUNT]
    estimates = [
        _quantiles(merged, metric, q) for metric, q in ((_LATENCY, 0.5), (_LATENCY, 0.95), (_LATENCY, 0.99), (_TTFT, 0.5), (_TTFT, 0.95))
    ]
    columns = [_optional(column) for column in (mean, *estimates)]
    return [
        SeriesPoint(
            timestamp=rfc3339(minute * MINUTE_NS),
            requests=int(requests),
            errors=int(errors),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=total_tokens,
            cost_usd=cost_usd,
            latency_mean_ms=latency[0],
            latency_p50_ms=latency[1],
            latency_p95_ms=latency[2],
            latency_p99_ms=latency[3],
            ttft_p50_ms=latency[4],
            ttft_p95_ms=latency[5],
        )
        for minute, (requests, errors, prompt_tokens, completion_tokens, total_tokens, cost_usd, *_), latency in zip(
            merged.minute.tolist(), merged.sums.tolist(), zip(*columns, strict=True), strict=True
        )
    ]


def _quantiles(merged: Rollups, metric: int, q: float) -> Float64:
    return sketch.quantiles(merged.sketches[metric], len(merged), q)


def _optional(column: Float64) -> list[float | None]:
    """The numbers, None for NaN."""
    return [None if isnan(value) else value for value in column.tolist()]
