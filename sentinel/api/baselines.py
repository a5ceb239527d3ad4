"""What is normal now: the windows of samples in memory, and what is expected of the time windows."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from math import isfinite, isnan

import msgspec
from aiohttp import web

from sentinel.api import params
from sentinel.api.context import CONTEXT
from sentinel.api.operation import Operation, Parameter, reply
from sentinel.api.peers import SCOPE, SCOPES, Missing
from sentinel.core.access import Scope
from sentinel.core.batch import SeriesKey
from sentinel.core.metrics import METRIC_INDEX, METRIC_NAMES, METRICS
from sentinel.core.query import ANOMALY_KINDS, AnomalyKind, SeriesFilter
from sentinel.core.timestamp import rfc3339
from sentinel.detection.baselines import BaselineView
from sentinel.detection.ticks import TickBand
from sentinel.detection.zscore import SENSITIVITY
from sentinel.pipeline.shard import Shard

ROWS_PER_LOCK = 32
"""Series read in one go; the worker waits no longer than that."""

PARAMETERS = (
    *params.SERIES,
    params.word_of("metric", f"Only this metric: one of events ({', '.join(METRIC_NAMES)}) or of time windows, such as error_rate"),
    Parameter("kind", "Only those of single events, or only those of time windows", {"type": "string", "enum": list(ANOMALY_KINDS)}),
    params.LIMIT,
    SCOPE,
)


class Baseline(msgspec.Struct, kw_only=True):
    """What is normal for one metric of one series in one partition, in the unit its name says.

    Of single events it is a window of samples with its statistics; `lower` and `upper` are the z-score's band around the mean. Of time
    windows it is what is expected now, with what the last minutes gave, how much it can be trusted, and whether an anomaly of it goes on.
    """

    kind: AnomalyKind
    key: str
    tenant: str
    service: str
    model: str
    metric: str
    samples: int
    expected: float | None
    lower: float | None
    upper: float | None
    partition: str
    updated_at: str | None
    mean: float | None = None
    stddev: float | None = None
    median: float | None = None
    mad: float | None = None
    q1: float | None = None
    q3: float | None = None
    p95: float | None = None
    p99: float | None = None
    min: float | None = None
    max: float | None = None
    latest: float | None = None
    confidence: float | None = None
    open: bool | None = None


class Baselines(msgspec.Struct, omit_defaults=True):
    """What is normal now. `missing` is there when replicas did not answer: then their partitions are left out."""

    baselines: list[Baseline]
    count: int
    missing: list[Missing] = []


async def baselines(request: web.Request) -> web.Response:
    """What is normal for the chosen series and metrics: windows of samples first, then time windows."""
    context = request.app[CONTEXT]
    given = request.query
    params.known(given, PARAMETERS)
    wanted, metric, limit = params.series(given), params.word(given, "metric"), params.limit(given)
    kind = params.choice(given, "kind", ANOMALY_KINDS)
    shards = list(context.pipeline.shards.values())
    found: list[Baseline] = []
    if kind != "window":
        found += await _of_events(shards, wanted, metric, limit)
    if kind != "event":
        found += await _of_windows(shards, wanted, metric, limit - len(found))
    if context.peers is None or params.choice(given, "scope", SCOPES) == "replica":
        return reply(Baselines(found, len(found)))
    answers, missing = await context.peers.ask(request, Baselines)
    found += [baseline for answer in answers for baseline in answer.baselines]
    return reply(Baselines(found[:limit], len(found[:limit]), missing))


async def _of_events(shards: Sequence[Shard], wanted: SeriesFilter, metric: str | None, limit: int) -> list[Baseline]:
    """Windows of samples. Rows are chosen by name first, so that one service among many is found without waiting for the worker often."""
    found: list[Baseline] = []

    def chosen(key: SeriesKey, name: str) -> bool:
        return _is_of(key, wanted) and metric in {None, name}

    for shard in shards:
        for rows in _portions(shard.baselines.names.copy(), wanted):
            if len(found) >= limit:
                break
            views = await asyncio.to_thread(_views, shard, rows, chosen)
            found += [_window_of_samples(view, shard) for view in views]
    return found[:limit]


def _portions(names: Sequence[SeriesKey], wanted: SeriesFilter) -> Iterator[Sequence[int]]:
    """The rows of the series that are wanted now, as many at a time as one lock may cover; when they are read they may be another's."""
    rows = range(len(names)) if wanted == SeriesFilter() else [row for row, key in enumerate(names) if _is_of(key, wanted)]
    for start in range(0, len(rows), ROWS_PER_LOCK):
        yield rows[start : start + ROWS_PER_LOCK]


