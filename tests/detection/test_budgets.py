"""Budgets and their forecast."""

from math import isnan
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from usage_events import CHAT, DAY_S, HOUR_S, NOON, Traffic, healthy, pseudonym, run, watch_of

from sentinel.config.sections_usage import BudgetRule
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import SeriesKey
from sentinel.detection import forecast
from sentinel.detection.closing import HOUR_NS
from sentinel.detection.columns import Columns
from sentinel.detection.forecast import end_of, kind_of, start_of
from sentinel.detection.watch import Watch

RULE: dict[str, Any] = {"name": "b", "period": "day", "limit_usd": 10.0, "forecast": False}


def spending(hours: float, usd_per_hour: float, *, start_s: float = NOON) -> Traffic:
    """One request a minute, all of the same price."""
    ts = start_s + 60.0 * np.arange(round(hours * 60)) + 1.0
    traffic = healthy(1, 1, 1)
    n, zeros = len(ts), np.zeros(len(ts))
    return Traffic(
        ts_s=ts,
        prompt=zeros + usd_per_hour / 60 / 1e-5,
        completion=zeros,
        latency=zeros + 100,
        error=zeros > 0,
        personal=zeros > 0,
        user=np.arange(n) % 4,
        finish=["stop"] * n,
        series=np.zeros(n, np.int64),
        names=traffic.names,
    )


def budget_watch(**rule: Any) -> Watch:
    """A watch with one budget only."""
    off = {"enabled": False}
    return watch_of(budgets=[RULE | rule], drift=off, abuse=off, leaks=off)


def told(traffic: Traffic, **rule: Any) -> list[Anomaly]:
    """What one budget tells."""
    return run(budget_watch(**rule), traffic, until_s=traffic.ts_s[-1] + 360)


def test_shares_of_the_limit_are_told_once() -> None:
    """Half, four fifths and all of the limit are told when they are reached, each more severe."""
    found = told(spending(20, 1.0))
    assert [(a.timestamp[11:16], a.severity, a.type) for a in found] == [
        ("05:00", "info", "budget"),
        ("08:00", "warning", "budget"),
        ("10:00", "critical", "budget"),
    ]
    assert [round(a.value, 6) for a in found] == [5.0, 8.0, 10.0]
    assert all(a.score == pytest.approx(1.0) for a in found)
    assert "reached $10.00, 100% of the $10.00 that budget 'b' allows for the day" in found[2].explanation
    assert (found[0].service, found[0].model) == ("__all__", "__all__")


def test_of_several_shares_at_once_the_largest_is_told() -> None:
    """A jump past all shares is one anomaly."""
    (anomaly,) = told(spending(0.2, 2_000.0))
    assert anomaly.severity == "critical"
    assert anomaly.score > 1.0


@pytest.mark.parametrize(("period", "times"), [("hour", 3), ("day", 2), ("month", 2)])
def test_a_new_period_starts_from_nothing(period: str, times: int) -> None:
    """Every hour, day or month of the calendar in UTC has its own limit."""
    length = {"hour": HOUR_S, "day": DAY_S, "month": 31 * DAY_S}[period]
    parts = [spending(0.5, 30.0, start_s=NOON + i * length + 600) for i in range(times)]
    watch, found = budget_watch(period=period, warn_at=[1.0]), []
    for part in parts:
        found += run(watch, part)
    found += watch.mark(round((parts[-1].ts_s[-1] + 600) * 1e9), 0)
    assert len(found) == times
    assert len({a.id for a in found}) == times


def test_shares_are_configured() -> None:
    """`warn_at` decides which shares are told."""
    assert [round(a.value, 6) for a in told(spending(20, 1.0), warn_at=[1.5, 0.2])] == [2.0, 15.0]


