"""The windows of a partition: the law of batch independence, lateness, snapshots, bounds."""

from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from usage_events import CHAT, DAY_S, HOUR_S, NOON, SOURCE, Traffic, healthy, run, watch_of

from sentinel.config.sections_ticks import Ticks
from sentinel.config.sections_usage import Watching
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import OVERFLOW, SeriesKey
from sentinel.core.command import AcceptRegime, Marker, Which
from sentinel.core.errors import SnapshotError
from sentinel.core.flags import Flag
from sentinel.detection.watch import Watch

RULES: dict[str, Any] = {
    "drift": {"warm_up_hours": 3},
    "abuse": {"min_requests": 40, "factor": 2.0},
    "thresholds": [{"name": "slow", "metric": "latency_ms", "statistic": "p95", "warning": 9000.0, "window_minutes": 1}],
    "budgets": [
        {"name": "each", "per": "user", "period": "hour", "limit_usd": 0.5, "warn_at": [1.0]},
        {"name": "all", "period": "day", "limit_usd": 20.0, "warn_at": [0.1, 0.2, 0.3]},
    ],
}


BEGIN = NOON + 21 * HOUR_S
"""Three hours before midnight, when what users usually take becomes known."""


@cache
def eventful() -> Traffic:
    """Seven hours in which something of every kind happens after the fourth."""
    traffic = healthy(5, 7 * HOUR_S, 0.4, start_s=BEGIN)
    rng = np.random.default_rng(5)
    later = traffic.ts_s >= BEGIN + 4.5 * HOUR_S
    traffic.prompt[later] *= 4
    traffic.latency[later & (traffic.ts_s < BEGIN + 5 * HOUR_S)] *= 5
    traffic.personal[later & (rng.random(len(traffic)) < 0.2)] = True
    traffic.user[later & (rng.random(len(traffic)) < 0.8)] = 77
    traffic.user[rng.random(len(traffic)) < 0.1] = -1
    traffic.series = (rng.random(len(traffic)) < 0.3).astype(np.int64)
    traffic.names = [CHAT, SeriesKey("default", "search", "m")]
    return traffic


@cache
def told() -> list[Anomaly]:
    """What the eventful hours give when they come as one batch."""
    return run(watch_of(**RULES), eventful(), until_s=BEGIN + 7 * HOUR_S + 60)


def test_every_kind_is_told() -> None:
    """The stream of these tests has a finding of every detector, so that the others mean something."""
    assert {"input_drift", "pii_leak", "usage_abuse", "budget", "latency_spike"} <= {anomaly.type for anomaly in told()}
    assert len({anomaly.id for anomaly in told()}) == len(told())


@pytest.mark.parametrize("seed", range(5))
def test_cuts_change_nothing(seed: int) -> None:
    """However the log is cut into batches, anomalies and ids are the same to the last bit."""
    rng = np.random.default_rng(seed)
    cuts = rng.integers(0, len(eventful()), rng.integers(1, 200)).tolist()
    assert run(watch_of(**RULES), eventful(), cuts, until_s=BEGIN + 7 * HOUR_S + 60) == told()


@pytest.mark.parametrize("seed", range(3))
def test_order_within_lateness_changes_nothing(seed: int) -> None:
    """Events that come out of order by less than the allowed lateness give the same anomalies, but for the offset that closed a window."""
    traffic = eventful()
    order = np.argsort(traffic.ts_s + np.random.default_rng(seed).uniform(0, 4.9, len(traffic)), kind="stable")
    found = run(watch_of(**RULES), traffic.take(order), range(0, len(traffic), 700), until_s=BEGIN + 7 * HOUR_S + 60)
    assert [msgspec.structs.replace(a, offset=0) for a in found] == [msgspec.structs.replace(a, offset=0) for a in told()]


@pytest.mark.parametrize("seed", range(4))
def test_a_snapshot_anywhere_changes_nothing(seed: int) -> None:
    """A watch that was saved and loaded goes on exactly as the one that never stopped."""
    rng = np.random.default_rng(seed)
    cuts = sorted(rng.integers(1, len(eventful()) - 1, 4).tolist())
    watch, found = watch_of(**RULES), []
    for batch in eventful().batches(cuts):
        found += watch.observe(batch, batch.metrics)
        tables = watch.tables()
        watch = watch_of(**RULES)
        watch.load(tables)
        again = watch.tables()
        assert tables.keys() == again.keys()
        assert all(np.array_equal(table, again[name]) for name, table in tables.items())
    assert [*found, *watch.mark(round((BEGIN + 7 * HOUR_S + 60) * 1e9), len(eventful()))] == told()


