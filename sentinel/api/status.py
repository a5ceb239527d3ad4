"""The daemon itself: status, ledger, metrics."""

import resource
import sys
from pathlib import Path

import msgspec
from aiohttp import web

from sentinel import __version__
from sentinel.alerting.channel import ChannelStatus
from sentinel.api import params
from sentinel.api.access import metrics_are_public
from sentinel.api.context import CONTEXT, Context
from sentinel.api.operation import Operation, reply
from sentinel.api.peers import OWN_SCOPE, SCOPE, SCOPES, Missing
from sentinel.core.access import Scope
from sentinel.core.timestamp import rfc3339
from sentinel.detection.plugin_run import Failure


class Feeling(msgspec.Struct):
    """`healthy`, or `degraded` for these reasons."""

    status: str
    reasons: list[str]


class PluginFailure(msgspec.Struct):
    """A detector of others that failed in a partition."""

    partition: str
    failure: Failure


class Status(msgspec.Struct, kw_only=True):
    """What the daemon is doing; counts are since its start, `store` is what is there now."""

    version: str
    mode: str
    started_at: str
    uptime_s: float
    events_per_s: float
    events_received: int
    events_stored: int
    dead_letters: int
    duplicates: int
    filtered: int
    in_flight: int
    series: int
    windows: int
    partitions: list[str]
    queue_bytes: int
    queue_max_bytes: int
    paused: bool
    store: dict[str, int]
    receivers: list[ChannelStatus]
    plugin_failures: list[PluginFailure]
    health: Feeling
    alarms: list[str]
    watermark: str | None
    rss_bytes: int


class StatusOfAll(Status, kw_only=True, omit_defaults=True):
    """The status of the replica that is asked; with `scope=all` also those of the others, and who of them did not answer."""

    others: list[Status] = []
    missing: list[Missing] = []


class PartitionAccount(msgspec.Struct, kw_only=True):
    """Where the events of one partition are."""

    partition: str
    received: int
    stored: int
    dead_lettered: int
    duplicate: int
    filtered: int
    in_flight: int
    imbalance: int


class LedgerSheet(msgspec.Struct, omit_defaults=True):
    """All accounts; balanced when no event is nowhere. `missing` is there when replicas did not answer: their accounts are left out."""

    balanced: bool
    partitions: list[PartitionAccount]
    missing: list[Missing] = []


async def status(request: web.Request) -> web.Response:
    """What it is doing, how much, and how it feels."""
    context = request.app[CONTEXT]
    params.known(request.query, (OWN_SCOPE,))
    everybody = params.choice(request.query, "scope", SCOPES) == "all"
    others, missing = await context.peers.ask(request, Status) if context.peers is not None and everybody else ([], [])
    pipeline, total, reasons = context.pipeline, context.pipeline.ledger.total(), context.reasons()
    alarms, shards = context.alarms(), list(pipeline.shards.values())
    watermark = max((shard.watermark_ns for shard in shards), default=0)
    now_ns = context.clock.now_ns()
    return reply(
        StatusOfAll(
            version=__version__,
            mode=context.mode,
            started_at=rfc3339(context.started_ns),
            uptime_s=round((now_ns - context.started_ns) / 1e9, 1),
            events_per_s=round(context.events_per_s(), 1),
            events_received=total.received,
            events_stored=total.stored,
            dead_letters=total.dead_lettered,
            duplicates=total.duplicate,
            filtered=total.filtered,
            in_flight=total.in_flight,
            series=sum(len(shard.baselines.names) for shard in shards),
            windows=sum(len(shard.baselines.names) * len(shard.baselines.windows) for shard in shards),
            partitions=[str(shard.source) for shard in shards],
            queue_bytes=pipeline.in_flight_bytes + (context.ingest.queue_bytes if context.ingest else 0),
            queue_max_bytes=context.config.pipeline.queue_max_bytes,
            paused=pipeline.paused,
            store=msgspec.to_builtins(await context.counts()),
            receivers=list(context.receivers()),
            plugin_failures=[
                PluginFailure(str(shard.source), failure) for shard in shards for failure in shard.over_time.plugins.failures()
            ],
            health=Feeling("degraded" if reasons or alarms else "healthy", [*reasons, *alarms]),
            alarms=alarms,
            watermark=rfc3339(watermark) if watermark else None,
            rss_bytes=rss_bytes(),
            others=others,
            missing=missing,
        )
    )


async def ledger(request: web.Request) -> web.Response:
    """Received = stored + dead-lettered + duplicate + filtered + in flight, per partition, since start."""
    context = request.app[CONTEXT]
    accounts = context.pipeline.ledger.accounts
    params.known(request.query, (SCOPE,))
    alone = params.choice(request.query, "scope", SCOPES) == "replica"
    partitions = [
        PartitionAccount(
            partition=str(source),
            received=account.received,
            stored=account.stored,
            dead_lettered=account.dead_lettered,
            duplicate=account.duplicate,
            filtered=account.filtered,
            in_flight=account.in_flight,
            imbalance=account.imbalance,
        )
        for source, account in accounts.items()
    ]
    missing: list[Missing] = []
    if context.peers is not None and not alone:
        answers, missing = await context.peers.ask(request, LedgerSheet)
        partitions += [account for sheet in answers for account in sheet.partitions]
    return reply(LedgerSheet(not any(account.imbalance for account in partitions), partitions, missing))


async def metrics(request: web.Request) -> web.Response:
    """Prometheus or OpenMetrics text."""
    body, kind = request.app[CONTEXT].metrics.expose(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": kind})


def rss_bytes() -> int:
    """Resident memory of this process now; where /proc is missing, its peak."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def operations(context: Context) -> tuple[Operation, ...]:
    """The metrics' path and scope are configurable, hence a function."""
    api, shown, sheet = context.config.api, {200: "Status"}, {200: "Ledger"}
    scrape = Scope.PUBLIC if metrics_are_public(api) else Scope.READ
    return (
        Operation(
            "GET",
            "/api/v1/status",
            status,
            "What the daemon is doing",
            shown,
            (OWN_SCOPE,),
            result=StatusOfAll,
            tag="daemon",
            scope=Scope.READ,
        ),
        Operation(
            "GET", "/api/v1/ledger", ledger, "The conservation ledger", sheet, (SCOPE,), result=LedgerSheet, tag="daemon", scope=Scope.READ
        ),
        Operation("GET", api.metrics_path, metrics, "Prometheus metrics", {200: "Metrics"}, tag="daemon", early=True, scope=scrape),
    )
