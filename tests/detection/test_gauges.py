"""Plain values over time: means of five minutes through gauges."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from usage_events import CHAT, DAY_S, HOUR_S, NOON, Traffic, healthy, run, watch_of

from sentinel.config.sections_usage import Gauges as Rules
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import SeriesKey
from sentinel.core.command import AcceptRegime
from sentinel.detection.gauges import MEASURES
from sentinel.detection.watch import Watch

OFF = {"enabled": False}
WEEK_S = 7 * DAY_S
SHIFT_S = 5.5 * DAY_S
LASTS_S = 6 * HOUR_S


def gauge_watch(**gauges: Any) -> Watch:
    """A watch with nothing but gauges."""
    return watch_of(drift=OFF, abuse=OFF, leaks=OFF, gauges={"enabled": True, **gauges})


def seasonal(seed: int = 3) -> Traffic:
    """A week without a fault, 9 events in five minutes; latency is twice as high by day as by night."""
    traffic = healthy(seed, WEEK_S, 0.03)
    day = np.sin(2 * np.pi * (traffic.ts_s - NOON) / DAY_S)
    traffic.latency = 600 * (1 + 0.33 * day) * np.random.default_rng(seed).lognormal(0, 0.1, len(traffic))
    return traffic


def during(traffic: Traffic) -> np.ndarray:
    """bool[n], the events of the hours of the shift."""
    return (traffic.ts_s >= NOON + SHIFT_S) & (traffic.ts_s < NOON + SHIFT_S + LASTS_S)


def shifted(factor: float = 1.3) -> Traffic:
    """The week with some hours of other latency; with the default it stays within the range of all days."""
    traffic = seasonal()
    traffic.latency[during(traffic)] *= factor
    return traffic


def told(watch: Watch, traffic: Traffic) -> list[Anomaly]:
    """All anomalies, with a mark just after the end: five minutes later there would be a silence."""
    return run(watch, traffic, until_s=NOON + WEEK_S + 240)


def test_a_shift_in_a_seasonal_week_is_told_once() -> None:
    """Six hours that would be usual at another time of day are one drift, told within half an hour, with what was expected."""
    traffic = shifted()
    outside = traffic.latency[~during(traffic)]
    assert traffic.latency[during(traffic)].mean() < np.percentile(outside, 90)
    (anomaly,) = told(gauge_watch(metrics=["latency_ms"]), traffic)
    assert (anomaly.type, anomaly.detector, anomaly.metric) == ("latency_drift", "level", "latency_ms")
    assert (anomaly.service, anomaly.window, anomaly.offset >= 0) == ("chat", 300, True)
    assert "2026-01-06T12:00" <= anomaly.since < anomaly.timestamp <= "2026-01-06T12:35"
    assert anomaly.value > anomaly.expected > anomaly.lower >= 0
    assert "latency_ms of chat / m is" in anomaly.explanation
    assert "above what is expected at this time" in anomaly.explanation
    assert 0.7 < anomaly.confidence < 0.9


def test_a_fall_is_told_too() -> None:
    """A level that falls is a drift below, even within the band of single values."""
    (anomaly,) = told(gauge_watch(metrics=["latency_ms"]), shifted(0.5))
    assert (anomaly.type, anomaly.direction) == ("latency_drift", "below")


def test_a_healthy_week_is_quiet() -> None:
    """No metric of a week without a fault is told."""
    assert told(gauge_watch(metrics=list(MEASURES)), seasonal()) == []


def test_every_metric_that_can_be_configured_is_measured() -> None:
    """The configuration and the detector know the same names, each of which learns values in its unit."""
    watch = gauge_watch(metrics=list(MEASURES))
    traffic = healthy(1, 4 * HOUR_S, 0.1)
    run(watch, traffic, until_s=NOON + 4 * HOUR_S + 600)
    tables = watch.tables()
    level = {name: float(tables[f"gauges/{name}.gauges"][0]["level"]) for name in MEASURES}
    assert level["requests_per_minute"] == pytest.approx(6.0, rel=0.2)
    assert level["prompt_tokens"] == pytest.approx(traffic.prompt.mean(), rel=0.3)
    assert level["cost_usd"] == pytest.approx((traffic.prompt * 1e-5 + traffic.completion * 3e-5).mean(), rel=0.3)
    assert 0 <= level["error_rate"] < 0.05


def test_silence_and_errors_have_types_of_their_own() -> None:
    """No events at all are a drop of throughput, as soon as time goes on; more errors are told, fewer are not."""
    traffic = seasonal()
    traffic.error = np.random.default_rng(1).random(len(traffic)) < np.where(during(traffic), 0.6, 0.2)
    after = traffic.ts_s >= NOON + SHIFT_S + LASTS_S + 4 * HOUR_S
    traffic.error[after] = False
    found = told(gauge_watch(metrics=["error_rate"]), traffic)
    assert [(anomaly.type, anomaly.metric) for anomaly in found] == [("error_rate_increase", "error_rate")]
    found = told(gauge_watch(metrics=["requests_per_minute"]), traffic.take(~during(traffic)))
    assert (found[0].type, found[0].value, found[0].samples) == ("throughput_drop", 0.0, 0)
    assert "2026-01-06T12:00" <= found[0].since < "2026-01-06T12:30"


def test_more_requests_are_a_surge() -> None:
    """Three times the traffic is told as such."""
    traffic = seasonal()
    copies = np.sort(np.concatenate((np.arange(len(traffic)), np.repeat(np.flatnonzero(during(traffic)), 2))))
    found = told(gauge_watch(metrics=["requests_per_minute"]), traffic.take(copies))
    assert [anomaly.type for anomaly in found] == ["throughput_surge"]


def test_cuts_and_snapshots_change_nothing() -> None:
    """Whatever the batches, and with a restart after each, the anomalies and the state are the same to the bit."""
    traffic = shifted()
    whole = gauge_watch()
    expected = run(whole, traffic)
    cuts = [1, 2_000, len(traffic) // 2, int(np.flatnonzero(during(traffic))[100]), len(traffic) - 7]
    found, saved = [], gauge_watch()
    for batch in traffic.batches(cuts):
        found += saved.observe(batch, batch.metrics)
        tables = saved.tables()
        saved = gauge_watch()
        saved.load(tables)
    assert found == expected != []
    again = saved.tables()
    assert all(table.tobytes() == again[name].tobytes() for name, table in whole.tables().items())


def test_each_key_acts() -> None:
    """`enabled`, `metrics` and `threshold` decide what is told of the shift that the first test finds."""
    traffic = shifted()
    assert Rules().enabled is False
    assert not told(gauge_watch(enabled=False), traffic)
    assert not told(gauge_watch(metrics=["cost_usd"]), traffic)
    assert not told(gauge_watch(threshold=100.0), traffic)


def test_a_metric_is_named_once() -> None:
    """Two gauges of one metric, and none at all, are refused."""
    for metrics in (["cost_usd", "cost_usd"], []):
        with pytest.raises(ValidationError):
            Rules(metrics=metrics)


def test_other_metrics_start_empty_and_the_same_go_on() -> None:
    """A metric that is added to the configuration learns from nothing, those that stay keep what they know; so does another format."""
    watch = gauge_watch(metrics=["latency_ms"])
    run(watch, healthy(1, 4 * HOUR_S, 0.1))
    tables = watch.tables()
    other = gauge_watch(metrics=["cost_usd", "latency_ms"])
    other.load(tables)
    assert other.tables()["gauges/latency_ms.gauges"].tobytes() == tables["gauges/latency_ms.gauges"].tobytes()
    assert len(other.tables()["gauges/cost_usd.gauges"]) == 0
    other.load(tables | {"gauges/latency_ms.gauges": np.zeros(1)})
    assert len(other.tables()["gauges/latency_ms.gauges"]) == 0
    assert len(other.tables()["gauges/latency_ms.first"]) == 0


def test_an_accepted_level_is_normal() -> None:
    """After a person accepted what a series does now it is expected: the finding has ended, and going on is not told."""
    traffic = shifted(2.0)
    traffic = traffic.take(traffic.ts_s < NOON + SHIFT_S + LASTS_S)
    watch = gauge_watch(metrics=["latency_ms"])
    early = traffic.ts_s < NOON + SHIFT_S + 3 * HOUR_S
    assert len(run(watch, traffic.take(early))) == 1
    before = float(watch.tables()["gauges/latency_ms.gauges"][0]["level"])
    assert watch.command(AcceptRegime(), 0) == []
    tables = watch.tables()
    assert float(tables["gauges/latency_ms.gauges"][0]["level"]) > before + 100
    assert not tables["gauges/latency_ms.telling.active"].any()
    assert run(watch, traffic.take(~early)) == []


def test_memory_is_bounded_and_rows_are_given_again() -> None:
    """Names without end take the rows of idle series, which then know nothing of their predecessors."""
    traffic = healthy(3, 12 * HOUR_S, 0.05)
    first = traffic.ts_s < NOON + 4 * HOUR_S
    traffic.names = [CHAT, *(SeriesKey("default", f"s{i}", "m") for i in range(40))]
    traffic.series = np.where(first, 0, 1 + ((traffic.ts_s - NOON) // 1_080).astype(np.int64))
    watch = watch_of(max_watched_series=8, drift=OFF, abuse=OFF, leaks=OFF, gauges={"enabled": True})
    run(watch, traffic, until_s=NOON + 13 * HOUR_S)
    tables = watch.tables()
    assert len(tables["gauges/latency_ms.gauges"]) <= 9
    assert tables["gauges/latency_ms.gauges"]["seen"].max() < 48
    assert (tables["gauges/latency_ms.gauges"]["seen"] > 0).tolist() == (tables["gauges/latency_ms.first"] > 0).tolist()