def test_tables_are_copies_of_plain_numbers() -> None:
    """A snapshot does not change when the watch goes on, and holds no objects."""
    watch = watch_of(**RULES)
    first, second = eventful().batches([1_000])
    watch.observe(first, first.metrics)
    tables = watch.tables()
    kept = {name: table.copy() for name, table in tables.items()}
    watch.observe(second, second.metrics)
    assert all(np.array_equal(table, kept[name]) for name, table in tables.items())
    assert not any(table.dtype.hasobject for table in tables.values())


def test_late_events_are_left_out_and_counted() -> None:
    """An event whose five minutes have closed changes nothing but a count."""
    watch, traffic = watch_of(), healthy(1, HOUR_S, 0.1)
    run(watch, traffic)
    before = {name: table for name, table in watch.tables().items() if name != "panes.meta"}
    late = traffic.take([5, 6, 7]).batch(len(traffic))
    assert watch.observe(late, late.metrics) == []
    assert watch.late == 3
    assert all(np.array_equal(table, before[name]) for name, table in watch.tables().items() if name != "panes.meta")


def test_lateness_is_configured() -> None:
    """`detection.ticks.lateness_secs` decides when a window closes."""
    rule = {"name": "busy", "metric": "requests", "statistic": "per_minute", "warning": 1.0, "window_minutes": 5}
    for lateness, closed in ((5, 1), (60, 0)):
        watch = Watch(Watching(thresholds=[rule]), Ticks(lateness_secs=lateness), SOURCE)
        traffic = healthy(1, 299, 1.0)
        run(watch, traffic)
        assert len(watch.mark((NOON + 300 + 30) * 10**9, 9)) == closed


def test_too_old_events_count_nowhere() -> None:
    """Events flagged as too old are in no window, and do not decide where windows begin."""
    watch = watch_of()
    batch = healthy(1, HOUR_S, 0.1).batch()
    batch.flags[:] = int(Flag.TOO_OLD)
    assert watch.observe(batch, batch.metrics) == []
    assert watch.tables()["panes.meta"][2] == -1


def test_a_mark_before_any_event_is_harmless() -> None:
    """Time marks of a log without events tell nothing."""
    watch = watch_of()
    assert watch.mark(NOON * 10**9, 0) == []
    assert run(watch, healthy(1, HOUR_S, 0.1)) == []


def test_a_long_gap_is_skipped_and_nothing_before_it_is_lost() -> None:
    """After years without events the windows that were open have closed, without a step for each pane in between."""
    rule = {"name": "busy", "metric": "requests", "statistic": "per_minute", "warning": 0.01, "window_minutes": 60}
    watch = watch_of(thresholds=[rule])
    assert run(watch, healthy(1, 1_000, 0.5)) == []
    found = run(watch, healthy(2, 1_000, 0.5, start_s=NOON + 30 * 365 * DAY_S))
    assert [anomaly.timestamp for anomaly in found] == ["2026-01-01T01:00:00.000Z"]


def test_hostile_names_share_one_series() -> None:
    """Names beyond the cap cost no more state, and the service that was there first is still watched by itself."""
    watch = watch_of(max_watched_series=10)
    traffic = healthy(1, 1_000, 2.0)
    traffic.names = [SeriesKey("default", f"name {i}", "m") for i in range(len(traffic))]
    traffic.series = np.where(np.arange(len(traffic)) % 2, np.arange(len(traffic)), 0)
    run(watch, traffic)
    tables = watch.tables()
    names = msgspec.json.decode(tables["series.names"].tobytes(), type=list[tuple[str, str, str]])
    assert len(names) == 11
    assert names[0] == ("default", "name 0", "m")
    assert names[-1] == tuple(OVERFLOW)
    assert sum(table.nbytes for table in tables.values()) < 200_000


