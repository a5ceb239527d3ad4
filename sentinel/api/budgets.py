"""Where budgets stand: what was spent, what is allowed, and what the period's end is forecast to bring."""

import asyncio
from collections.abc import Iterable, Sequence
from math import hypot, isnan

import msgspec
from aiohttp import web

from sentinel.api import params
from sentinel.api.context import CONTEXT
from sentinel.api.operation import Operation, Parameter, reply
from sentinel.core.access import Scope
from sentinel.core.timestamp import rfc3339
from sentinel.detection.budgets import Spending
from sentinel.pipeline.shard import Shard

PARAMETERS = (
    Parameter("budget", "Only the budget of this name", {"type": "string", "maxLength": 128}),
    Parameter("service", "Only this service's", {"type": "string", "maxLength": 128}),
    Parameter("tenant", "Only this tenant's", {"type": "string", "maxLength": 64}),
    params.LIMIT,
)


class BudgetLine(msgspec.Struct, kw_only=True):
    """One limit and its spender, over all partitions that are read here; `service`, `model` and `user` are null where all count together.

    The forecast is of the period's whole spend, with its interval of 95%; null where too little is known, or the period is over.
    """

    budget: str
    tenant: str
    service: str | None
    model: str | None
    user: str | None
    since: str
    spent_usd: float
    limit_usd: float
    used: float
    forecast_usd: float | None
    forecast_lower_usd: float | None
    forecast_upper_usd: float | None


class BudgetLines(msgspec.Struct):
    """Where budgets stand, the most used first."""

    budgets: list[BudgetLine]
    count: int


async def budgets(request: web.Request) -> web.Response:
    """Every spender of every budget since its period began."""
    context = request.app[CONTEXT]
    given = request.query
    params.known(given, PARAMETERS)
    limit, wanted = params.limit(given), {name: given[name] for name in ("budget", "service", "tenant") if name in given}
    found = [line for shard in list(context.pipeline.shards.values()) for line in await asyncio.to_thread(_spending, shard)]
    lines = [line for line in in_common(found) if all(getattr(line, name) == value for name, value in wanted.items())]
    lines.sort(key=lambda line: line.used, reverse=True)
    return reply(BudgetLines(lines[:limit], len(lines[:limit])))


def _spending(shard: Shard) -> list[Spending]:
    with shard.lock:
        return shard.over_time.watch.spending()


def in_common(found: Iterable[Spending]) -> list[BudgetLine]:
    """What partitions tell of the same spender in the newest period, added up; their forecasts err independently."""
    parts: dict[tuple[object, ...], list[Spending]] = {}
    for one in found:
        parts.setdefault((one.rule, one.spender), []).append(one)
    return [_sum(told) for told in parts.values()]


def _sum(told: Sequence[Spending]) -> BudgetLine:
    newest = max(one.start_ns for one in told)
    now = [one for one in told if one.start_ns == newest]
    first, spent = now[0], sum(one.spent_usd for one in now)
    expected = sum(one.expected_usd for one in now)
    known = not isnan(expected)
    return BudgetLine(
        budget=first.rule,
        tenant=first.spender.tenant,
        service=first.spender.service,
        model=first.spender.model,
        user=first.spender.user,
        since=rfc3339(newest),
        spent_usd=spent,
        limit_usd=first.limit_usd,
        used=spent / first.limit_usd,
        forecast_usd=expected if known else None,
        forecast_lower_usd=expected - hypot(*(one.expected_usd - one.lower_usd for one in now)) if known else None,
        forecast_upper_usd=expected + hypot(*(one.upper_usd - one.expected_usd for one in now)) if known else None,
    )


OPERATIONS = (
    Operation(
        "GET",
        "/api/v1/budgets",
        budgets,
        "What was spent of every budget in its period, and what its end is forecast to bring",
        {200: "Budgets", 400: "Bad parameter"},
        PARAMETERS,
        BudgetLines,
        scope=Scope.READ,
    ),
)
