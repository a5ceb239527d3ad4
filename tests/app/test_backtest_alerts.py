"""From what is found to alerts, their comparison, counts and rates: with plain values."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from alert_anomalies import START_NS, anomalies, columns
from alert_anomalies import Found as Short
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from sentinel.alerting.episodes import Rules, step
from sentinel.alerting.sightings import sightings
from sentinel.app.backtest.alerts import PastAlert, PastAlerts
from sentinel.app.backtest.columns import BUCKETS, Columns
from sentinel.app.backtest.compare import changes
from sentinel.app.backtest.rates import WEEK_NS, weekly
from sentinel.app.backtest.tally import MOST_KINDS, Kind, Tally
from sentinel.core.batch import OVERFLOW, SeriesKey

RULES = Rules(window_ns=300_000_000_000, deduplicate=True, max_open=10_000, routes=())


def told(*short: Short, rules: Rules = RULES, least: int = 1, per_batch: int = 1_000) -> list[PastAlert]:
    """The alerts of anomalies, seen some at a time."""
    alerts = PastAlerts(rules, least)
    seen = sightings(anomalies(*short))
    for first in range(0, len(seen), per_batch):
        part = seen[first : first + per_batch]
        alerts.see(part, max(sighting.ts_ns for sighting in part))
    return alerts.finished()


def spells(alerts: Sequence[PastAlert]) -> list[tuple[str, int, int, int]]:
    """Service, seconds from and to, and severity of each."""
    return [
        (a.subject.series.service, (a.started_ns - START_NS) // 10**9, (a.last_seen_ns - START_NS) // 10**9, a.severity) for a in alerts
    ]


def test_episodes_are_those_of_the_live_rules() -> None:
    """They begin, go on and end as the live intake decides, those that still go on at the end as well."""
    short = [Short(0), Short(100), Short(250, "critical"), Short(700), Short(720, service="search"), Short(800, "info")]
    found = told(*short)
    assert spells(found) == [("chat", 0, 250, 2), ("chat", 700, 700, 1), ("search", 720, 720, 1)]
    live = step(RULES, {}, 0, [sighting for sighting in sightings(anomalies(*short)) if sighting.severity >= 1])
    assert {alert.alert_id for alert in found} == {episode.alert_id for episode in live.episodes}
    assert {alert.title for alert in found} == {episode.title() for episode in live.episodes}
    assert {alert.description for alert in found} == {episode.description() for episode in live.episodes}
    assert [alert.messages for alert in found] == [2, 1, 1]


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=60), st.integers(1, 7))
@settings(max_examples=60)
def test_alerts_do_not_depend_on_how_they_are_cut(seconds: list[int], per_batch: int) -> None:
    """Closing what is quiet in between changes nothing, as long as time goes on."""
    short = [Short(at, "critical" if at % 5 == 0 else "warning", f"s{at % 3}") for at in sorted(seconds)]
    assert told(*short, per_batch=per_batch) == told(*short)


def test_only_so_many_are_open_at_once() -> None:
    """What has been quiet for longer than the window makes room; what is too much is gathered, as live."""
    few = Rules(RULES.window_ns, deduplicate=True, max_open=2, routes=())
    crowded = told(*(Short(i, service=f"s{i}") for i in range(5)), rules=few, per_batch=1)
    assert [alert.subject.type for alert in crowded].count("alert_overflow") == 1
    assert len(crowded) == 3
    apart = told(*(Short(i * 1_000, service=f"s{i}") for i in range(5)), rules=few, per_batch=1)
    assert len(apart) == 5


def test_a_flood_is_counted_and_the_part_that_is_complete_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """All alerts before that time are there; beyond it two configurations cannot be compared, and are not."""
    short = [Short(i * 1_000) for i in range(20)]
    whole = told(*short)
    monkeypatch.setattr("sentinel.app.backtest.alerts.MOST_ALERTS", 8)
    alerts = PastAlerts(RULES, 1)
    alerts.see(sightings(anomalies(*short)), START_NS + 20_000 * 10**9)
    kept = alerts.finished()
    assert (len(kept), alerts.total) == (8, 20)
    assert alerts.all_before_ns is not None
    assert [alert for alert in whole if alert.started_ns < alerts.all_before_ns] == kept
    found = changes(kept, whole, 0, alerts.all_before_ns)
    assert (found.appear, found.disappear) == ([], [])


def test_the_same_alert_may_begin_at_another_time() -> None:
    """Two alerts about the same that overlap are one, whatever their ids; others appear and disappear."""
    before = told(Short(0), Short(100), Short(1_000), Short(5_000, service="search"))
    after = told(Short(50), Short(2_000), Short(5_000, "critical", "search"))
    found = changes(before, after, RULES.window_ns)
    assert spells(found.disappear) == [("chat", 1_000, 1_000, 1)]
    assert spells(found.appear) == [("chat", 2_000, 2_000, 1)]
    assert [(old.severity, new.severity) for old, new in found.severities] == [(1, 2)]
    nothing = changes(before, before, RULES.window_ns)
    assert (nothing.appear, nothing.disappear, nothing.severities) == ([], [], [])
    assert changes(before, [], 0).disappear == before
    assert changes([], before, 0).appear == before


@given(st.lists(st.integers(0, 5_000), max_size=20), st.lists(st.integers(0, 5_000), max_size=20))
@settings(max_examples=100)
def test_comparing_finds_every_overlap(first: list[int], second: list[int]) -> None:
    """The search among alerts in order of time finds what looking at every pair finds."""
    before, after = (told(*(Short(at) for at in sorted(seconds))) for seconds in (first, second))
    slack = RULES.window_ns // 3

    def overlap(a: PastAlert, b: PastAlert) -> bool:
        return a.started_ns <= b.last_seen_ns + slack and b.started_ns <= a.last_seen_ns + slack

    found = changes(before, after, slack)
    assert found.disappear == [a for a in before if not any(overlap(a, b) for b in after)]
    assert found.appear == [b for b in after if not any(overlap(a, b) for a in before)]


def test_what_began_together_is_the_same() -> None:
    """An alert that is told later, because another threshold was surer later, is about the same trouble."""
    early, late = told(Short(0)), told(Short(1_000))
    assert changes(early, late, RULES.window_ns).appear == late
    since = replace(late[0], strongest=structs.replace(late[0].strongest, since=early[0].strongest.timestamp))
    assert since.since_ns == START_NS
    found = changes(early, [since], 0)
    assert (found.appear, found.disappear) == ([], [])


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 2.996), (1, 0.0513, 4.744), (10, 5.425, 16.96), (100, 84.14, 118.1)])
def test_rates_have_the_exact_interval_within_two_percent(count: int, low: float, high: float) -> None:
    """Bounds are those of the Poisson distribution, from published tables; and a short time widens what is said of a week."""
    rate = weekly(count, WEEK_NS)
    assert rate.weekly == count
    assert rate.low == pytest.approx(low, rel=0.02, abs=0.02)
    assert rate.high == pytest.approx(high, rel=0.02)
    assert weekly(count, WEEK_NS // 7).high == pytest.approx(7 * rate.high)


def test_what_fired_is_counted_by_kind() -> None:
    """With severities, and the times of the first and the last."""
    tally = Tally()
    batch, found = columns([Short(5, "critical"), Short(1), Short(9, detector="cusum"), Short(3, "info", metric="cost_usd")])
    tally.events(batch, found)
    tally.window(anomalies(Short(700))[0])
    chat = SeriesKey("default", "chat", "gpt-4o")
    spike = tally.fired[Kind(chat, "latency_spike", "zscore")]
    assert (spike.by_severity, spike.total) == ([0, 2, 1], 3)
    assert [(at - START_NS) // 10**9 for at in (spike.first_ns, spike.last_ns)] == [1, 700]
    assert tally.fired[Kind(chat, "latency_drift", "cusum")].total == 1
    assert tally.fired[Kind(chat, "cost_anomaly", "zscore")].by_severity == [1, 0, 0]


def test_hostile_names_do_not_fill_the_tally() -> None:
    """Beyond a bound they are counted together."""
    tally = Tally()
    for first in range(0, MOST_KINDS + 1_000, 1_000):
        tally.events(*columns([Short(0, service=f"s{first + i}") for i in range(1_000)]))
    assert len(tally.fired) == MOST_KINDS + 1
    assert tally.fired[Kind(OVERFLOW._replace(tenant="default"), "latency_spike", "zscore")].total == 1_000


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300), st.integers(1, 50))
@settings(max_examples=60)
def test_stretches_of_time_lose_nothing(seconds: list[int], per_batch: int) -> None:
    """However long the time is, there are at most so many stretches, sums stay what they are, and quantiles hold for each."""
    times = np.array(seconds, np.int64) * 10**9 + START_NS
    values = np.arange(1.0, len(times) + 1.0)
    kept = Columns(10**10, ("count", "sum"))
    for first in range(0, len(times), per_batch):
        part = slice(first, first + per_batch)
        places = kept.places(times[part])
        kept.add("count", places, np.ones(len(places)))
        kept.add("sum", places, values[part])
        kept.sketch(places, values[part])
    assert kept.used <= BUCKETS
    assert kept.sums["count"].sum() == len(times)
    assert kept.sums["sum"].sum() == pytest.approx(values.sum())
    assert kept.start_ns is not None
    own = np.maximum((times - kept.start_ns) // kept.width_ns, 0)
    medians = kept.quantile(0.5)
    for place in np.unique(own).tolist():
        ordered = np.sort(values[own == place])
        assert medians[place] == pytest.approx(ordered[(len(ordered) - 1) // 2], rel=0.011)