def test_idle_series_make_room() -> None:
    """When rows are scarce, series that have been idle for an hour give theirs to new ones, which start from nothing."""
    watch = watch_of(max_watched_series=10, thresholds=[{"name": "x", "metric": "latency_ms", "statistic": "p50", "warning": 1e6}])
    for hour in range(4):
        traffic = healthy(hour, HOUR_S, 0.1, start_s=NOON + hour * HOUR_S)
        traffic.names = [CHAT, *(SeriesKey("default", f"of hour {hour}: {i}", "m") for i in range(8))]
        traffic.series = np.arange(len(traffic)) % 9
        run(watch, traffic)
    tables = watch.tables()
    names = msgspec.json.decode(tables["series.names"].tobytes(), type=list[tuple[str, str, str]])
    assert names[0] == tuple(CHAT)
    assert any(name[1].startswith("of hour 3") for name in names)
    assert len(names) <= 11
    assert int(tables["drift/hours"].max()) == int(tables["drift/hours"][0])


def test_an_accepted_regime_is_normal() -> None:
    """After a person accepted what a series does now, its finding has ended and does not come again."""
    traffic = eventful()
    watch = watch_of(drift={"warm_up_hours": 3}, abuse={"enabled": False}, leaks={"enabled": False})
    first, second = traffic.batches([int(np.searchsorted(traffic.ts_s, BEGIN + 6.5 * HOUR_S))])
    assert {a.service for a in watch.observe(first, first.metrics)} == {"chat", "search"}
    assert watch.command(AcceptRegime(which=Which(service="chat")), 0) == []
    assert watch.command(Marker(kind="deploy", ts_ns=0, id="1"), 0) == []
    active = watch.tables()["drift/telling.active"]
    assert active[0].sum() == 0
    assert active[1].sum() == 1
    assert watch.observe(second, second.metrics) == []


def test_disabled_sections_tell_nothing() -> None:
    """Each `enabled` switches its findings off."""
    off = {"drift": {"enabled": False}, "abuse": {"enabled": False}, "leaks": {"enabled": False}}
    assert run(watch_of(**off), eventful(), until_s=BEGIN + 8 * HOUR_S) == []
    for section, kinds in (("drift", {"input_drift", "output_drift"}), ("abuse", {"usage_abuse"}), ("leaks", {"pii_leak"})):
        rules = {**RULES, section: {**RULES.get(section, {}), "enabled": False}}
        found = {anomaly.type for anomaly in run(watch_of(**rules), eventful(), until_s=BEGIN + 8 * HOUR_S)}
        assert found == {anomaly.type for anomaly in told()} - kinds


def test_sensitivity_scales_limits() -> None:
    """`detection.ticks.sensitivity` low tells less than high."""
    counts = []
    for sensitivity in ("low", "high"):
        watch = Watch(Watching(drift={"warm_up_hours": 3, "min_psi": 1.6}), Ticks(sensitivity=sensitivity), SOURCE)
        counts.append(len([a for a in run(watch, eventful()) if a.type == "input_drift"]))
    assert counts[0] < counts[1]


def test_other_panes_after_a_reload_keep_what_was_learned() -> None:
    """A rule that needs shorter panes loses the open ones and nothing else: the hour at hand goes on."""
    watch = watch_of(drift={"warm_up_hours": 3})
    run(watch, eventful())
    tables = watch.tables()
    other = watch_of(drift={"warm_up_hours": 3}, thresholds=RULES["thresholds"])
    other.load(tables)
    assert np.array_equal(other.tables()["drift/reference"], tables["drift/reference"])
    run(other, healthy(1, HOUR_S, 0.1, start_s=BEGIN + 7 * HOUR_S), until_s=BEGIN + 8 * HOUR_S + 60)
    assert other.tables()["drift/hours"][0] == tables["drift/hours"][0] + 2


def test_a_checkpoint_that_does_not_fit_is_refused_whole() -> None:
    """Too many series, or names that cannot be read, raise SnapshotError and change nothing; no tables at all change nothing either."""
    watch = watch_of()
    run(watch, eventful())
    tables = watch.tables()
    small = watch_of(max_watched_series=1)
    with pytest.raises(SnapshotError, match="the configuration allows 1"):
        small.load(tables | {"series.names": np.frombuffer(b'[["a","b","c"],["a","b","d"],["a","b","e"]]', np.uint8)})
    with pytest.raises(SnapshotError, match="names of watched series cannot be read"):
        small.load(tables | {"services.names": np.frombuffer(b"[", np.uint8)})
    small.load({})
    assert len(small.tables()["panes.latest"]) == 0
