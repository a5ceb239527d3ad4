"""Static thresholds: limits that people wrote down."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from usage_events import CHAT, HOUR_S, NOON, Traffic, healthy, run, watch_of

from sentinel.config.sections_usage import ThresholdRule, Watching
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import SeriesKey
from sentinel.detection.matching import Matcher
from sentinel.detection.quantiles import BUCKETS, ERROR, LARGEST, SMALLEST, count, quantile

SLOW = {"name": "slow", "metric": "latency_ms", "statistic": "p95", "warning": 20_000.0, "critical": 150_000.0}


def told(traffic: Traffic, *rules: dict[str, Any], until_s: float | None = None) -> list[Anomaly]:
    """What rules tell; the other detectors are still warming up."""
    return run(watch_of(thresholds=list(rules)), traffic, until_s=until_s or traffic.ts_s[-1] + HOUR_S)


def slow(minutes: float = 30, factor: float = 8.0, *, hours: float = 4) -> Traffic:
    """Latency is a multiple for some minutes, from one o'clock on."""
    traffic = healthy(1, hours * HOUR_S, 0.5)
    since = traffic.ts_s - NOON - HOUR_S
    traffic.latency[(since >= 0) & (since < minutes * 60)] *= factor
    return traffic


def test_a_broken_limit_is_told_once_with_its_numbers() -> None:
    """The first window beyond the limit tells; while it goes on nothing more is told."""
    (anomaly,) = told(slow(), SLOW)
    assert (anomaly.type, anomaly.detector, anomaly.metric, anomaly.severity) == ("latency_spike", "threshold", "latency_ms_p95", "warning")
    assert (anomaly.timestamp, anomaly.since) == ("2026-01-01T01:05:00.000Z", "2026-01-01T01:00:00.000Z")
    assert (anomaly.upper, anomaly.lower, anomaly.direction) == (20_000.0, None, "above")
    assert anomaly.value == pytest.approx(anomaly.score * 20_000.0)
    assert "'slow'" in anomaly.explanation


def test_a_limit_that_is_broken_again_after_an_hour_is_told_again() -> None:
    """An hour of calm ends a finding."""
    traffic = slow(minutes=10)
    again = (traffic.ts_s >= NOON + 2.5 * HOUR_S) & (traffic.ts_s < NOON + 2.75 * HOUR_S)
    traffic.latency[again] *= 8
    assert [a.timestamp[11:16] for a in told(traffic, SLOW)] == ["01:05", "02:35"]
    soon = slow(minutes=10)
    soon.latency[(soon.ts_s >= NOON + 1.5 * HOUR_S) & (soon.ts_s < NOON + 1.7 * HOUR_S)] *= 8
    assert [a.timestamp[11:16] for a in told(soon, SLOW)] == ["01:05"]


def test_becoming_critical_is_told_as_well() -> None:
    """A finding that passes the critical limit is told a second time."""
    traffic = slow(minutes=60)
    traffic.latency[(traffic.ts_s >= NOON + 1.5 * HOUR_S) & (traffic.ts_s < NOON + 1.6 * HOUR_S)] *= 8
    assert [a.severity for a in told(traffic, SLOW)] == ["warning", "critical"]


def test_windows_in_a_row_are_configured() -> None:
    """`windows` of them must be broken before anybody is told."""
    rule = SLOW | {"windows": 3}
    assert told(slow(minutes=10), rule) == []
    (anomaly,) = told(slow(minutes=20), rule)
    assert (anomaly.timestamp[11:16], anomaly.since) == ("01:15", "2026-01-01T01:00:00.000Z")


def test_window_length_is_configured() -> None:
    """`window_minutes` decides over how long a value is made: a short burst is lost in a long window."""
    assert [a.timestamp[11:16] for a in told(slow(minutes=2), SLOW | {"window_minutes": 1})] == ["01:01"]
    assert told(slow(minutes=2), SLOW | {"window_minutes": 60}) == []
    assert [a.timestamp[11:16] for a in told(slow(minutes=55), SLOW | {"window_minutes": 120})] == ["02:00"]


def test_least_samples_are_configured() -> None:
    """`min_samples` keeps windows with fewer samples quiet."""
    assert told(slow(), SLOW | {"min_samples": 10_000}) == []