def test_who_has_the_limit_is_configured() -> None:
    """`per` gives each service, model or user a limit of its own."""
    traffic = spending(20, 1.0)
    traffic.names = [CHAT, SeriesKey("default", "search", "m"), SeriesKey("default", "search", "n")]
    traffic.series = np.arange(len(traffic)) % 3
    limits = {"limit_usd": 6.0, "warn_at": [1.0]}
    assert [(a.service, a.model) for a in told(traffic, per="all", **limits)] == [("__all__", "__all__")]
    assert [(a.service, a.model) for a in told(traffic, per="service", **limits)] == [("search", "__all__"), ("chat", "__all__")]
    assert [(a.service, a.model) for a in told(traffic, per="model", **limits)] == [("__all__", "m"), ("__all__", "n")]
    users = told(traffic, per="user", limit_usd=5.0, warn_at=[0.99])
    assert {a.contributors[0].value for a in users} == {pseudonym(i) for i in range(4)}
    assert all(pseudonym(0)[:3] in a.explanation for a in users)


def test_matchers_are_configured() -> None:
    """`service` and `model` choose whose spend counts, also for users."""
    traffic = spending(20, 1.0)
    assert told(traffic, service="se*") == []
    assert told(traffic, model="other") == []
    assert told(traffic, service="se*", per="user", limit_usd=1.0) == []
    assert len(told(traffic, service="ch?t", model="m")) == 3


def test_tenants_have_budgets_of_their_own() -> None:
    """A limit for all is a limit for each tenant: no tenant sees what another spends."""
    traffic = spending(20, 1.0)
    traffic.names, traffic.series = [SeriesKey("a", "chat", "m"), SeriesKey("b", "chat", "m")], np.arange(len(traffic)) % 2
    assert {a.tenant for a in told(traffic, limit_usd=9.0, warn_at=[1.0])} == {"a", "b"}


def test_sums_are_exact() -> None:
    """Thousands of requests of a few billionths of a dollar add up exactly."""
    traffic = spending(250, 60 * 1e-9 * 3)
    watch = budget_watch(period="month", limit_usd=60_000 * 3e-9, warn_at=[1.0])
    run(watch, traffic.take(slice(0, 14_400)), until_s=NOON + 10 * DAY_S + 10)
    (line,) = watch.spending()
    assert line.spent_usd == pytest.approx(14_400 * 3e-9, rel=1e-12)


def test_requests_without_a_price_are_counted() -> None:
    """The sentence says how many requests had no price."""
    watch = budget_watch()
    batch = spending(10.2, 1.0).batch()
    batch.metrics[::2, 6] = np.nan
    found = watch.observe(batch, batch.metrics)
    assert "300 requests had no price" in found[0].explanation


def test_the_state_is_bounded() -> None:
    """Beyond the room for accounts the smaller half is dropped, and who spent most is still told."""
    traffic = spending(10, 1.0)
    traffic.user = np.where(np.arange(len(traffic)) % 2, 7, 1_000 + np.arange(len(traffic)))
    off = {"enabled": False}
    rules = {"budgets": [RULE | {"per": "user", "limit_usd": 4.0, "warn_at": [1.0]}], "max_watched_series": 20, "abuse": {"max_users": 64}}
    watch = watch_of(**rules, drift=off, leaks=off)
    found = [a for a in run(watch, traffic, until_s=NOON + 11 * HOUR_S) if a.type == "budget"]
    assert [a.contributors[0].value for a in found] == [pseudonym(7)]
    assert len(watch.spending()) <= 128


def test_a_new_limit_keeps_what_was_spent() -> None:
    """After a reload with another limit or name order, spend goes on; another period starts anew."""
    watch = budget_watch(limit_usd=100.0)
    run(watch, spending(9, 1.0), until_s=NOON + 9 * HOUR_S + 10)
    for change, spent in (({"limit_usd": 10.0}, 9.0), ({"period": "month", "limit_usd": 10.0}, None)):
        other = budget_watch(**change)
        other.load(watch.tables())
        assert [round(line.spent_usd, 6) for line in other.spending()] == ([] if spent is None else [spent])


