"""Half-space trees over several metrics."""

import sys
from typing import Any

import numpy as np
import pytest
from usage_events import DAY_S, HOUR_S, NOON, Traffic, healthy, run, watch_of

from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import SeriesKey
from sentinel.core.errors import StartupError
from sentinel.detection.multivariate import FEATURES
from sentinel.detection.watch import Watch

OFF = {"enabled": False}


def forest_watch(**trees: Any) -> Watch:
    """A watch with nothing but trees, few of them."""
    return watch_of(drift=OFF, abuse=OFF, leaks=OFF, multivariate={"enabled": True, "trees": 10, **trees})


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the daemon does not start, and says what to install; switched off it is not even looked for."""
    monkeypatch.setitem(sys.modules, "river.anomaly", None)
    with pytest.raises(StartupError, match=r"install `llm-sentinel\[multivariate\]`"):
        watch_of(multivariate={"enabled": True})
    assert run(watch_of(), healthy(1, HOUR_S, 0.05)) == []


def two_habits() -> Traffic:
    """Three days of two habits, hour by hour: long prompts with short answers, short prompts with long ones. Then long ones of both."""
    traffic = healthy(3, 3 * DAY_S, 0.05)
    batch_work = (traffic.ts_s // HOUR_S) % 2 == 0
    size = np.exp(np.random.default_rng(1).normal(0, 0.1, len(traffic)))
    traffic.prompt = np.round(np.where(batch_work, 4_000.0, 200.0) * size)
    traffic.completion = np.round(np.where(batch_work, 50.0, 800.0) * size)
    traffic.error[:] = False
    strange = traffic.ts_s >= NOON + 2.6 * DAY_S
    traffic.prompt[strange], traffic.completion[strange] = 4_000.0, 800.0
    traffic.latency = 150 + 20 * traffic.completion
    return traffic


def told(watch: Watch, traffic: Traffic) -> list[Anomaly]:
    """All anomalies, with a mark at the end."""
    return run(watch, traffic, until_s=traffic.ts_s[-1] + HOUR_S)


def test_a_strange_combination_of_usual_values_is_told() -> None:
    """Lengths that are usual by themselves and never came together are told, with what is strange about them."""
    pytest.importorskip("river", reason="the extra `multivariate` is not installed")
    found = told(forest_watch(trees=25), two_habits())
    assert found
    assert all(anomaly.timestamp >= "2026-01-03T14:25" for anomaly in found)
    assert (found[0].type, found[0].detector, found[0].metric) == ("custom", "multivariate", "combination")
    assert any(feature in found[0].explanation for feature in FEATURES)
    assert not told(forest_watch(trees=25, probability=1e-100), two_habits())


def test_a_snapshot_changes_nothing() -> None:
    """Forests that were grown again from the last days' features score exactly as those that never stopped."""
    pytest.importorskip("river", reason="the extra `multivariate` is not installed")
    traffic = healthy(3, 2.2 * DAY_S, 0.05)
    whole, saved = forest_watch(), forest_watch()
    run(whole, traffic)
    for batch in traffic.batches([len(traffic) // 3, len(traffic) // 2, 3 * len(traffic) // 4]):
        saved.observe(batch, batch.metrics)
        tables = saved.tables()
        saved = forest_watch()
        saved.load(tables)
    again = saved.tables()
    assert all(np.array_equal(table, again[name], equal_nan=table.dtype.kind == "f") for name, table in whole.tables().items())


def test_the_number_of_forests_is_bounded() -> None:
    """Only the first `max_series` series get trees; the others are as if it were switched off."""
    pytest.importorskip("river", reason="the extra `multivariate` is not installed")
    traffic = healthy(3, 2 * HOUR_S, 0.3)
    traffic.names = [SeriesKey("default", f"s{i}", "m") for i in range(10)]
    traffic.series = np.arange(len(traffic)) % 10
    watch = forest_watch(max_series=3)
    run(watch, traffic)
    tables = watch.tables()
    assert tables["multivariate/slots"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert len(tables["multivariate/points"]) == 3
    other = forest_watch(max_series=4)
    other.load(tables)
    assert len(other.tables()["multivariate/slots"]) == 0


def test_the_number_of_trees_is_configured() -> None:
    """`trees` decides how many there are: other numbers come of other forests."""
    pytest.importorskip("river", reason="the extra `multivariate` is not installed")
    levels = []
    for trees in (1, 10):
        watch = forest_watch(trees=trees)
        run(watch, healthy(3, 1.3 * DAY_S, 0.02))
        levels.append(watch.tables()["multivariate/level"][0].tolist())
    assert levels[0] != levels[1]