@pytest.mark.parametrize(
    ("service", "model", "count"), [("*", "*", 2), ("chat", "*", 1), ("c?at", "m", 1), ("*", "other*", 0), ("[cs]*", "*", 0)]
)
def test_matchers_are_configured(service: str, model: str, count: int) -> None:
    """`service` and `model` choose the series; brackets stand for themselves."""
    traffic = slow()
    traffic.names, traffic.series = [CHAT, SeriesKey("default", "search", "m")], np.arange(len(traffic)) % 2
    assert len(told(traffic, SLOW | {"service": service, "model": model})) == count


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"metric": "error", "warning": 0.3}, "error_rate_increase"),
        ({"metric": "latency_ms", "warning": 10_000.0}, "latency_spike"),
        ({"metric": "prompt_tokens", "statistic": "p50", "warning": 2_000.0}, "token_usage_spike"),
        ({"metric": "cost_usd", "statistic": "per_minute", "warning": 0.8}, "cost_anomaly"),
        ({"metric": "requests", "statistic": "per_minute", "warning": 60.0}, "throughput_surge"),
        ({"metric": "latency_ms", "direction": "below", "warning": 30.0}, "custom"),
    ],
)
def test_every_metric_and_statistic(rule: dict[str, Any], expected: str) -> None:
    """Rates, means and percentiles of any metric have the type that fits, and say nothing of healthy hours."""
    traffic = healthy(1, 2 * HOUR_S, 0.5)
    late = traffic.ts_s >= NOON + HOUR_S
    if rule["metric"] == "requests":
        traffic = healthy(1, HOUR_S, 0.5)
        burst = healthy(2, HOUR_S, 2.0, start_s=NOON + HOUR_S)
        columns = {n: np.concatenate([getattr(traffic, n), getattr(burst, n)]) for n in vars(traffic) if n not in {"finish", "names"}}
        traffic = Traffic(**columns, finish=traffic.finish + burst.finish, names=[CHAT])
    elif expected == "custom":
        traffic.latency[late] = 10.0
    elif rule["metric"] == "error":
        traffic.error = traffic.error | (late & (np.arange(len(traffic)) % 2 == 0))
    else:
        traffic.latency[late] *= 5
        traffic.prompt[late] *= 20
    (anomaly,) = told(traffic, {"name": "r", **rule})
    assert anomaly.type == expected
    assert anomaly.timestamp == "2026-01-01T01:05:00.000Z"


def test_silence_can_be_a_limit() -> None:
    """A lower limit on requests notices that nothing comes, by time marks alone."""
    traffic = healthy(1, HOUR_S, 0.5)
    rule = {"name": "quiet", "metric": "requests", "statistic": "per_minute", "direction": "below", "warning": 5.0, "critical": 0.0}
    watch = watch_of(thresholds=[rule])
    assert run(watch, traffic) == []
    found = watch.mark(round((NOON + HOUR_S + 660) * 1e9), len(traffic))
    assert [(a.type, a.severity, a.value) for a in found] == [("throughput_drop", "critical", 0.0)]


def test_a_rule_that_changed_starts_anew() -> None:
    """State of other rules is not taken over."""
    watch, other = watch_of(thresholds=[SLOW]), watch_of(thresholds=[SLOW | {"warning": 1.0}])
    run(watch, slow())
    other.load(watch.tables())
    assert not other.tables()["thresholds/telling.active"].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warning": None, "critical": None}, "needs `warning` or `critical`"),
        ({"warning": 2.0, "critical": 1.0}, "must lie beyond"),
        ({"warning": 1.0, "critical": 2.0, "direction": "below"}, "must lie beyond"),
        ({"metric": "requests"}, "per_minute"),
        ({"window_minutes": 7}, "must divide 1440"),
    ],
)
def test_rules_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    """A rule that could never fire is an error, in words."""
    with pytest.raises(ValidationError, match=message):
        ThresholdRule(**(SLOW | change))


def test_rules_have_names_of_their_own() -> None:
    """Two rules of one name would share ids."""
    with pytest.raises(ValidationError, match="same name"):
        Watching(thresholds=[SLOW, SLOW])


@settings(max_examples=60)
@given(st.lists(st.floats(SMALLEST, LARGEST / 2), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_percentiles_are_within_their_error(values: list[float], share: float) -> None:
    """Any percentile is right to 2%."""
    n = len(values)
    buckets = np.zeros((1, 1, BUCKETS), np.int32)
    zeros = np.zeros(n, np.int32)
    count(zeros, np.zeros(n, np.int64), np.array(values)[:, None], np.zeros(1, np.int32), np.zeros((1, 1), np.int32), 1, 0, buckets)
    exact = float(np.sort(values)[int(np.ceil(share * n)) - 1])
    assert quantile(buckets[0, 0].astype(np.int64), share) == pytest.approx(exact, rel=ERROR * 1.01)


def test_percentiles_of_nothing_and_of_zeros() -> None:
    """No samples have no percentile, zeros have zero."""
    counts = np.zeros(BUCKETS, np.int64)
    assert np.isnan(quantile(counts, 0.5))
    counts[0] = 3
    assert quantile(counts, 0.5) == 0.0


def test_long_patterns_end() -> None:
    """A pattern of many stars and a long name that almost fits take no time worth mentioning."""
    assert not Matcher("a*" * 60 + "b", "*").covers(SeriesKey("t", "a" * 128, "m"))