def test_budgets_per_user_take_all_models() -> None:
    """Users are counted per service, so a model for them is refused."""
    with pytest.raises(ValidationError, match="leave `model` out"):
        BudgetRule(name="x", limit_usd=1.0, per="user", model="gpt*")


# ------------------------------------------------------------------------------------------------------------------ forecast


def test_a_limit_that_will_be_broken_is_told_ahead() -> None:
    """After days of the same spend the end of the day is known in the morning, with an interval."""
    found = told(spending(60, 1.0), limit_usd=20.0, warn_at=[1.0], forecast=True)
    first = found[0]
    assert first.severity == "critical"
    ahead = next(a for a in found if "forecast" in a.explanation)
    assert ahead.timestamp <= "2026-01-03T01:00:00.000Z"
    assert ahead.expected == pytest.approx(24.0, rel=0.05)
    assert ahead.score > 1.0
    assert told(spending(60, 1.0), limit_usd=20.0, warn_at=[1.0], forecast=False) == [a for a in found if a is not ahead]
    assert not [a for a in told(spending(60, 1.0), limit_usd=30.0, forecast=True) if "is forecast" in a.explanation]


def test_spending_tells_the_forecast() -> None:
    """Where a budget stands is known with its forecast once every kind of unit has been seen twice."""
    watch = budget_watch()
    run(watch, spending(30, 1.0), until_s=NOON + 30 * HOUR_S + 10)
    (line,) = watch.spending()
    assert line.spent_usd == pytest.approx(6.0)
    assert isnan(line.expected_usd)
    run(watch, spending(24, 1.0, start_s=NOON + 30 * HOUR_S), until_s=NOON + 54 * HOUR_S + 10)
    (line,) = watch.spending()
    assert line.lower_usd <= line.expected_usd <= line.upper_usd
    assert line.expected_usd == pytest.approx(24.0, rel=0.05)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_nine_of_ten_days_end_within_the_interval(correlation: float) -> None:
    """The interval holds what it says, with a daily rhythm and with expensive days that stay expensive."""
    rng = np.random.default_rng(4)
    columns, who = Columns(**forecast.COLUMNS), np.array([0])
    columns.reserve(1)
    usual = 1e9 * (2 + np.sin(np.arange(24) / 24 * 2 * np.pi))
    level, inside, asked = 0.0, 0, 0
    for day in range(200):
        units = []
        for _ in range(24):
            level = correlation * level + rng.normal(0, 0.2)
            units.append(max(0.0, 1.0 + level))
        spent = (usual * units).astype(np.int64)
        for hour in range(24):
            if hour == 8 and day > 20:
                so_far = spent[:8].sum()
                start_ns = day * 24 * HOUR_NS
                ahead = forecast.forecast(columns, who, "day", np.array([so_far]), start_ns + 8 * HOUR_NS, start_ns + 24 * HOUR_NS)
                inside += bool(ahead.lower[0] <= spent.sum() <= ahead.upper[0])
                asked += 1
            columns["unit"][0] = spent[hour]
            forecast.learn(columns, who, hour)
    assert 0.8 <= inside / asked <= 0.99


def test_periods_are_those_of_the_calendar() -> None:
    """Months have their own lengths, also in December and in leap years."""
    for ts, start, end in (("2026-12-31T23:59", "2026-12-01", "2027-01-01"), ("2028-02-29T00:00", "2028-02-01", "2028-03-01")):
        start_ns = start_of("month", int(np.datetime64(ts, "ns").astype(np.int64)))
        assert start_ns == int(np.datetime64(start, "ns").astype(np.int64))
        assert end_of("month", start_ns) == int(np.datetime64(end, "ns").astype(np.int64))
    assert end_of("hour", 0) == HOUR_NS
    assert kind_of("day", 5 * HOUR_NS) == 5
