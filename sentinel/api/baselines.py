"""What is normal now: the windows in memory."""

import asyncio
from collections.abc import Callable
from math import isnan

import msgspec
from aiohttp import web

from sentinel.api import params
from sentinel.api.context import CONTEXT
from sentinel.api.operation import Operation, Parameter, reply
from sentinel.core.access import Scope
from sentinel.core.batch import SeriesKey
from sentinel.core.metrics import METRIC_INDEX, METRIC_NAMES, METRICS
from sentinel.core.timestamp import rfc3339
from sentinel.detection.baselines import BaselineView
from sentinel.detection.zscore import SENSITIVITY
from sentinel.pipeline.shard import Shard

ROWS_PER_LOCK = 32
"""Series read in one go; the worker waits no longer than that."""

PARAMETERS = (
    *params.SERIES,
    Parameter("metric", "Only this metric", {"type": "string", "enum": list(METRIC_NAMES)}),
    params.LIMIT,
)


class Baseline(msgspec.Struct, kw_only=True):
    """One window of one partition, in the metric's unit. `lower` and `upper` are the z-score's band."""

    key: str
    tenant: str
    service: str
    model: str
    metric: str
    samples: int
    mean: float | None
    stddev: float | None
    median: float | None
    mad: float | None
    q1: float | None
    q3: float | None
    p95: float | None
    p99: float | None
    min: float | None
    max: float | None
    lower: float | None
    upper: float | None
    updated_at: str | None
    partition: str


class Baselines(msgspec.Struct):
    """What is normal now."""

    baselines: list[Baseline]
    count: int


async def baselines(request: web.Request) -> web.Response:
    """Windows of the chosen series and metrics."""
    context = request.app[CONTEXT]
    given = request.query
    params.known(given, PARAMETERS)
    wanted, metric, limit = params.series(given), params.choice(given, "metric", METRIC_NAMES), params.limit(given)

    def chosen(key: SeriesKey, name: str) -> bool:
        return (
            wanted.service in {None, key.service}
            and wanted.model in {None, key.model}
            and wanted.tenant in {None, key.tenant}
            and metric in {None, name}
        )

    found: list[Baseline] = []
    for shard in list(context.pipeline.shards.values()):
        for start in range(0, len(shard.baselines.names), ROWS_PER_LOCK):
            if len(found) >= limit:
                break
            views = await asyncio.to_thread(_views, shard, range(start, start + ROWS_PER_LOCK), chosen)
            found += [_shown(view, shard) for view in views]
    return reply(Baselines(found[:limit], len(found[:limit])))


def _views(shard: Shard, rows: range, chosen: Callable[[SeriesKey, str], bool]) -> list[BaselineView]:
    with shard.lock:
        return shard.baselines.views(rows, chosen)


def _shown(view: BaselineView, shard: Shard) -> Baseline:
    rules = shard.rules
    least = METRICS[METRIC_INDEX[view.metric]].resolution
    spread = 0.0 if isnan(view.stddev) else view.stddev
    reach = max(spread, least) * rules.zscore.threshold * SENSITIVITY[rules.zscore.sensitivity]
    return Baseline(
        key=f"{view.series.service}:{view.series.model}:{view.metric}",
        tenant=view.series.tenant,
        service=view.series.service,
        model=view.series.model,
        metric=view.metric,
        samples=view.samples,
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
        lower=view.mean - reach,
        upper=view.mean + reach,
        updated_at=rfc3339(shard.watermark_ns) if shard.watermark_ns else None,
        partition=str(shard.source),
    )


OPERATIONS = (
    Operation(
        "GET",
        "/api/v1/baselines",
        baselines,
        "What is normal now, per service x model x metric and partition; lower and upper are the z-score's band",
        {200: "Baselines", 400: "Bad parameter"},
        PARAMETERS,
        Baselines,
        scope=Scope.READ,
    ),
)