def _is_of(key: SeriesKey, wanted: SeriesFilter) -> bool:
    return wanted.service in {None, key.service} and wanted.model in {None, key.model} and wanted.tenant in {None, key.tenant}


def _views(shard: Shard, rows: Sequence[int], chosen: Callable[[SeriesKey, str], bool]) -> list[BaselineView]:
    with shard.lock:
        return [view for row in rows for view in shard.baselines.views(range(row, row + 1), chosen)]


def _window_of_samples(view: BaselineView, shard: Shard) -> Baseline:
    rules = shard.rules
    least = METRICS[METRIC_INDEX[view.metric]].resolution
    spread = 0.0 if isnan(view.stddev) else view.stddev
    reach = max(spread, least) * rules.zscore.threshold * SENSITIVITY[rules.zscore.sensitivity]
    return Baseline(
        kind="event",
        key=f"{view.series.service}:{view.series.model}:{view.metric}",
        tenant=view.series.tenant,
        service=view.series.service,
        model=view.series.model,
        metric=view.metric,
        samples=view.samples,
        expected=view.mean,
        lower=view.mean - reach,
        upper=view.mean + reach,
        partition=str(shard.source),
        updated_at=_updated_at(shard),
        mean=view.mean,
        stddev=view.stddev,
        median=view.median,
        mad=view.mad,
        q1=view.q1,
        q3=view.q3,
        p95=view.p95,
        p99=view.p99,
        min=view.minimum,
        max=view.maximum,
    )


async def _of_windows(shards: Sequence[Shard], wanted: SeriesFilter, metric: str | None, limit: int) -> list[Baseline]:
    """What is expected of time windows."""
    found: list[Baseline] = []
    for shard in shards:
        for rows in _portions(shard.over_time.ticks.names.copy(), wanted):
            if len(found) >= limit:
                return found[:limit]
            bands = await asyncio.to_thread(_bands, shard, rows)
            found += [_time_window(band, shard) for band in bands if _is_of(band.series, wanted) and metric in {None, band.quantity}]
    return found[: max(limit, 0)]


def _bands(shard: Shard, rows: Sequence[int]) -> list[TickBand]:
    with shard.lock:
        return shard.over_time.bands(rows)


def _time_window(band: TickBand, shard: Shard) -> Baseline:
    return Baseline(
        kind="window",
        key=f"{band.series.service}:{band.series.model}:{band.quantity}",
        tenant=band.series.tenant,
        service=band.series.service,
        model=band.series.model,
        metric=band.quantity,
        samples=band.samples,
        expected=_number(band.expected),
        lower=_number(band.lower),
        upper=_number(band.upper),
        partition=str(shard.source),
        updated_at=_updated_at(shard),
        latest=_number(band.latest),
        confidence=_number(band.confidence),
        open=band.open,
    )


def _number(value: float) -> float | None:
    return value if isfinite(value) else None


def _updated_at(shard: Shard) -> str | None:
    return rfc3339(shard.watermark_ns) if shard.watermark_ns else None


OPERATIONS = (
    Operation(
        "GET",
        "/api/v1/baselines",
        baselines,
        "What is normal now, per service x model x metric and partition: of single events, and of time windows",
        {200: "Baselines", 400: "Bad parameter"},
        PARAMETERS,
        Baselines,
        scope=Scope.READ,
    ),
)
